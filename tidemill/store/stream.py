"""Blobs as streams: how a store gives the rest of a blob of which the beginning is here already."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from tidemill.digest import Digest


@runtime_checkable
class StreamingStore(Protocol):
    """A store from which a transfer that was cut can be gone on with, even by another process."""

    def stream_blob(self, digest: Digest, *, offset: int = 0) -> Iterator[bytes]:
        """The bytes of a blob from ``offset`` on, in pieces, **not verified**: the caller hashes.

        Nothing comes when the blob has no more than ``offset`` bytes. Raises BlobMissing, and
        StoreError when the medium fails; what came before may be kept and gone on from.
        """
        ...
