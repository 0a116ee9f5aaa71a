"""Lists files of a folder store quickly, and stamps them.

A stamp is ``<change time in ns>-<inode>-<size>``. The change time, unlike the time of modification,
cannot be set back by a program. Linux before 6.13 takes it from the last timer tick, at most 10 ms
ago, so that two writes within a tick look the same: a file changed within SETTLE_SECONDS gets
a stamp that equals no other.
"""

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from tidemill.store.contract import Entry

SETTLE_SECONDS = 0.02
_SETTLE_NS = int(SETTLE_SECONDS * 1e9)


def entry_of(name: str, path: Path) -> tuple[Entry | None, bool]:
    """The entry of one file (None for anything else), and whether its stamp can be met again."""
    status = path.stat()
    stamp = stamp_of(status, now=time.time_ns())
    if not stat.S_ISREG(status.st_mode):
        return None, True
    return Entry(name, status.st_size, stamp or _unsettled()), stamp is not None


def walk(root: str, top: str) -> Iterator[Entry]:
    """The files below ``root/top``, named from ``root`` on, no links. Raises OSError."""
    # Strings and scandir: with Path objects, a plan over 10,000 nodes would be about listing.
    pending = [top]
    while pending:
        name = pending.pop()
        try:
            folder = os.open(f"{root}/{name}", os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            entries, below = _scan(folder, name)
        finally:
            os.close(folder)
        yield from entries
        pending += below


def _scan(folder: int, name: str) -> tuple[list[Entry], list[str]]:
    entries, below = [], []
    settled = time.time_ns() - _SETTLE_NS
    # A look-up relative to an open folder spares the kernel the walk from the root.
    with os.scandir(folder) as found:
        for item in found:
            if item.is_file(follow_symlinks=False):
                try:
                    status = item.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                stamp = _stamp(status) if status.st_ctime_ns < settled else _unsettled()
                entries.append(Entry(f"{name}/{item.name}", status.st_size, stamp))
            elif item.is_dir(follow_symlinks=False):
                below.append(f"{name}/{item.name}")
    return entries, below


def stamp_of(status: os.stat_result, *, now: int) -> str | None:
    """The stamp of a file, or None when it changed too shortly before ``now`` (ns) to have one."""
    return _stamp(status) if status.st_ctime_ns < now - _SETTLE_NS else None


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_ctime_ns}-{status.st_ino}-{status.st_size}"


def _unsettled() -> str:
    return f"unsettled-{os.urandom(8).hex()}"
