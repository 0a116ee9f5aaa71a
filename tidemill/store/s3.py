"""A store in a bucket of an S3 server, ``s3://``.

Every object carries the sha256 of its bytes and the name of the call that wrote it. A write is one
request that takes effect whole or not at all, and its bytes are checked by the server as well.
Trouble that may pass is met with more attempts; what is left of it is a StoreError.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tidemill.digest import Digest, digest_bytes
from tidemill.errors import BlobDamaged, StoreError
from tidemill.store.contract import BlobMissing, Entry
from tidemill.store.layout import ROOMS, blob_name, check_name, check_prefix, short
from tidemill.store.s3_address import parse_address
from tidemill.store.s3_client import Bucket, Retry, new_writer
from tidemill.store.s3_create import create
from tidemill.store.s3_multipart import WrongFile, put_large
from tidemill.store.s3_quarantine import move_aside
from tidemill.store.s3_reading import Piece, Reader
from tidemill.store.s3_trouble import AbsentError
from tidemill.store.scratch import temporary_name
from tidemill.store.trouble import disk_error

#: A blob up to this size is one request.
SMALL_BYTES = 16 << 20
_REBUILD = "run the pipeline that made it again: it is rebuilt"


class S3Store:
    """The store in one bucket, below one prefix. Safe for any number of threads, forks and hosts.

    Raises UsageError for a URL that cannot be. Nothing is asked of the server before the first use.
    """

    def __init__(self, url: str, *, retry: Retry | None = None) -> None:
        self._address = parse_address(url)
        self._bucket = Bucket(self._address, retry=retry or Retry())
        self._reader = Reader(self._bucket)
        self._seen = False
        self.url = self._address.url

    def put_blob(self, source: Path, *, digest: Digest) -> bool:
        """See Store."""
        key, doing = self._key(blob_name(digest)), f"store blob {short(digest)}"
        with _disk_trouble("read it", source), source.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if self._keeps(key, size=size, doing=doing):
                return False
            try:
                if size > SMALL_BYTES:
                    return put_large(
                        self._bucket, key, stream, size=size, digest=digest, doing=doing
                    )
                data = stream.read()
            except WrongFile as error:
                raise _wrong_file(source, digest=digest, actual=error.actual) from error
        if (actual := digest_bytes(data)) != digest:
            raise _wrong_file(source, digest=digest, actual=actual)
        self._put(key, data, doing=doing)
        return True

    def put_bytes(self, data: bytes) -> Digest:
        """See Store."""
        digest = digest_bytes(data)
        key, doing = self._key(blob_name(digest)), f"store blob {short(digest)}"
        if not self._keeps(key, size=len(data), doing=doing):
            self._put(key, data, doing=doing)
        return digest

    def stat(self, name: str) -> Entry | None:
        """See Store."""
        head = self._bucket.head(self._key(name), doing=f"look up {name}")
        if head is None:
            self._require_bucket()
            return None
        return Entry(name, head.size, _stamp(head.etag))

    def read(self, name: str) -> bytes | None:
        """See Store. As it lies there: whoever decodes a document sees damage, and can heal it."""
        try:
            return self._reader.read(self._key(name), doing=f"read {name}")
        except AbsentError:
            return None

    def read_blob(self, digest: Digest) -> bytes:
        """See Store."""
        found = bytearray()
        self._read_blob(digest, take=found.extend, restart=found.clear)
        return bytes(found)

    def fetch_blob(self, digest: Digest, target: Path) -> int:
        """See Store."""
        temporary = target.with_name(temporary_name())
        with _disk_trouble(f"copy blob {short(digest)}", target.parent):
            try:
                with temporary.open("xb") as stream:
                    size = self._read_blob(
                        digest, take=stream.write, restart=lambda: stream.truncate(stream.seek(0))
                    )
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
        return size

    def stream_blob(self, digest: Digest, *, offset: int = 0) -> Iterator[bytes]:
        """See StreamingStore."""
        key = self._key(blob_name(digest))
        try:
            pieces = self._reader.stream(key, doing=f"read blob {short(digest)}", offset=offset)
            yield from map(bytes, pieces)
        except AbsentError as error:
            raise self._missing(digest) from error

    def check_blob(self, digest: Digest) -> int:
        """See Store."""
        return self._read_blob(digest, take=lambda _: None)

    def create(self, name: str, data: bytes) -> bool:
        """See Store. Refused on a server that would let two writers win."""
        return create(self._bucket, self._key(name), data, doing=f"write {name}")

    def replace(self, name: str, data: bytes) -> None:
        """See Store."""
        self._put(self._key(name), data, doing=f"write {name}")

    def remove(self, name: str) -> None:
        """See Store."""
        self._bucket.delete(self._key(name), doing=f"remove {name}")

    def list(self, prefix: str) -> Iterator[Entry]:
        """See Store. A generator: one request for each thousand objects."""
        folder = check_prefix(prefix)
        root = self._address.root
        for answer in self._bucket.pages(
            "list_objects_v2",
            doing=f"list {folder or 'everything'}",
            needs="IsTruncated",
            markers={"ContinuationToken": "NextContinuationToken"},
            Prefix=f"{root}{folder}/" if folder else root,
        ):
            for found in answer.get("Contents", ()):
                name = found["Key"].removeprefix(root)
                # tmp/ is nobody's business, nor are the folders that some tools pretend with "/".
                if name.partition("/")[0] in ROOMS and not name.endswith("/"):
                    yield Entry(name, found["Size"], _stamp(found["ETag"]))

    def is_empty(self) -> bool:
        """Whether nothing is there yet. Raises StoreError when the bucket is not there."""
        answer = self._bucket.ask(
            "list_objects_v2",
            doing="look into it",
            needs="IsTruncated",
            Prefix=self._address.root,
            MaxKeys=1,
        )
        self._seen = True
        return not answer.get("Contents")

    def discard_blob(self, digest: Digest) -> None:
        """See Store. One that was rebuilt in the meantime is left alone."""
        key, doing = self._key(blob_name(digest)), f"set aside blob {short(digest)}"
        before = self._bucket.head(key, doing=doing)
        if before is None or self._is_sound(digest):
            return
        aside = self._key(f"quarantine/{digest}.{new_writer()}")
        move_aside(self._bucket, key, aside, head=before, doing=doing)

    def _key(self, name: str) -> str:
        return self._address.root + check_name(name)

    def _require_bucket(self) -> None:
        """Raise StoreError unless the bucket is there: an answer to HEAD does not tell."""
        if not self._seen:
            self.is_empty()

    def _keeps(self, key: str, *, size: int, doing: str) -> bool:
        head = self._bucket.head(key, doing=doing)
        return head is not None and head.size == size

    def _put(self, key: str, data: bytes, *, doing: str) -> None:
        writer = new_writer()
        self._bucket.persevere(
            lambda: self._bucket.put(key, data, doing=doing, writer=writer), doing=doing
        )

    def _is_sound(self, digest: Digest) -> bool:
        try:
            self.check_blob(digest)
        except (BlobDamaged, BlobMissing):
            return False
        return True

    def _read_blob(
        self,
        digest: Digest,
        *,
        take: Callable[[Piece], object],
        restart: Callable[[], object] = lambda: None,
    ) -> int:
        key = self._key(blob_name(digest))
        try:
            copied = self._reader.copy(
                key, doing=f"read blob {short(digest)}", sha256=digest, take=take, restart=restart
            )
        except AbsentError as error:
            raise self._missing(digest) from error
        if not copied.sound:
            raise BlobDamaged(
                f"blob {short(digest)} in {self.url} is damaged: its bytes have another sha256",
                hint=_REBUILD,
            )
        return copied.size

    def _missing(self, digest: Digest) -> StoreError:
        return BlobMissing(f"blob {short(digest)} is missing in {self.url}", hint=_REBUILD)


def _wrong_file(source: Path, *, digest: Digest, actual: str) -> BlobDamaged:
    return BlobDamaged(
        f"{source} is not blob {short(digest)}: its sha256 is {short(actual)}",
        hint="it changed while it was being stored; build it again",
    )


def _stamp(etag: str) -> str:
    # HEAD gives it in quotes everywhere, a listing not on every server.
    return etag.strip('"')


@contextmanager
def _disk_trouble(doing: str, where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_error(error, doing=doing, where=where) from error
