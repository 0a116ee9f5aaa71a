"""Ctrl-C and SIGTERM, never lost: both raise KeyboardInterrupt, at a place where it is heard.

Python runs handlers between any two bytecodes, also inside the callbacks that logging, threading
and random register around a fork. An exception raised there is printed and dropped, and the program
goes on as if nobody had asked. So there the signal is put off by a few milliseconds instead.
"""

import signal
from collections.abc import Callable
from types import FrameType

#: Callbacks around a fork in CPython's logging, threading and random.
_FORK_CALLBACKS = frozenset(
    {"_acquireLock", "_after_at_fork_child_reinit_locks", "_after_fork", "_releaseLock", "seed"}
)
_AGAIN_SECONDS = 0.02
_LOOK_UP_FRAMES = 6

Act = Callable[[], None]


def dropped_in(frame: FrameType | None) -> bool:
    """Whether an exception raised in ``frame`` would be dropped: it runs in a fork's callback."""
    for _ in range(_LOOK_UP_FRAMES):
        if frame is None:
            return False
        if frame.f_code.co_name in _FORK_CALLBACKS:
            return True
        frame = frame.f_back
    return False


def on_interrupt(act: Act) -> None:
    """Call ``act`` on SIGINT and SIGTERM, put off while it could not raise. Main thread only."""

    def handle(_signal: int, frame: FrameType | None) -> None:
        if dropped_in(frame):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        else:
            act()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, handle)


def raise_interrupt() -> None:
    """What Ctrl-C does."""
    raise KeyboardInterrupt
