"""One child process, watched: its own session, a time-out, a memory limit, its log, no survivors.

How it is started is the caller's: ``spawn`` starts a program, ``warm`` has a process fork that has
imported what the program needs. Whatever happens (time-out, too much memory, Ctrl-C, an exception
here), the whole process group is ended before this returns. If this process itself is killed, the
kernel kills the child.
"""

import contextlib
import ctypes
import functools
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import psutil

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.02
_SAMPLE_SECONDS = 0.25
_BEAT_SECONDS = 1.0

#: Loaded before any fork: the child between fork and exec must not import or allocate much.
_LIBC = ctypes.CDLL(None, use_errno=True)

Ending = Literal["exit", "signal", "timeout", "memory"]
Beat = Callable[[float, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildLimits:
    """``seconds`` of wall time; ``memory_bytes`` of resident memory over the process tree."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildEnd:
    """How a child ended. ``code`` is the exit status, or the signal's number when ``signal``."""

    ending: Ending
    code: int
    seconds: float
    peak_memory_bytes: int


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send signal ``number`` to this process when the thread that made it ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)


def end_with_parent(parent: int) -> None:
    """As ``die_with_parent``, in a child after its fork: also where ``parent`` is gone already."""
    die_with_parent()
    if os.getppid() != parent:  # it ended before the kernel knew what to do then
        os._exit(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The wait status of a process, and the most memory that the kernel saw it hold, in bytes."""

    status: int
    peak_memory_bytes: int


class Running(Protocol):
    """A started process, leader of a session and so of a process group of its own."""

    @property
    def pid(self) -> int: ...  # noqa: D102

    def ended(self) -> Exit | None:
        """How it ended; None while it runs."""
        ...

    def reap(self) -> None:
        """Wait for its end, after its group was killed; nothing where that is known already."""
        ...


class Start(Protocol):
    """A way to start a command in a folder with output and error in a log. Raises OSError."""

    def __call__(  # noqa: D102
        self, command: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str]
    ) -> Running: ...


class _Spawned:
    """A program that this process has started itself."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid
        # The kernel counts what this process had in memory at the fork as the child's, too.
        self._inherited = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def ended(self) -> Exit | None:
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        if not pid:
            return None
        self._process.returncode = os.waitstatus_to_exitcode(status)
        peak = usage.ru_maxrss * 1024 if usage.ru_maxrss > self._inherited else 0
        return Exit(status=status, peak_memory_bytes=peak)

    def reap(self) -> None:
        self._process.wait()


def spawn(
    command: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str]
) -> Running:
    """Start ``command`` as a child of this process. Raises OSError if it cannot start."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Only async-signal-safe work in it.
            preexec_fn=functools.partial(end_with_parent, os.getpid()),  # noqa: PLW1509
        )
    return _Spawned(process)


def run_child(
    command: Sequence[str],
    *,
    folder: Path,
    log: Path,
    environment: Mapping[str, str],
    limits: ChildLimits,
    beat: Beat | None = None,
    start: Start = spawn,
) -> ChildEnd:
    """Run ``command`` in ``folder`` with output and error in ``log``.

    Raises OSError if it cannot start.
    """
    process = start(command, folder=folder, log=log, environment=environment)
    started = time.monotonic()  # what it waited for a warm process is not the action's time
    try:
        return _Watch(process, started=started, limits=limits, beat=beat).until_end()
    finally:
        end_group(process.pid)
        process.reap()


class _Watch:
    """Follows one child until it ends or must be ended."""

    def __init__(
        self, process: Running, *, started: float, limits: ChildLimits, beat: Beat | None
    ) -> None:
        self.process, self.started, self.limits, self.beat = process, started, limits, beat
        self.peak = 0

    def until_end(self) -> ChildEnd:
        next_sample = next_beat = self.started
        while True:
            ended = self.process.ended()
            now = time.monotonic()
            if ended is not None:
                self.peak = max(self.peak, ended.peak_memory_bytes)
                return self._end(os.waitstatus_to_exitcode(ended.status), now)
            if now - self.started > self.limits.seconds:
                return self._ended("timeout", now)
            if now >= next_sample:
                next_sample = now + _SAMPLE_SECONDS
                resident = tree_memory(self.process.pid)
                self.peak = max(self.peak, resident, high_water(self.process.pid))
                if resident > self.limits.memory_bytes:
                    return self._ended("memory", now)
                if self.beat and now >= next_beat:
                    next_beat = now + _BEAT_SECONDS
                    self.beat(now - self.started, resident)
            time.sleep(_POLL_SECONDS)

    def _end(self, code: int, now: float) -> ChildEnd:
        ending: Ending = "exit" if code >= 0 else "signal"
        return ChildEnd(
            ending=ending,
            code=abs(code),
            seconds=now - self.started,
            peak_memory_bytes=self.peak,
        )

    def _ended(self, ending: Ending, now: float) -> ChildEnd:
        end_group(self.process.pid)
        self.process.reap()
        return ChildEnd(
            ending=ending,
            code=signal.SIGKILL,
            seconds=now - self.started,
            peak_memory_bytes=self.peak,
        )


def high_water(pid: int) -> int:
    """The most resident bytes that a process has held since it was started; 0 when it is gone.

    ``VmHWM`` of proc(5); it begins anew with exec, so nothing of the parent is in it.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines())
    return next((int(line[1]) * 1024 for line in lines if line[:1] == ["VmHWM:"]), 0)


def tree_memory(pid: int) -> int:
    """Resident bytes of a process and its descendants; 0 when it is gone."""
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for process in tree:
        with contextlib.suppress(psutil.Error):
            total += int(process.memory_info().rss)
    return total


def end_group(pid: int) -> None:
    """Kill a process group that this process started; nothing happens when it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
