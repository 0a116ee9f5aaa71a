"""Temporary files that say who writes them, so that leftovers of the dead can be told and removed.

The name of a temporary file holds the host, the kernel and process namespace, the process and its
start time. A leftover is removed when its process is known to be gone; one of another host, kernel
or container only after a day without a write, since nobody here can ask about that process.
"""

import hashlib
import os
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

PREFIX = ".tidemill-"
ABANDONED_SECONDS = 24 * 3600.0

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9-]")


@dataclass(frozen=True, slots=True)
class Writer:
    """A process. ``kernel`` tells boots and namespaces apart, ``started`` reused numbers."""

    host: str
    kernel: str
    pid: int
    started: str

    def file_name(self, unique: str) -> str:
        """The name of a temporary file of this process."""
        return f"{PREFIX}{self.host}.{self.kernel}.{self.pid}.{self.started}.{unique}"


def writer_of(name: str) -> Writer | None:
    """The process that a temporary file's name tells of; None for any other file."""
    parts = name.removeprefix(PREFIX).split(".")
    if not name.startswith(PREFIX) or len(parts) != 5 or not parts[2].isdecimal():  # noqa: PLR2004
        return None
    return Writer(host=parts[0], kernel=parts[1], pid=int(parts[2]), started=parts[3])


def is_leftover(
    writer: Writer, *, me: Writer, alive: Callable[[Writer], bool], idle_seconds: float
) -> bool:
    """Whether nobody will finish a file of ``writer``, last written ``idle_seconds`` ago."""
    if (writer.host, writer.kernel) == (me.host, me.kernel):
        return not alive(writer)
    return idle_seconds > ABANDONED_SECONDS


def temporary_name() -> str:
    """A name that no other call, thread, process or host gives."""
    # The process is asked each time: luigi's workers fork.
    return _this_process(os.getpid()).file_name(os.urandom(6).hex())


def is_running(name: str) -> bool | None:
    """Whether the process of a temporary name still runs; None when nobody here can tell."""
    writer, me = writer_of(name), _this_process(os.getpid())
    if writer is None or (writer.host, writer.kernel) != (me.host, me.kernel):
        return None
    return _is_alive(writer)


def sweep(folder: Path) -> None:
    """Remove the leftovers in ``folder``. What cannot be removed now stays for the next sweep."""
    for path in leftovers(folder):
        with suppress(OSError):
            path.unlink()


def leftovers(folder: Path) -> list[Path]:
    """The temporary files in ``folder`` that nobody will finish."""
    me = _this_process(os.getpid())
    try:
        with os.scandir(folder) as found:
            names = [entry.name for entry in found if entry.name.startswith(PREFIX)]
    except OSError:
        return []
    return [folder / name for name in names if _is_left(folder / name, me=me)]


def _is_left(path: Path, *, me: Writer) -> bool:
    writer = writer_of(path.name)
    try:
        idle = time.time() - path.stat().st_mtime
    except OSError:
        return False
    return writer is not None and is_leftover(writer, me=me, alive=_is_alive, idle_seconds=idle)


@lru_cache(maxsize=4)
def _this_process(pid: int) -> Writer:
    host = _NOT_PLAIN.sub("-", socket.gethostname())[:60] or "host"
    return Writer(host=host, kernel=_kernel(), pid=pid, started=_start_time(pid))


def _kernel() -> str:
    # Two machines may share a name, and two containers a machine: both have process 1.
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "unknown"
    return hashlib.sha256(f"{boot}{space}".encode()).hexdigest()[:12]


def _start_time(pid: int) -> str:
    """Clock ticks after boot, field 22 of proc_pid_stat(5); "" where there is no /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


def _is_alive(writer: Writer) -> bool:
    try:
        os.kill(writer.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it belongs to somebody else, whose /proc entry may be hidden
    started = _start_time(writer.pid)
    return not (started and writer.started) or started == writer.started
