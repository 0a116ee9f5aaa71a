"""Numbered pieces of work in forked workers, of which any may crash or hang without loss.

A worker does one piece after another and says what it begins, so that a death can be told of. What
dies or hangs in a worker that has done other pieces is done once more in a fresh one: only then is
it the piece's own fault. A WorkError that a piece raises ends them all. This process must have one
thread only, as it forks.
"""

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from tidemill.errors import WorkError

Result = TypeVar("Result")
#: Does piece ``number``; is given what to call with the name of each phase.
Work = Callable[[int, Callable[[str], None]], Result]

#: After so many pieces a worker is replaced: what they leak is given back.
_PIECES = 50
#: Seconds in which a process that is ending ends.
_PATIENCE = 1.0
_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A piece that did not come to an end: killed after its time, or its process ended."""

    phase: str
    timed_out: bool
    code: int

    @property
    def words(self) -> str:
        """How it ended, in words."""
        if self.code < 0:
            return f"the process ended with {signal.Signals(-self.code).name} in {self.phase}"
        return f"the process ended with exit status {self.code} in {self.phase}"


@dataclass(slots=True, kw_only=True)
class _Worker:
    process: Any
    pipe: "Connection[Any, Any]"
    number: int = -1
    phase: str = ""
    deadline: float = 0.0
    done: int = 0


@dataclass(slots=True, kw_only=True)
class Pool:
    """``count`` workers that do ``work``; each piece may take ``seconds``."""

    work: Work[Any]
    count: int
    seconds: float
    _workers: list[_Worker] = field(default_factory=list)
    _waiting: deque[int] = field(default_factory=deque)
    _again: set[int] = field(default_factory=set)

    def each(self, total: int) -> Iterator[tuple[int, Any]]:
        """(number, result or Death) of every piece from 0 to ``total``, as they end.

        Raises the first WorkError that a piece raises.
        """
        self._waiting = deque(range(total))
        try:
            while self._waiting or self._workers:
                self._fill()
                yield from self._ended()
        finally:
            for worker in list(self._workers):
                self._drop(worker)

    def _fill(self) -> None:
        while self._waiting and len(self._workers) < self.count:
            self._workers.append(self._started())
        for worker in list(self._workers):
            if worker.number >= 0:
                continue
            # A piece that is done again gets a worker to itself.
            fresh = bool(self._waiting) and self._waiting[0] in self._again and worker.done
            if not self._waiting or fresh or worker.done >= _PIECES:
                self._drop(worker)
                continue
            self._give(worker, self._waiting[0])

    def _started(self) -> _Worker:
        ours, theirs = _FORK.Pipe()
        process = _FORK.Process(target=_serve, args=(theirs, self.work), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process=process, pipe=ours)

    def _give(self, worker: _Worker, number: int) -> None:
        """Have a worker do the piece that is next; one that died while it was idle is replaced."""
        try:
            worker.pipe.send(number)
        except OSError:
            self._drop(worker)
            return
        self._waiting.popleft()
        worker.number, worker.phase = number, "its beginning"
        worker.deadline = time.monotonic() + self.seconds

    def _ended(self) -> Iterator[tuple[int, Any]]:
        """What has ended, after waiting for something to happen."""
        busy = {worker.pipe: worker for worker in self._workers if worker.number >= 0}
        if not busy:
            return
        nearest = min(worker.deadline for worker in busy.values())
        ready = wait(list(busy), timeout=max(0.0, nearest - time.monotonic()))
        for pipe, worker in busy.items():
            if pipe in ready:
                yield from self._heard(worker)
            elif time.monotonic() >= worker.deadline:
                yield from self._died(worker, timed_out=True)

    def _heard(self, worker: _Worker) -> Iterator[tuple[int, Any]]:
        try:
            kind, value = worker.pipe.recv()
        except (EOFError, ConnectionError):
            yield from self._died(worker, timed_out=False)
            return
        if kind == "phase":
            worker.phase = value
            return
        if kind == "error":
            failure, message, hint = value
            raise WorkError(failure, message, hint=hint)
        number, worker.number = worker.number, -1
        worker.done += 1
        yield number, value

    def _died(self, worker: _Worker, *, timed_out: bool) -> Iterator[tuple[int, Any]]:
        number, others = worker.number, worker.done
        code = self._drop(worker)
        if others and number not in self._again:
            self._again.add(number)
            self._waiting.appendleft(number)
        else:
            yield number, Death(phase=worker.phase, timed_out=timed_out, code=code)

    def _drop(self, worker: _Worker) -> int:
        """End a worker; its exit status, negative for a signal."""
        self._workers.remove(worker)
        if worker.number < 0:
            with suppress(OSError):
                worker.pipe.send(None)
        # One that died by itself is to say how; one that has been sent home goes.
        worker.process.join(timeout=_PATIENCE)
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()
        return int(worker.process.exitcode)


def _serve(pipe: "Connection[Any, Any]", work: Work[Any]) -> None:
    """The life of a worker."""
    while (number := pipe.recv()) is not None:
        end: tuple[str, Any]
        try:
            end = ("done", work(number, lambda phase: pipe.send(("phase", phase))))
        except WorkError as error:
            end = ("error", (error.failure, error.message, error.hint))
        pipe.send(end)
