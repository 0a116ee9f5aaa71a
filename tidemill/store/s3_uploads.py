"""Which uploads of a blob somebody has begun, and which of them nobody works on any more.

Two writers must not work on one upload, and nobody may abort what another is about to complete: not
every server gets these races right. So each upload has a mark below ``tmp/`` with the process that
works on it, named as temporary files are. One of this host and kernel can be asked for; any other,
or one without a mark, is left to itself until it was idle for IDLE_SECONDS.
"""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from tidemill.digest import digest_bytes
from tidemill.errors import StoreError
from tidemill.store.s3_client import Bucket, new_writer
from tidemill.store.s3_reading import Reader
from tidemill.store.s3_trouble import AbsentError, Unsupported
from tidemill.store.scratch import is_running, temporary_name, writer_of

IDLE_SECONDS = 900.0

#: The uploads that this very process works on.
_MINE: set[str] = set()


class Begun(NamedTuple):
    """An upload that nobody works on, and the parts that the server has of it."""

    upload: str
    algorithm: str
    parts: list[Any]


class Uploads:
    """The uploads of one key. Raises StoreError."""

    def __init__(self, bucket: Bucket, key: str, *, doing: str) -> None:
        self._bucket, self._key, self._doing = bucket, key, doing

    def abandoned(self) -> Iterator[Begun]:
        """Those that nobody works on."""
        markers = {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"}
        # Some servers say that there is no such upload when there is none, some know none.
        with contextlib.suppress(AbsentError, Unsupported):
            for answer in self._bucket.pages(
                "list_multipart_uploads",
                doing=self._doing,
                needs="Bucket",
                markers=markers,
                Prefix=self._key,
            ):
                for one in answer.get("Uploads", ()):
                    if one["Key"] == self._key and (found := self._look(one, now=_now(answer))):
                        yield found

    def begin(self, *, algorithm: str, sha256: str) -> str:
        """Begin one; ``algorithm`` "" is none. It must be released in the end."""
        answer = self._bucket.ask(
            "create_multipart_upload",
            doing=self._doing,
            needs="UploadId",
            Key=self._key,
            Metadata={"sha256": sha256, "writer": new_writer()},
            **({"ChecksumAlgorithm": algorithm} if algorithm else {}),
        )
        upload = str(answer["UploadId"])
        self.take(upload)
        return upload

    def take(self, upload: str) -> None:
        """Work on it from now on."""
        mark, text = self._mark(upload), temporary_name().encode()
        self._bucket.persevere(
            lambda: self._bucket.put(mark, text, doing=self._doing, writer=new_writer()),
            doing=self._doing,
        )
        _MINE.add(upload)

    def release(self, upload: str, *, done: bool) -> None:
        """No longer work on it; ``done``: it is completed or aborted, and nobody ever will."""
        _MINE.discard(upload)
        if done:
            with contextlib.suppress(StoreError):
                self._bucket.delete(self._mark(upload), doing=self._doing)

    def abort(self, upload: str) -> None:
        """Forget it. What cannot be removed now is in nobody's way: the bucket's rules do it."""
        with contextlib.suppress(AbsentError, StoreError):
            self._bucket.ask(
                "abort_multipart_upload", doing=self._doing, Key=self._key, UploadId=upload
            )
        self.release(upload, done=True)

    def _look(self, one: Any, *, now: datetime) -> Begun | None:
        upload = str(one["UploadId"])
        free = self._is_free(upload)
        if free is False:
            return None
        try:
            parts = self._parts(upload)
        except AbsentError:
            return None
        latest = max([one["Initiated"], *(part.get("LastModified", now) for part in parts)])
        if free is None and (now - latest).total_seconds() <= IDLE_SECONDS:
            return None
        return Begun(upload, str(one.get("ChecksumAlgorithm", "")), parts)

    def _is_free(self, upload: str) -> bool | None:
        """Whether nobody works on it; None when that cannot be known here."""
        try:
            text = Reader(self._bucket).read(self._mark(upload), doing=self._doing)
        except AbsentError:
            return None
        name = text.decode("utf-8", errors="replace")
        if writer_of(name) == writer_of(temporary_name()):
            return upload not in _MINE
        running = is_running(name)
        return None if running is None else not running

    def _parts(self, upload: str) -> list[Any]:
        listed = self._bucket.pages(
            "list_parts",
            doing=self._doing,
            needs="Bucket",
            markers={"PartNumberMarker": "NextPartNumberMarker"},
            Key=self._key,
            UploadId=upload,
        )
        return [part for answer in listed for part in answer.get("Parts", ())]

    def _mark(self, upload: str) -> str:
        return f"{self._bucket.address.root}tmp/upload-{digest_bytes(upload.encode())[:32]}"


def _now(answer: Any) -> datetime:
    """The server's clock, which it is that has dated the parts."""
    said = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date", "")
    try:
        return parsedate_to_datetime(said).astimezone(UTC)
    except ValueError:
        return datetime.now(UTC)
