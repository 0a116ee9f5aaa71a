"""Sends a large file in parts, several at a time, and goes on where a killed writer stopped.

The bytes are hashed as they are read for sending, and the object appears only when they are right.
A part that the server has already is not sent again if it is the same bytes. Whatever ends a call
early leaves the upload, which nobody sees under a name, for the next call; only wrong bytes abort
it. Two writers of one blob at the same time have an upload each.
"""

import contextlib
import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

from tidemill.digest import Digest
from tidemill.errors import StoreError
from tidemill.store.s3_client import THREADS, Bucket
from tidemill.store.s3_trouble import AbsentError, TransientError
from tidemill.store.s3_uploads import Uploads

PART_BYTES = 8 << 20
_MOST_PARTS = 10_000
_RESTARTS = 4


class WrongFile(Exception):  # noqa: N818 - it says what is so; who catches it knows the words
    """The file's bytes are not those of the digest; ``actual`` is their sha256."""

    def __init__(self, actual: str) -> None:
        super().__init__(actual)
        self.actual = actual


def part_size(size: int) -> int:
    """The bytes in each part of a file of ``size`` bytes, but the last: whole mebibytes."""
    least = -(-size // _MOST_PARTS)
    return max(PART_BYTES, -(-least >> 20) << 20)


def put_large(
    bucket: Bucket, key: str, stream: BinaryIO, *, size: int, digest: Digest, doing: str
) -> bool:
    """Write ``stream`` (``size`` bytes) to ``key``. False when another writer was first.

    Raises WrongFile, which leaves nothing behind, and StoreError.
    """
    for _ in range(_RESTARTS):
        stream.seek(0)
        upload = _Upload(bucket, key, size=size, digest=digest, doing=doing)
        try:
            return upload.send(stream)
        except AbsentError:
            # Another writer has completed or aborted it, or one of its parts is another's.
            if upload.is_there():
                return False
    raise StoreError(
        f"{bucket.address.url}: cannot {doing}: its upload was ended by others {_RESTARTS} times",
        hint="see who else writes there, then run the same command again",
    )


class _Upload:
    """One multipart upload of one blob: one that is there already, or a new one."""

    def __init__(self, bucket: Bucket, key: str, *, size: int, digest: Digest, doing: str) -> None:
        self._bucket, self._key, self._doing = bucket, key, doing
        self._size, self._digest, self._part_size = size, digest, part_size(size)
        self._uploads = Uploads(bucket, key, doing=doing)
        self._id, self._held = self._choose()
        self._stopped = threading.Event()

    def is_there(self) -> bool:
        """Whether the blob is there, whole."""
        head = self._bucket.head(self._key, doing=self._doing)
        return head is not None and head.size == self._size

    def send(self, stream: BinaryIO) -> bool:
        """Send what is missing, and complete. Raises AbsentError when the upload is no more."""
        try:
            wrote = self._send(stream)
        except AbsentError:
            self._uploads.release(self._id, done=True)
            raise
        except BaseException:
            self._uploads.release(self._id, done=False)
            raise
        self._uploads.release(self._id, done=True)
        self._sweep()
        return wrote

    def _send(self, stream: BinaryIO) -> bool:
        hasher = hashlib.sha256()
        parts = list(self._parts(stream, hasher.update))
        if hasher.hexdigest() != self._digest:
            self._uploads.abort(self._id)
            raise WrongFile(hasher.hexdigest())
        return self._complete(parts)

    def _parts(self, stream: BinaryIO, take: Callable[[bytes], None]) -> Iterator[dict[str, Any]]:
        """Send the parts, several at a time; give what completing needs to know of each."""
        pending: deque[Future[dict[str, Any]]] = deque()
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="tidemill-s3")
        try:
            number = 0
            while data := stream.read(self._part_size):
                number += 1
                take(data)
                pending.append(pool.submit(self._part, number, data))
                if len(pending) > THREADS:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            self._stopped.set()
            pool.shutdown(cancel_futures=True)

    def _part(self, number: int, data: bytes) -> dict[str, Any]:
        sums = self._bucket.sums(data)
        held = self._held_part(number, data, sums=sums) or self._bucket.persevere(
            lambda: self._send_part(number, data, sums=sums),
            doing=self._doing,
            stopped=self._stopped,
        )
        kept = {name: held[name] for name in ("ETag", "ChecksumSHA256") if held.get(name)}
        return {"PartNumber": number, **kept}

    def _held_part(self, number: int, data: bytes, *, sums: dict[str, str]) -> Any:
        # A part that was sent twice is listed twice by some servers.
        same = (
            part for part in self._held if part["PartNumber"] == number and _same(part, data, sums)
        )
        return next(same, None)

    def _send_part(self, number: int, data: bytes, *, sums: dict[str, str]) -> Any:
        return self._bucket.attempt(
            "upload_part",
            doing=self._doing,
            needs="ETag",
            Key=self._key,
            UploadId=self._id,
            PartNumber=number,
            Body=data,
            **sums,
        )

    def _complete(self, parts: list[dict[str, Any]]) -> bool:
        unclear = False

        def attempt() -> bool:
            nonlocal unclear
            try:
                self._bucket.attempt(
                    "complete_multipart_upload",
                    doing=self._doing,
                    needs="ETag",
                    Key=self._key,
                    UploadId=self._id,
                    MultipartUpload={"Parts": parts},
                )
            except TransientError:
                unclear = True
                raise
            except AbsentError:
                if unclear and self.is_there():
                    return True  # an attempt whose answer was lost has done it
                raise
            return True

        done = self._bucket.persevere(attempt, doing=self._doing)
        if not self.is_there():
            raise StoreError(
                f"{self._bucket.address.url}: cannot {self._doing}: the server says that it is "
                f"complete, and has not all of its {self._size} bytes",
                hint="tell those who run the server; nothing refers to that blob yet",
            )
        return done

    def _choose(self) -> tuple[str, list[Any]]:
        """The upload to go on with, and the parts that it has: that which has most of them."""
        algorithm = "SHA256" if self._bucket.address.checksums == "supported" else ""
        # Some servers name an algorithm of their own where none was asked for.
        fitting = [
            one
            for one in self._uploads.abandoned()
            if (one.algorithm == "SHA256") == bool(algorithm) and self._fits(one.parts)
        ]
        if not fitting:
            return self._uploads.begin(algorithm=algorithm, sha256=self._digest), []
        chosen = max(fitting, key=lambda one: len(one.parts))
        self._uploads.take(chosen.upload)
        return chosen.upload, chosen.parts

    def _fits(self, parts: list[Any]) -> bool:
        """Whether an upload was cut into parts as this one would be."""
        last = -(-self._size // self._part_size)
        rest = self._size - (last - 1) * self._part_size
        return all(
            part["PartNumber"] <= last
            and part["Size"] == (rest if part["PartNumber"] == last else self._part_size)
            for part in parts
        )

    def _sweep(self) -> None:
        """Abort what is left of writers that are gone."""
        with contextlib.suppress(StoreError):
            for other in self._uploads.abandoned():
                self._uploads.abort(other.upload)


def _same(part: Any, data: bytes, sums: dict[str, str]) -> bool:
    """Whether a part that the server lists has these bytes."""
    if "ChecksumSHA256" in sums and "ChecksumSHA256" in part:
        return bool(part["ChecksumSHA256"] == sums["ChecksumSHA256"])
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return bool(part["ETag"].strip('"') == md5)
