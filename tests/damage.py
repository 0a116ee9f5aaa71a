"""Ways to harm a stored file, as a bad disk or a careless person would; its time stays."""

import os
from collections.abc import Callable
from pathlib import Path

Harm = Callable[[Path, Path], None]


def flip(path: Path, other: Path) -> None:
    """One bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path, other: Path) -> None:
    """The last few bytes are lost."""
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path, other: Path) -> None:
    """A name without bytes, as a crash leaves it on some file systems."""
    path.write_bytes(b"")


def swap(path: Path, other: Path) -> None:
    """The bytes of another file, sound in themselves."""
    path.write_bytes(other.read_bytes())


def lose(path: Path, other: Path) -> None:
    """The file is gone."""
    path.unlink()


HARMS: dict[str, Harm] = {harm.__name__: harm for harm in (flip, truncate, empty, swap, lose)}


def damage(path: Path, harm: str, *, other: Path) -> None:
    """Harm ``path`` and set its time of modification back; its bytes are then different."""
    status, before = path.stat(), path.read_bytes()
    HARMS[harm](path, other)
    if path.exists():
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert path.read_bytes() != before, f"{harm} did not change {path}"
