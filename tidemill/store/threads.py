"""Threads that read from a store. They never keep a process alive that is to end.

Those of concurrent.futures are waited for when the interpreter ends, so one of them that waits for
a server would hold an interrupted command for as long as the server is silent.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Pool(Generic[T]):
    """``threads`` daemon threads that do jobs which give a T, in order.

    To be used as a context, which ends when all results are there. When it ends early, ``stopped``
    is set, jobs that have not begun are dropped, and nobody waits for those that have: it is for
    them to see that they are stopped.
    """

    def __init__(self, threads: int) -> None:
        self.stopped = threading.Event()
        self._started = False
        self._jobs: SimpleQueue[tuple[Future[T], Callable[[], T]] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"tidemill-store-{number}", daemon=True)
            for number in range(threads)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopped.set()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads if kind is None and self._started else ():
            thread.join()  # all is done; and a process that is to fork has no threads left

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """The result of ``job`` once a thread has done it; the first job starts the threads."""
        if not self._started:
            self._started = True
            for thread in self._threads:
                thread.start()
        future: Future[T] = Future()
        self._jobs.put((future, job))
        return future

    def _work(self) -> None:
        while (taken := self._jobs.get()) is not None:
            future, job = taken
            if self.stopped.is_set():
                continue
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
                future.set_exception(error)


class Spare:
    """A number of connections for several readers: one for each, more where there are any left."""

    def __init__(self, number: int) -> None:
        # Its methods are atomic. A lock could be held by another thread at the moment of a fork.
        self.left = deque(range(number))

    @contextmanager
    def held(self) -> Iterator["Held"]:
        """One reader, who gives back at the end what is held then."""
        held = Held(self)
        held.more()
        try:
            yield held
        finally:
            held.less_all()


class Held:
    """The connections of one reader."""

    def __init__(self, spare: Spare) -> None:
        self._left = spare.left
        self._held: list[int] = []

    def more(self) -> bool:
        """Take another one, if there is any."""
        try:
            self._held.append(self._left.pop())
        except IndexError:
            return False
        return True

    def less(self) -> None:
        """Give one back."""
        self._left.append(self._held.pop())

    def less_all(self) -> None:
        """Give all back."""
        while self._held:
            self.less()
