"""Write IREE parameter archives (IRPA, version 0) piece by piece.

The format is that of ``iree/schemas/parameter_archive.h``: a header of 88 bytes, a table of data
entries aligned to 16, a block of names and metadata, then the contents, each aligned to 64 and the
file to 4096. The bytes are those that IREE's own archive builder writes for the same entries in the
same order. Memory use is one piece, whatever the size of the archive. Standard library only.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC = b"IRPA"
HEADER = struct.Struct("<4sHHQQQQQQQQQQ")
ENTRY = struct.Struct("<QIQQQQQQQQ")
TABLE_ALIGNMENT = 16
DATA_ALIGNMENT = 64
FILE_ALIGNMENT = 4096
DATA_ENTRY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One parameter: its key, the exact number of bytes of its contents, and free text about it."""

    name: str
    size: int
    metadata: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """``head`` is everything before the contents; ``offsets`` count from the file's start."""

    head: bytes
    offsets: tuple[int, ...]
    size: int


def aligned(offset: int, alignment: int) -> int:
    """The least multiple of ``alignment`` that is not below ``offset``."""
    return -(-offset // alignment) * alignment


def layout(entries: Sequence[Entry]) -> Layout:
    """Place ``entries`` in their order. Raises ValueError on an empty or repeated name."""
    _check_names(entries)
    table_start = aligned(HEADER.size, TABLE_ALIGNMENT)
    step = aligned(ENTRY.size, TABLE_ALIGNMENT)
    table_length = (len(entries) - 1) * step + ENTRY.size if entries else 0
    table, names, storage, stored = bytearray(), bytearray(), [], 0
    for entry in entries:
        name, metadata = entry.name.encode(), entry.metadata.encode()
        stored = aligned(stored, DATA_ALIGNMENT)
        storage.append(stored)
        about = (len(names) + len(name), len(metadata)) if metadata else (0, 0)
        row = (ENTRY.size, DATA_ENTRY, 0, len(names), len(name), *about)
        table += bytes(aligned(len(table), TABLE_ALIGNMENT) - len(table))
        table += ENTRY.pack(*row, DATA_ALIGNMENT, stored, entry.size)
        names += name + metadata
        stored += entry.size
    names_start = table_start + table_length
    data_start = aligned(names_start + len(names), DATA_ALIGNMENT)
    ranges = (table_start, table_length, names_start, len(names), data_start, stored)
    head = HEADER.pack(MAGIC, 0, 0, HEADER.size, 0, 0, len(entries), *ranges)
    head += bytes(table_start - len(head)) + table + names
    head += bytes(data_start - len(head))
    end = aligned(data_start + stored, FILE_ALIGNMENT)
    return Layout(head=head, offsets=tuple(data_start + place for place in storage), size=end)


def write_archive(
    target: Path,
    entries: Sequence[Entry],
    *,
    contents: Callable[[Entry], Iterable[memoryview]],
) -> int:
    """Write ``entries``, asking ``contents`` for the pieces of each; return the file's size.

    Raises ValueError on a repeated name or when the pieces of an entry are not ``size`` bytes,
    OSError when the disk fails. The file is not complete then.
    """
    plan = layout(entries)
    with target.open("wb") as stream:
        stream.write(plan.head)
        for entry, offset in zip(entries, plan.offsets, strict=True):
            stream.write(bytes(offset - stream.tell()))
            written = _copy(contents(entry), stream)
            if written != entry.size:
                raise ValueError(f"{entry.name}: {written} bytes came, {entry.size} were declared")
        stream.write(bytes(plan.size - stream.tell()))
    return plan.size


def _copy(pieces: Iterable[memoryview], stream: BinaryIO) -> int:
    total = 0
    for piece in pieces:
        total += piece.nbytes
        stream.write(piece)
    return total


def _check_names(entries: Sequence[Entry]) -> None:
    seen: set[str] = set()
    for entry in entries:
        if not entry.name:
            raise ValueError("a parameter has no name")
        if entry.name in seen:
            raise ValueError(f"{entry.name}: declared twice")
        seen.add(entry.name)
