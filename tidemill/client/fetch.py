"""Brings the bytes of artifacts to files: from the cache, else from the store and through it.

Every byte that comes from a store is hashed once, while it passes.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tidemill.client.cache import Cache
from tidemill.client.copying import copy_to
from tidemill.client.parallel import Stop
from tidemill.client.parts import Part
from tidemill.digest import Digest
from tidemill.errors import BlobDamaged, StoreError
from tidemill.records import Artifact
from tidemill.store.contract import BlobMissing, Store
from tidemill.store.layout import blob_name, short
from tidemill.store.stream import StreamingStore
from tidemill.store.trouble import disk_error

REBUILD = "run the pipeline that made it again: it is rebuilt"
_SHOWN = 8


class Fetcher:
    """Fetches blobs of one store. Safe for threads.

    ``moved`` is told of bytes as they come; ``stop`` can end a transfer between two pieces. With
    ``offline`` the store is asked nothing.
    """

    def __init__(
        self,
        store: Store,
        *,
        cache: Cache | None,
        offline: bool = False,
        stop: Stop | None = None,
        moved: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._cache = cache
        self._offline = offline
        self._stop = stop or Stop()
        self._moved = moved
        #: The digests for which the cache has no room beside what is in use: not to be had offline.
        self.uncached: set[str] = set()

    @property
    def keeps(self) -> bool:
        """Whether what has come stays here, in a cache, when a later file cannot be had."""
        return self._cache is not None

    def use(self, digests: Collection[str]) -> None:
        """These are going to be asked for: the cache evicts none of them for another."""
        if self._cache is not None:
            self._cache.use(digests)

    def check_offline(self, wanted: Iterable[Artifact]) -> None:
        """Raise StoreError, naming them, when we are offline and the cache lacks any of these."""
        if not self._offline:
            return
        lacking = sorted(
            one.file
            for one in wanted
            if self._cache is None or not self._cache.holds(one.digest, size=one.size)
        )
        if lacking:
            more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
            raise StoreError(
                f"offline: {len(lacking)} of the files are not in the cache:"
                f" {', '.join(lacking[:_SHOWN])}{more}",
                hint="pull them once without --offline, with the same cache",
            )

    def check_there(self, wanted: Iterable[Artifact]) -> None:
        """Raise StoreError when the store lacks the blob of any of these, or has a short one."""
        for one in wanted:
            entry = self._store.stat(blob_name(one.digest))
            if entry is None or entry.size != one.size:
                found = "is missing" if entry is None else f"has {entry.size} bytes, not {one.size}"
                raise (BlobMissing if entry is None else BlobDamaged)(
                    f"{_title(one)}: blob {short(one.digest)} {found} in {self._store.url}",
                    hint=f"{REBUILD}; nothing was pulled",
                )

    def copy(self, one: Artifact, targets: Sequence[Path]) -> None:
        """Make each of ``targets`` a copy of the blob of ``one``, verified, whole, by a rename.

        Their folders must exist. Raises StoreError, which names the artifact.
        """
        with _named(one):
            if (stream := self._opened(one)) is None:
                self._store.fetch_blob(Digest(one.digest), targets[0])
                self._moved(one.size)
                stream, targets = targets[0].open("rb"), targets[1:]
            with stream:
                for target in targets:
                    self._stop.check()
                    with _disk(f"copy blob {short(one.digest)}", target.parent):
                        copy_to(stream, target)

    def link(self, one: Artifact, target: Path) -> None:
        """As ``copy``, but ``target`` may share the bytes of the cache: it is not to be edited."""
        with _named(one):
            stream = self._opened(one)
            if stream is None:
                self._store.fetch_blob(Digest(one.digest), target)
                return
            with stream:
                assert self._cache is not None  # noqa: S101 - it gave the stream
                if not self._cache.link(one.digest, stream, target):
                    copy_to(stream, target)

    def _opened(self, one: Artifact) -> BinaryIO | None:
        """The blob, open in the cache; None when it is to come straight from the store."""
        if self._cache is None:
            self.check_offline([one])
            return None
        with _disk("use the cache", self._cache.root):
            stream = self._cache.open(one.digest, size=one.size)
        if stream is not None:
            self._moved(one.size)
            return stream
        self.check_offline([one])
        with (
            _disk("use the cache", self._cache.root),
            self._cache.room_for(one.digest, size=one.size) as fits,
        ):
            if fits:
                return self._download(one, self._cache)
        self.uncached.add(one.digest)
        return None

    def _download(self, one: Artifact, cache: Cache) -> BinaryIO:
        digest = Digest(one.digest)
        if not isinstance(self._store, StreamingStore):
            path = cache.scratch(digest)
            self._store.fetch_blob(digest, path)
            self._moved(one.size)
            return cache.admit(path, digest)
        for _ in range(2):  # what was left of an earlier transfer, or the network, may be wrong
            part = cache.take_part(digest)
            try:
                self._fill(part, one, store=self._store)
            except BaseException:
                part.keep()
                raise
            if part.is_right(digest):
                part.close()
                return cache.admit(part.path, digest)
            size = part.size
            part.drop()
        found = "is damaged: its bytes have another sha256"
        if size != one.size:
            found = f"is damaged: it has {size} bytes, not {one.size}"
        raise BlobDamaged(
            f"blob {short(digest)} in {self._store.url} {found}",
            hint=REBUILD,
        )

    def _fill(self, part: Part, one: Artifact, *, store: StreamingStore) -> None:
        self._moved(part.size)
        if part.size >= one.size:
            return
        for chunk in store.stream_blob(Digest(one.digest), offset=part.size):
            self._stop.check()
            part.write(chunk)
            self._moved(len(chunk))
            if part.size > one.size:
                return


def _title(one: Artifact) -> str:
    return f"{one.address} {one.kind}"


@contextmanager
def _named(one: Artifact) -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise type(error)(f"{_title(one)}: {error.message}", hint=error.hint) from error


@contextmanager
def _disk(doing: str, where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_error(error, doing=doing, where=where) from error
