"""A store whose documents are remembered: what cannot have changed is not asked for again.

A release is named by its own sha256, so it is read once. Any other document is served from memory
while a listing gives it the stamp that it had. Offline, the last that was seen is all there is.
Blobs are no documents; see cache.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from tidemill.digest import Digest, digest_bytes
from tidemill.store.contract import Denied, Entry, Store
from tidemill.store.layout import check_name, check_prefix, release_name, short
from tidemill.store.readonly import ReadOnly
from tidemill.store.scratch import temporary_name

#: The rooms of the store whose documents are kept.
_ROOMS = ("channels/", "releases/", "trust/", "actions/")


class _Document(msgspec.Struct, frozen=True):
    """``digest`` is that of ``data``: nothing is flushed, so a power failure may tear it."""

    stamp: str
    digest: str
    data: bytes


class RememberingStore(ReadOnly):
    """``store`` as a reader sees it, with a memory in ``folder``. Writing raises StoreError.

    With ``offline`` nothing is asked of ``store``: what is not remembered raises Denied.
    """

    def __init__(self, store: Store, folder: Path, *, offline: bool = False) -> None:
        self.url = store.url
        self._store = store
        self._offline = offline
        self._folder = folder / digest_bytes(store.url.encode())[:32]
        self._stamps: dict[str, str] = {}

    def read(self, name: str) -> bytes | None:
        """See Store."""
        known = self._recall(check_name(name))
        if known is not None and (self._offline or self._is_current(name, known)):
            return known.data
        if self._offline:
            raise self._unknown(name)
        data = self._store.read(name)
        if data is not None and name.startswith(_ROOMS):
            read = _Document(self._stamps.get(name, ""), digest_bytes(data), data)
            # A damaged release is not worth remembering.
            if not name.startswith("releases/") or self._is_current(name, read):
                self._remember(name, read)
        return data

    def list(self, prefix: str) -> Iterator[Entry]:
        """See Store. Offline: the documents that are remembered."""
        if self._offline:
            yield from self._recalled(check_prefix(prefix))
            return
        listed = tuple(self._store.list(prefix))
        self._stamps.update({entry.name: entry.stamp for entry in listed})
        self._forget(check_prefix(prefix), but={entry.name for entry in listed})
        yield from listed

    def stat(self, name: str) -> Entry | None:
        """See Store. Offline: the document as it is remembered."""
        if self._offline and (known := self._recall(check_name(name))):
            return Entry(name, len(known.data), known.stamp)
        self._ask(name)
        return self._store.stat(name)

    def read_blob(self, digest: Digest) -> bytes:
        """See Store."""
        self._ask(f"blob {short(digest)}")
        return self._store.read_blob(digest)

    def fetch_blob(self, digest: Digest, target: Path) -> int:
        """See Store."""
        self._ask(f"blob {short(digest)}")
        return self._store.fetch_blob(digest, target)

    def check_blob(self, digest: Digest) -> int:
        """See Store."""
        self._ask(f"blob {short(digest)}")
        return self._store.check_blob(digest)

    def _is_current(self, name: str, known: _Document) -> bool:
        if name == release_name(known.digest):
            return True
        return bool(known.stamp) and self._stamps.get(name) == known.stamp

    def _ask(self, what: str) -> None:
        if self._offline:
            raise self._unknown(what)

    def _unknown(self, what: str) -> Denied:
        return Denied(
            f"offline: {what} of {self.url} was never read on this machine",
            hint="pull once without --offline, with the same cache",
        )

    def _recall(self, name: str) -> _Document | None:
        with suppress(OSError, ValueError):  # ValueError: damaged
            found = msgspec.msgpack.decode((self._folder / name).read_bytes(), type=_Document)
            if digest_bytes(found.data) == found.digest:
                return found
        return None

    def _recalled(self, prefix: str) -> tuple[Entry, ...]:
        folder = self._folder / prefix
        names = [str(path.relative_to(self._folder)) for path in folder.rglob("*.json")]
        found = [(name, self._recall(name)) for name in sorted(names)]
        entries = tuple(Entry(name, len(one.data), one.stamp) for name, one in found if one)
        if not entries:
            raise self._unknown(prefix)
        return entries

    def _remember(self, name: str, document: _Document) -> None:
        # A memory that cannot be kept costs requests and nothing else.
        path = self._folder / name
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.parent / temporary_name()
            temporary.write_bytes(msgspec.msgpack.encode(document))
            temporary.replace(path)

    def _forget(self, prefix: str, *, but: set[str]) -> None:
        """Drop what is no longer there: a store that was made anew has other documents."""
        if not f"{prefix}/".startswith(_ROOMS):
            return
        for folder, _, files in os.walk(self._folder / prefix):
            for file in files:
                path = Path(folder) / file
                if path.suffix == ".json" and str(path.relative_to(self._folder)) not in but:
                    path.unlink(missing_ok=True)
