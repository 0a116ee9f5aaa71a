"""Content digests and canonical JSON: the two things every identity in tidemill is made of.

A digest is the lower-case hexadecimal sha256 of some bytes. Canonical JSON is UTF-8, keys sorted,
no spaces, no NaN; equal values always give equal bytes. Standard library only: this module is also
imported in child processes that run under another interpreter.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NewType

Digest = NewType("Digest", str)

CHUNK_BYTES = 1 << 20
HEX_DIGITS = 64
EMPTY_DIGEST = Digest(hashlib.sha256(b"").hexdigest())
_HEX = frozenset("0123456789abcdef")
_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
)


def is_digest(text: str) -> bool:
    """Whether ``text`` is 64 lower-case hexadecimal digits."""
    return len(text) == HEX_DIGITS and _HEX.issuperset(text)


def digest_bytes(data: bytes) -> Digest:
    """The sha256 of ``data``."""
    return Digest(hashlib.sha256(data).hexdigest())


def digest_file(path: Path) -> Digest:
    """The sha256 of a file's bytes, read in chunks. Raises OSError."""
    with path.open("rb") as stream:
        return Digest(hashlib.file_digest(stream, "sha256").hexdigest())


def canonical_json(value: object) -> bytes:
    """``value`` as canonical JSON. Raises ValueError on NaN, TypeError on what JSON has not."""
    return _CANONICAL.encode(value).encode("utf-8")


def digest_json(value: object) -> Digest:
    """The sha256 of ``value`` as canonical JSON."""
    return digest_bytes(canonical_json(value))


def read_chunks(stream: BinaryIO) -> Iterator[bytes]:
    """The rest of ``stream`` in pieces of at most CHUNK_BYTES."""
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def copy_hashing(source: BinaryIO, target: BinaryIO) -> tuple[Digest, int]:
    """Copy ``source`` to ``target``; return the digest and the number of bytes that passed."""
    hasher, size = hashlib.sha256(), 0
    for chunk in read_chunks(source):
        hasher.update(chunk)
        target.write(chunk)
        size += len(chunk)
    return Digest(hasher.hexdigest()), size


def fsync_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
