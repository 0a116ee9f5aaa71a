"""A content cache: blobs by sha256 in a local folder that any number of processes share.

No lock guards it. A blob appears by a rename, whole and verified. Who has one open keeps its bytes
whatever becomes of the name; who finds it gone fetches it again. It grows to its limit, then what
was used longest ago goes. Nothing is flushed to disk, and everything may be deleted at any time.

::

    blobs/ab/<sha256>          read-only, so that an editor asks before it writes through a link
    stamps/ab/<sha256>         the stamp that the blob had when it was hashed; its own time of
                               modification is when the blob was last used
    parts/                     transfers that are not finished (see parts)
    documents/ folders/        what was read and seen before (see remember, seen)
    sessions/                  links to blobs that running tests hold
"""

import hashlib
import os
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tidemill.client import parts
from tidemill.client.eviction import evict
from tidemill.client.stamps import content_stamp
from tidemill.digest import Digest, read_chunks
from tidemill.store.layout import check_digest
from tidemill.store.scratch import temporary_name
from tidemill.store.trouble import disk_error

_WRITABLE = 0o222
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Everything here can be fetched again.\n"


class Cache:
    """The cache in one folder. Safe for threads. Methods raise OSError where nothing else is said.

    What is no digest is refused with a StoreError: a release names digests, and may be hostile.

    A limit of ``limit_bytes`` holds for all blobs and parts together. What this object was asked
    for is never evicted by it: when there is no room beside that, a blob is not cached.
    """

    def __init__(self, root: Path, *, limit_bytes: int) -> None:
        self.root = root
        self.limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._used: set[str] = set()
        self._coming: dict[str, int] = {}
        self._total: int | None = None

    def prepare(self) -> None:
        """Make the folder, and tell backup programs what it is. Raises StoreError."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            tag = self.root / "CACHEDIR.TAG"
            if not tag.exists():
                temporary = self.root / temporary_name()
                temporary.write_text(_TAG, encoding="ascii")
                temporary.replace(tag)
        except OSError as error:
            raise disk_error(error, doing="keep a cache there", where=self.root) from error

    def use(self, digests: Collection[str]) -> None:
        """Evict none of ``digests``."""
        with self._lock:
            self._used.update(digests)

    def holds(self, digest: str, *, size: int) -> bool:
        """Whether a blob of that name and size is there, sound or not."""
        with suppress(FileNotFoundError):
            return self._blob(digest).stat().st_size == size
        return False

    def open(self, digest: str, *, size: int) -> BinaryIO | None:
        """A sound blob, open at its beginning; None when there is none.

        It is hashed unless it has the stamp that it had when it was last hashed. A damaged one is
        removed.
        """
        path = self._blob(digest)
        try:
            stream = path.open("rb")
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(stream.fileno())
            stamp = content_stamp(status)
            if status.st_size == size and (
                self._stamp(digest) == stamp or _has_digest(stream, digest)
            ):
                self._note_use(digest, stamp)
                return stream
            with suppress(FileNotFoundError):
                if path.stat().st_ino == status.st_ino:
                    path.unlink()
        except BaseException:
            stream.close()
            raise
        stream.close()
        return None

    @contextmanager
    def room_for(self, digest: str, *, size: int) -> Iterator[bool]:
        """Evict what must go for ``size`` more bytes, which may come until the block ends.

        False when there is no room: then ``digest`` is not to be cached.
        """
        with self._lock:
            self._used.add(digest)
            room = self.limit_bytes - sum(self._coming.values()) - size
            if self._total is None or self._total > room:
                self._total = evict(self.root, keep=self._used, down_to=room)
            fits = self._total <= room
            if fits:
                self._coming[digest] = size
        try:
            yield fits
        finally:
            with self._lock:
                self._coming.pop(digest, None)

    def take_part(self, digest: Digest) -> parts.Part:
        """What is here of a blob that is not here whole; it belongs to the caller."""
        folder = self._folder("parts")
        parts.recover(folder)
        return parts.take(folder, check_digest(digest))

    def scratch(self, digest: Digest) -> Path:
        """Where the caller may put the bytes of a blob before ``admit``."""
        return parts.new_name(self._folder("parts"), check_digest(digest))

    def admit(self, path: Path, digest: Digest) -> BinaryIO:
        """Take the file ``path``, hashed by the caller, in as a blob; it is given open."""
        stream = path.open("rb")
        try:
            os.fchmod(stream.fileno(), os.fstat(stream.fileno()).st_mode & ~_WRITABLE)
            final = self._blob(digest)
            final.parent.mkdir(parents=True, exist_ok=True)
            path.replace(final)
            with self._lock:
                if self._total is not None:
                    self._total += os.fstat(stream.fileno()).st_size
            self._note_use(digest, content_stamp(os.fstat(stream.fileno())))
        except BaseException:
            stream.close()
            raise
        return stream

    def link(self, digest: str, stream: BinaryIO, target: Path) -> bool:
        """Make ``target`` a hard link to the blob that ``stream`` has open; False if it cannot be.

        The link keeps the bytes, whatever is evicted.
        """
        try:
            os.link(self._blob(digest), target)
        except OSError:  # gone, or a file system without links
            return False
        if target.stat().st_ino == os.fstat(stream.fileno()).st_ino:
            return True
        target.unlink()  # another process has put its own copy there, unseen by us
        return False

    def _blob(self, digest: str) -> Path:
        return self.root / "blobs" / check_digest(digest)[:2] / digest

    def _stamp_file(self, digest: str) -> Path:
        return self.root / "stamps" / check_digest(digest)[:2] / digest

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _stamp(self, digest: str) -> str:
        with suppress(OSError, ValueError):
            return self._stamp_file(digest).read_text(encoding="ascii")
        return ""

    def _note_use(self, digest: str, stamp: str) -> None:
        # A stamp that cannot be written costs time and nothing else.
        path = self._stamp_file(digest)
        with suppress(OSError):
            if self._stamp(digest) == stamp:
                os.utime(path)
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.parent / temporary_name()
            temporary.write_text(stamp, encoding="ascii")
            temporary.replace(path)


def _has_digest(stream: BinaryIO, digest: str) -> bool:
    hasher = hashlib.sha256()
    for chunk in read_chunks(stream):
        hasher.update(chunk)
    stream.seek(0)
    return hasher.hexdigest() == digest
