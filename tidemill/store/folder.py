"""A store in a folder: the embedded default, ``file://``.

Needs a file system with hard links, atomic renames and change times finer than SETTLE_SECONDS, as
local ones and NFS have. Bytes are written under a unique name in ``tmp/``, flushed, linked or
renamed into place, and the folder is flushed. Nothing is created before the first write.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tidemill.digest import Digest, copy_hashing, digest_bytes, fsync_folder, read_chunks
from tidemill.errors import BlobDamaged, StoreError
from tidemill.store.contract import LARGEST_DOCUMENT_BYTES, BlobMissing, Entry, too_large
from tidemill.store.layout import ROOMS, blob_name, check_name, check_prefix, short
from tidemill.store.listing import SETTLE_SECONDS, entry_of, walk
from tidemill.store.scratch import sweep, temporary_name
from tidemill.store.trouble import disk_error

_REBUILD = "run the pipeline that made it again: it is rebuilt"


class FolderStore:
    """The store in one folder. Safe for any number of threads, processes and (on NFS) hosts."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._prepared = False
        self.url = self._root.as_uri()

    def put_blob(self, source: Path, *, digest: Digest) -> bool:
        """See Store."""
        final = self._path(blob_name(digest))
        with _disk_trouble("read it", source):
            incoming = source.open("rb")
        with incoming, self._trouble(f"store blob {short(digest)}"):
            if self._keeps(final, size=os.fstat(incoming.fileno()).st_size):
                return False
            with self._temporary() as (temporary, stream):
                actual, _ = copy_hashing(incoming, stream)
                if actual != digest:
                    raise BlobDamaged(
                        f"{source} is not blob {short(digest)}: its sha256 is {short(actual)}",
                        hint="it changed while it was being stored; build it again",
                    )
                _flush(stream)
                self._install(temporary, final)
        return True

    def put_bytes(self, data: bytes) -> Digest:
        """See Store."""
        digest = digest_bytes(data)
        final = self._path(blob_name(digest))
        with self._trouble(f"store blob {short(digest)}"):
            if not self._keeps(final, size=len(data)):
                self._write(final, data)
        return digest

    def stat(self, name: str) -> Entry | None:
        """See Store. Waits until the change time would tell a later change (SETTLE_SECONDS)."""
        path = self._path(name)
        with self._trouble(f"look up {name}"):
            try:
                entry, settled = entry_of(name, path)
                if not settled:
                    time.sleep(SETTLE_SECONDS)
                    entry, _ = entry_of(name, path)
            except FileNotFoundError:
                return None
        return entry

    def read(self, name: str) -> bytes | None:
        """See Store."""
        path = self._path(name)
        with self._trouble(f"read {name}"):
            try:
                with path.open("rb") as stream:
                    data = stream.read(LARGEST_DOCUMENT_BYTES + 1)
            except FileNotFoundError:
                return None
        if len(data) > LARGEST_DOCUMENT_BYTES:
            raise too_large(name, url=self.url)
        return data

    def read_blob(self, digest: Digest) -> bytes:
        """See Store."""
        data = self.read(blob_name(digest))
        if data is None:
            raise self._missing(digest)
        if digest_bytes(data) != digest:
            raise self._damaged(digest)
        return data

    def fetch_blob(self, digest: Digest, target: Path) -> int:
        """See Store."""
        temporary = target.with_name(temporary_name())
        with (
            self._open_blob(digest) as stored,
            _disk_trouble(f"copy blob {short(digest)}", target.parent),
        ):
            try:
                with temporary.open("xb") as stream:
                    actual, size = copy_hashing(stored, stream)
                if actual != digest:
                    raise self._damaged(digest)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
        return size

    def check_blob(self, digest: Digest) -> int:
        """See Store."""
        hasher, size = hashlib.sha256(), 0
        with self._open_blob(digest) as stored, self._trouble(f"read blob {short(digest)}"):
            for chunk in read_chunks(stored):
                hasher.update(chunk)
                size += len(chunk)
        if hasher.hexdigest() != digest:
            raise self._damaged(digest)
        return size

    def stream_blob(self, digest: Digest, *, offset: int = 0) -> Iterator[bytes]:
        """See StreamingStore."""
        with self._open_blob(digest) as stored, self._trouble(f"read blob {short(digest)}"):
            stored.seek(offset)
            yield from read_chunks(stored)

    def create(self, name: str, data: bytes) -> bool:
        """See Store. The one winner is whose hard link succeeds."""
        final = self._path(name)
        with self._trouble(f"write {name}"), self._temporary() as (temporary, stream):
            stream.write(data)
            _flush(stream)
            self._make_folder(final.parent)
            try:
                os.link(temporary, final)
            except FileExistsError:
                # NFS repeats a request whose answer was lost: then the link that is there is ours.
                return temporary.stat().st_nlink > 1
            fsync_folder(final.parent)
        return True

    def replace(self, name: str, data: bytes) -> None:
        """See Store."""
        final = self._path(name)
        with self._trouble(f"write {name}"):
            self._write(final, data)

    def remove(self, name: str) -> None:
        """See Store."""
        path = self._path(name)
        with self._trouble(f"remove {name}"):
            path.unlink(missing_ok=True)

    def discard_blob(self, digest: Digest) -> None:
        """See Store."""
        blob = self._path(blob_name(digest))
        aside = self._path(f"quarantine/{digest}.{os.urandom(6).hex()}")
        with self._trouble(f"set aside blob {short(digest)}"):
            self._make_folder(aside.parent)
            try:
                blob.replace(aside)
            except FileNotFoundError:
                return
            with aside.open("rb") as stream:
                sound = hashlib.file_digest(stream, "sha256").hexdigest() == digest
            if sound:
                with suppress(FileExistsError):
                    os.link(aside, blob)
                aside.unlink()
            fsync_folder(blob.parent)

    def list(self, prefix: str) -> Iterator[Entry]:
        """See Store. A generator: trouble shows while it is read."""
        folder = check_prefix(prefix)
        with self._trouble(f"list {folder or 'everything'}"):
            for top in (folder,) if folder else ROOMS:
                yield from walk(os.fspath(self._root), top)

    def _path(self, name: str) -> Path:
        return self._root / check_name(name)

    @staticmethod
    def _keeps(final: Path, *, size: int) -> bool:
        try:
            return final.stat().st_size == size
        except FileNotFoundError:
            return False

    def _write(self, final: Path, data: bytes) -> None:
        with self._temporary() as (temporary, stream):
            stream.write(data)
            _flush(stream)
            self._install(temporary, final)

    def _install(self, temporary: Path, final: Path) -> None:
        self._make_folder(final.parent)
        temporary.replace(final)
        fsync_folder(final.parent)

    @contextmanager
    def _temporary(self) -> Iterator[tuple[Path, BinaryIO]]:
        scratch = self._root / "tmp"
        if not self._prepared:
            self._make_folder(scratch)
            sweep(scratch)
            self._prepared = True
        path = scratch / temporary_name()
        try:
            with path.open("xb") as stream:
                yield path, stream
        finally:
            path.unlink(missing_ok=True)

    def _make_folder(self, folder: Path) -> None:
        # A new folder is durable only once the one above it is flushed.
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for made in reversed(missing):
            made.mkdir(exist_ok=True)
            fsync_folder(made.parent)

    @contextmanager
    def _open_blob(self, digest: Digest) -> Iterator[BinaryIO]:
        path = self._path(blob_name(digest))
        with self._trouble(f"read blob {short(digest)}"):
            try:
                stream = path.open("rb")
            except FileNotFoundError:
                raise self._missing(digest) from None
        with stream:
            yield stream

    @contextmanager
    def _trouble(self, doing: str) -> Iterator[None]:
        with _disk_trouble(doing, self._root):
            yield

    def _missing(self, digest: Digest) -> StoreError:
        return BlobMissing(f"blob {short(digest)} is missing in {self.url}", hint=_REBUILD)

    def _damaged(self, digest: Digest) -> StoreError:
        return BlobDamaged(
            f"blob {short(digest)} in {self.url} is damaged: its bytes have another sha256",
            hint=_REBUILD,
        )


@contextmanager
def _disk_trouble(doing: str, where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_error(error, doing=doing, where=where) from error


def _flush(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())
