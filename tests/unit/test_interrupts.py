"""An interrupt that comes while a process forks is not lost."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import FrameType

from tidemill.interrupts import dropped_in


def test_a_frame_in_a_callback_of_a_fork_drops_what_is_raised() -> None:
    seen: list[bool] = []

    def _after_fork() -> None:  # named as CPython's
        inner()

    def inner() -> None:
        seen.append(dropped_in(sys._getframe()))

    inner()
    _after_fork()
    assert seen == [False, True]
    assert not dropped_in(None)


def test_logging_still_has_the_callbacks_that_are_named() -> None:
    assert isinstance(sys._getframe(), FrameType)
    assert all(
        hasattr(logging, name)
        for name in ("_acquireLock", "_releaseLock", "_after_at_fork_child_reinit_locks")
    )


def test_an_interrupt_in_a_callback_of_a_fork_is_heard_after_it() -> None:
    code = textwrap.dedent(
        """
        import os, signal, sys, time
        from tidemill.interrupts import on_interrupt, raise_interrupt

        on_interrupt(raise_interrupt)
        os.register_at_fork(after_in_parent=lambda: _after_fork())
        def _after_fork():
            os.kill(os.getpid(), signal.SIGTERM)
            sum(range(1000))
        try:
            if os.fork() == 0:
                os._exit(0)
            time.sleep(20)
        except KeyboardInterrupt:
            sys.exit(130)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stderr) == (130, "")
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_two_signals_at_once_end_a_worker_without_a_word() -> None:
    code = textwrap.dedent(
        """
        import os, signal, time
        from tasks import _become_worker, _Current

        _Current.process = os.getppid()
        _become_worker()
        _Current.building = True
        both = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, both)
        for number in both:
            os.kill(os.getpid(), number)
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
            time.sleep(20)
        except KeyboardInterrupt:
            for _ in range(100):  # the second one is heard here
                print(end="", flush=True)
            os._exit(130)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stderr) == (130, "")
