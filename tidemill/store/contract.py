"""What every store promises; ``tests/contract`` holds one suite for all of them.

A store keeps two kinds of things. Blobs are bytes named by their sha256, written once. Documents
are small named files: records, releases, channel entries, reports. Every implementation promises:

* Nothing half-written is ever visible under a final name, whatever dies when.
* Bytes are hashed on every write and on every read of a blob, whatever the medium promises.
* A call that returns is durable: the machine may lose power.
* Absent is said only when it is known. Every other trouble raises StoreError.
* No lock. ``create`` is the one compare-and-swap, and it has exactly one winner.
* Opening and reading change nothing, so a store on a read-only medium can be read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from tidemill.digest import Digest
from tidemill.errors import StoreError

#: No document comes near it; a bigger one is refused before it fills the memory.
LARGEST_DOCUMENT_BYTES = 1 << 28


class BlobMissing(StoreError):  # noqa: N818 - named as BlobDamaged is
    """The store has no blob of that digest."""


class Unlistable(StoreError):  # noqa: N818 - named as BlobDamaged is
    """The medium answers for names only, as a plain web server does: it cannot list."""


class Denied(StoreError):  # noqa: N818 - named as BlobDamaged is
    """The medium refuses to say whether that object is there, as it may for one that is not."""


def too_large(name: str, *, url: str) -> StoreError:
    """The error for a document that has more than LARGEST_DOCUMENT_BYTES."""
    return StoreError(
        f"{url}: {name} has more than {LARGEST_DOCUMENT_BYTES} bytes, as no document of ours has",
        hint="somebody else wrote it; tell whoever owns the store",
    )


class Entry(NamedTuple):  # made by the ten thousand: a frozen dataclass takes four times as long
    """One stored object: its name below the store's root, and its size in bytes.

    ``stamp`` is opaque text. Equal stamps mean that the bytes have not changed in between; a stamp
    may differ although they have not.
    """

    name: str
    size: int
    stamp: str


class Store(Protocol):
    """A place for blobs and documents. Names are those of ``tidemill.store.layout``.

    Every method raises StoreError when the medium fails, and for a name that layout refuses.
    """

    url: str

    def put_blob(self, source: Path, *, digest: Digest) -> bool:
        """Store the bytes of the file ``source`` under ``digest``, hashing them while they pass.

        Raises BlobDamaged and leaves nothing behind when they are not the bytes of ``digest``.
        A blob of that name and of the same size is kept as it is, and neither is read: damage is
        found by readers, who discard it. One of another size is damaged, and is replaced.
        True when this call wrote (so the stored bytes were hashed), False when one was kept.
        """
        ...

    def put_bytes(self, data: bytes) -> Digest:
        """Store a small blob; the same rules as ``put_blob``."""
        ...

    def stat(self, name: str) -> Entry | None:
        """The object of that name; None when there is none."""
        ...

    def read(self, name: str) -> bytes | None:
        """A whole small document; None when there is none. Raises StoreError for an endless one."""
        ...

    def read_blob(self, digest: Digest) -> bytes:
        """A small blob, verified. Raises BlobMissing or BlobDamaged."""
        ...

    def fetch_blob(self, digest: Digest, target: Path) -> int:
        """Copy a blob to the file ``target`` while hashing it; return its size in bytes.

        ``target`` appears whole, by a rename, or not at all; its folder must exist. It is not
        flushed to disk: who needs it after a power failure hashes it again. Raises BlobMissing,
        or BlobDamaged when the bytes are wrong, which leaves the blob to ``discard_blob``.
        """
        ...

    def check_blob(self, digest: Digest) -> int:
        """Read and hash a blob without keeping it; return its size. Raises as ``fetch_blob``."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a document if there is none of that name. True for exactly one of all callers."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Write a document over whatever is there: for reports, and over a damaged record.

        A reader sees the old one or the new one, whole.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove an object. One that is not there is fine."""
        ...

    def list(self, prefix: str) -> Iterator[Entry]:
        """All objects below the folder ``prefix`` ("" = everything), in no promised order.

        Whole segments: "blobs/sha256/ab" does not list "blobs/sha256/abc/…". What is written or
        removed meanwhile may or may not be seen; temporary files never are.
        """
        ...

    def discard_blob(self, digest: Digest) -> None:
        """Move a damaged blob into quarantine/, so that it can be built again.

        It is hashed there once more. Should it be sound after all (somebody has rebuilt it in the
        meantime), it is put back. One that is not there is fine.
        """
        ...
