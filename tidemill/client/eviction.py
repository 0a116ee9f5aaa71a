"""Keeps a cache within its limit: what was used longest ago goes first.

Removing a name takes nothing from who has the file open or linked, so nobody is asked.
"""

import os
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tidemill.store.scratch import PREFIX


class _Kept(NamedTuple):
    used_at: float
    size: int
    digest: str
    path: Path


def evict(root: Path, *, keep: Container[str], down_to: int) -> int:
    """Remove blobs and parts, but none of ``keep``, until ``down_to`` bytes are left at most.

    Where ``keep`` alone has more, nothing is removed, since it would be for nothing. Returns how
    many bytes are there afterwards; transfers that somebody works at are not among them. Raises
    OSError.
    """
    stamps = {path.name: used_at for path, used_at, _ in _files(root / "stamps")}
    kept = [
        _Kept(stamps.get(path.name, changed_at), size, path.name.removesuffix(".part"), path)
        for room in ("blobs", "parts")
        for path, changed_at, size in _files(root / room)
        if not path.name.startswith(PREFIX)
    ]
    total = sum(one.size for one in kept)
    if sum(one.size for one in kept if one.digest in keep) > down_to:
        return total
    there = {one.digest for one in kept}
    for digest in stamps.keys() - there:  # of blobs that somebody has removed
        _stamp(root, digest).unlink(missing_ok=True)
    for one in sorted(kept):
        if total <= down_to:
            break
        if one.digest in keep:
            continue
        with suppress(FileNotFoundError):
            one.path.unlink()
        _stamp(root, one.digest).unlink(missing_ok=True)
        total -= one.size
    return total


def _stamp(root: Path, digest: str) -> Path:
    return root / "stamps" / digest[:2] / digest


def _files(folder: Path) -> Iterator[tuple[Path, float, int]]:
    """The files below ``folder``, with their times of modification and sizes."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        with suppress(FileNotFoundError):
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                status = entry.stat(follow_symlinks=False)
                yield Path(entry.path), status.st_mtime, status.st_size
