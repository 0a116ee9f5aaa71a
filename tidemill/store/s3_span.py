"""Reads a span of an object's bytes, gone on with from the byte where an answer was cut."""

import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from tidemill.store.s3_client import Bucket, Head
from tidemill.store.s3_trouble import (
    TRANSPORT,
    AbsentError,
    ConditionError,
    RangeError,
    TransientError,
    Unsupported,
    judged,
)

#: Small enough to be in the processor's cache still when it is hashed and written.
PIECE_BYTES = 256 << 10
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class Span:
    """``length`` bytes of an object from ``start`` on, or fewer where it ends before.

    Without a ``head`` the first answer gives it; every later one must be of the same object.
    """

    def __init__(
        self,
        bucket: Bucket,
        key: str,
        *,
        doing: str,
        start: int,
        length: int,
        head: Head | None = None,
    ) -> None:
        self._bucket, self._key, self._doing = bucket, key, doing
        self._at, self._stop = start, start + length
        self._head = head
        self._body: Any = None
        self._stopped: threading.Event | None = None

    @property
    def head(self) -> Head:
        """The head of the object, once ``pieces`` has begun."""
        assert self._head is not None  # noqa: S101 - the first answer has given it
        return self._head

    def whole(self, stopped: threading.Event) -> bytearray:
        """All of it. Raises as ``pieces``, and a StoreError soon after ``stopped`` is set."""
        self._stopped = stopped
        data = bytearray()
        for piece in self.pieces():
            data += piece
        return data

    def pieces(self) -> Iterator[bytes]:
        """The bytes as they come; one piece without any when there are none.

        Raises StoreError, AbsentError, and ConditionError when the object is no longer the same.
        """
        try:
            while True:
                yield self._next()
                if self._at >= self._stop:
                    return
        finally:
            self._close()

    def _next(self) -> bytes:
        if self._body is not None:
            with suppress(TransientError):  # cut: a new answer goes on from there
                return self._read()
        return self._bucket.persevere(self._begin, doing=self._doing, stopped=self._stopped)

    def _begin(self) -> bytes:
        """The first piece of a new answer, so that an attempt without any bytes is a failed one."""
        self._ask()
        return self._read() if self._at < self._stop else b""

    def _ask(self) -> None:
        same = {"IfMatch": self._head.etag} if self._head else {}
        try:
            answer = self._bucket.attempt(
                "get_object",
                doing=self._doing,
                needs="ETag",
                Key=self._key,
                Range=f"bytes={self._at}-{self._stop - 1}",
                **same,
            )
        except RangeError as error:
            self._head = self._ended(error)
            self._stop = self._at
            return
        self._body = answer["Body"]
        try:
            self._expect(answer)
        except BaseException:
            self._close()
            raise

    def _expect(self, answer: Any) -> None:
        """Raise TransientError unless an answer has the bytes that were asked for."""
        begin, end, total = self._extent(answer)
        head = self._head or Head.of(answer, size=total)
        if (begin, end, total) != (self._at, min(self._stop, total), head.size):
            raise TransientError(f"the answer has bytes {begin}-{end}/{total}, not from {self._at}")
        self._head, self._stop = head, end

    def _ended(self, error: RangeError) -> Head:
        # No range fits an object without bytes, or one that was read to its end before.
        head = self._bucket.head_once(self._key, doing=self._doing)
        if head is None:
            raise AbsentError from error
        if self._head and head.etag != self._head.etag:
            raise ConditionError(str(error)) from error
        if head.size > self._at:
            raise TransientError(str(error)) from error
        return head

    def _extent(self, answer: Any) -> tuple[int, int, int]:
        """Where the bytes of an answer begin and end, and the size of the object."""
        if found := _RANGE.fullmatch(answer.get("ContentRange", "")):
            return int(found[1]), int(found[2]) + 1, int(found[3])
        length = self._stop - self._at
        size = int(answer.get("ContentLength", length + 1))
        if size <= length:  # the whole of it
            return 0, size, size
        raise Unsupported(
            f"{self._bucket.address.url}: cannot {self._doing}: the server ignores Range",
            hint="use a server that gives parts of objects",
        )

    def _read(self) -> bytes:
        self._bucket.check(self._stopped, doing=self._doing)
        try:
            piece: bytes = self._body.read(PIECE_BYTES)
        except TRANSPORT as error:
            self._close()
            raise judged(error, doing=self._doing, where=self._bucket.address.url) from error
        if not 0 < len(piece) <= self._stop - self._at:
            self._close()
            raise TransientError("the answer has another length than it says")
        self._at += len(piece)
        return piece

    def _close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
