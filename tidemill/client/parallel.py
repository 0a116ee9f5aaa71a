"""Runs jobs in a few threads that end early when one fails or when somebody interrupts."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue

#: How long an interrupted run waits for its threads to leave things tidy. One that waits for a
#: server cannot; what it leaves is found by the next pull.
GRACE_SECONDS = 1.0


class Stopped(Exception):  # noqa: N818 - it is no error: another job failed, or somebody interrupts
    """Raised inside a job that is asked to end."""


class Stop:
    """Tells jobs to end. They call ``check`` as often as they can."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ask(self) -> None:
        """From now on ``check`` raises Stopped."""
        self._event.set()

    def check(self) -> None:
        """Raise Stopped if asked to end."""
        if self._event.is_set():
            raise Stopped


def run_all(jobs: Sequence[Callable[[], None]], *, threads: int, stop: Stop) -> None:
    """Run every job. When one fails, the others are stopped and its error is raised.

    Of several errors, that of the first job in the sequence is raised.
    """
    todo = deque(enumerate(jobs))
    ended: SimpleQueue[dict[int, BaseException]] = SimpleQueue()

    def work() -> None:
        errors: dict[int, BaseException] = {}
        while not errors:
            try:
                index, job = todo.popleft()
            except IndexError:
                break
            try:
                stop.check()
                job()
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
                errors[index] = error
                stop.ask()
        ended.put(errors)

    workers = [
        # Daemons: a thread that waits for a server must not keep an interrupted process alive.
        threading.Thread(target=work, name=f"tidemill-pull-{number}", daemon=True)
        for number in range(min(threads, len(jobs)))
    ]
    for worker in workers:
        worker.start()
    found: dict[int, BaseException] = {}
    try:
        for _ in workers:
            found |= ended.get()
    except BaseException:
        stop.ask()
        for worker in workers:
            worker.join(GRACE_SECONDS / len(workers))
        raise
    failed = {index: one for index, one in found.items() if not isinstance(one, Stopped)}
    if failed:
        raise failed[min(failed)]
