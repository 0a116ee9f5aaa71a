"""Remembers which blobs were hashed and found right, so that a quiet night hashes nothing.

A memory is a digest with the stamp that its object had before its bytes were hashed. Another stamp
means: hash again. The memory is a local file per store; losing it costs time and nothing else, and
several processes may keep it together.
"""

import contextlib
from pathlib import Path

import msgspec

from tidemill.digest import Digest, digest_bytes
from tidemill.errors import BlobDamaged
from tidemill.store.contract import BlobMissing, Entry, Store
from tidemill.store.layout import blob_name, short
from tidemill.store.scratch import sweep, temporary_name


class Verified:
    """Which blobs of which store are known to be sound. ``folder`` is local; it need not exist."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamps: dict[str, dict[str, str]] = {}
        self._changed: set[str] = set()

    def is_sound(
        self, store: Store, digest: Digest, *, size: int, entry: Entry | None
    ) -> str | None:
        """None when the blob is there with the right bytes, else the reason why it cannot be used.

        ``entry`` is what a listing said, None when it said nothing: then the store is asked. The
        bytes are hashed unless they were under the same stamp. A damaged blob is discarded. Raises
        StoreError when the store cannot say.
        """
        known = self._of(store.url)
        if entry is not None and entry.size == size and known.get(digest) == entry.stamp:
            return None
        # A listing may be old. What is hashed below must carry the stamp it has now.
        entry = store.stat(blob_name(digest))
        if entry is None:
            return f"blob {short(digest)} is missing"
        if entry.size != size:
            store.discard_blob(digest)
            return f"blob {short(digest)} has {entry.size} bytes, expected {size}"
        return None if known.get(digest) == entry.stamp else self._hash(store, digest, entry)

    def _hash(self, store: Store, digest: Digest, entry: Entry) -> str | None:
        try:
            store.check_blob(digest)
        except BlobMissing:
            return f"blob {short(digest)} is missing"
        except BlobDamaged:
            store.discard_blob(digest)
            return f"blob {short(digest)} is damaged (its sha256 differs)"
        self._remember(store, digest, stamp=entry.stamp)
        return None

    def learn(self, store: Store, digest: Digest) -> None:
        """Remember a blob that the caller's own ``put_blob`` has just written and hashed (True)."""
        entry = store.stat(blob_name(digest))
        if entry is not None:
            self._remember(store, digest, stamp=entry.stamp)

    def refresh(self) -> None:
        """Take what other processes have kept since this one began."""
        for url, stamps in self._stamps.items():
            self._stamps[url] = _load(self._file(url)) | stamps

    def save(self) -> None:
        """Keep the memory, together with what other processes kept. Trouble is ignored."""
        for url in sorted(self._changed):
            with contextlib.suppress(OSError):
                self._save_one(self._file(url), self._stamps[url])
        self._changed.clear()

    def _save_one(self, file: Path, mine: dict[str, str]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        sweep(self._folder)
        temporary = self._folder / temporary_name()
        try:
            temporary.write_bytes(msgspec.msgpack.encode(_load(file) | mine))
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)

    def _of(self, url: str) -> dict[str, str]:
        if url not in self._stamps:
            self._stamps[url] = _load(self._file(url))
        return self._stamps[url]

    def _remember(self, store: Store, digest: Digest, *, stamp: str) -> None:
        self._of(store.url)[digest] = stamp
        self._changed.add(store.url)

    def _file(self, url: str) -> Path:
        return self._folder / f"verified-{digest_bytes(url.encode())[:16]}.msgpack"


def _load(file: Path) -> dict[str, str]:
    try:
        return msgspec.msgpack.decode(file.read_bytes(), type=dict[str, str])
    except (OSError, ValueError):  # ValueError: damaged, whatever byte it is
        return {}
