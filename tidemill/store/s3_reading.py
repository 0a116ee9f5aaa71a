"""Reads objects: in windows, several at a time, each gone on with from the byte where it was cut.

Bytes that turn out wrong are read again, because the network may lie. What is wrong in the same way
each time lies so in the store; what is wrong in another way each time is trouble on the way.
"""

import hashlib
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

from tidemill.digest import CHUNK_BYTES
from tidemill.store.contract import LARGEST_DOCUMENT_BYTES, too_large
from tidemill.store.s3_client import THREADS, Bucket, Head
from tidemill.store.s3_trouble import (
    TRANSPORT,
    AbsentError,
    ConditionError,
    RangeError,
    TransientError,
    Unsupported,
    judged,
)
from tidemill.store.threads import Pool

WINDOW_BYTES = 16 << 20
#: How often something larger than a window is read before its damage is believed.
LARGE_READS = 2
Piece = bytes | bytearray
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class Window(NamedTuple):
    """A piece of an object, and the object's head."""

    head: Head
    data: Piece


class Copied(NamedTuple):
    """How many bytes were copied, and whether they are what was written."""

    size: int
    sound: bool


class Reader:
    """Reads the objects of one bucket. Raises StoreError or AbsentError."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def read(self, key: str, *, doing: str) -> bytes:
        """A small object as it lies in the store, which may not be as it was written."""
        found = bytearray()

        def take(piece: Piece) -> None:
            found.extend(piece)
            if len(found) > LARGEST_DOCUMENT_BYTES:
                raise too_large(key, url=self._bucket.address.url)

        self.copy(key, doing=doing, take=take, restart=found.clear)
        return bytes(found)

    def copy(
        self,
        key: str,
        *,
        doing: str,
        take: Callable[[Piece], object],
        restart: Callable[[], object],
        sha256: str = "",
    ) -> Copied:
        """Give the bytes of an object to ``take``, in order.

        They are sound when they are those of ``sha256``, else of the digest that their writer gave.
        When they are not, ``restart`` is called and they come again.
        """
        came: list[tuple[str, int] | None] = []
        for _ in range(self._bucket.retry.attempts):
            restart()
            try:
                head, actual = self._pass(key, doing=doing, take=take)
            except ConditionError:
                came.append(None)  # it was replaced while it was read
                continue
            if actual == (sha256 or head.sha256 or actual):
                return Copied(head.size, sound=True)
            came.append((actual, head.size))
            if head.size > WINDOW_BYTES and len(came) >= LARGE_READS:
                break
        first, *others = came
        if first is not None and others and set(others) == {first}:
            return Copied(first[1], sound=False)
        raise self._bucket.gave_up(
            TransientError("its bytes come in another way each time"), doing=doing
        )

    def stream(self, key: str, *, doing: str, offset: int = 0) -> Iterator[Piece]:
        """The bytes of an object from ``offset`` on, in pieces, not compared with anything."""
        try:
            for _, data in self._windows(key, doing=doing, offset=offset):
                yield data
        except ConditionError as error:
            raise self._bucket.gave_up(error, doing=doing) from error

    def _pass(self, key: str, *, doing: str, take: Callable[[Piece], object]) -> tuple[Head, str]:
        hasher = hashlib.sha256()
        for window in self._windows(key, doing=doing):
            hasher.update(window.data)
            take(window.data)
        return window.head, hasher.hexdigest()

    def _windows(self, key: str, *, doing: str, offset: int = 0) -> Iterator[Window]:
        """At least one window. Raises ConditionError when the object changes in between."""
        first = _Filling(self._bucket, key, doing=doing, start=offset).fill()
        yield first
        starts = range(offset + WINDOW_BYTES, first.head.size, WINDOW_BYTES)
        if not starts:
            return
        pending: deque[Future[Window]] = deque()
        with Pool[Window](THREADS) as pool:
            for start in starts:
                filling = _Filling(self._bucket, key, doing=doing, start=start, head=first.head)
                pending.append(pool.submit(partial(filling.fill, stopped=pool.stopped)))
                if len(pending) == THREADS:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()


class _Filling:
    """Fills a window with as many answers as it takes.

    Without a ``head`` the first answer gives it; every later one must be of the same object.
    """

    def __init__(
        self, bucket: Bucket, key: str, *, doing: str, start: int, head: Head | None = None
    ) -> None:
        self._bucket, self._key, self._doing, self._start = bucket, key, doing, start
        self._head = head
        self._data = bytearray()
        self._stopped: threading.Event | None = None

    def fill(self, *, stopped: threading.Event | None = None) -> Window:
        """The window. Raises ConditionError when the object is no longer the same.

        Ends with a StoreError soon after ``stopped`` is set: then nobody wants it.
        """
        self._stopped = stopped
        return self._bucket.persevere(self._go_on, doing=self._doing, stopped=stopped)

    def _go_on(self) -> Window:
        have, last = self._start + len(self._data), self._start + WINDOW_BYTES - 1
        same = {"IfMatch": self._head.etag} if self._head else {}
        try:
            answer = self._bucket.attempt(
                "get_object",
                doing=self._doing,
                needs="ETag",
                Key=self._key,
                Range=f"bytes={have}-{last}",
                **same,
            )
        except RangeError as error:
            return Window(self._ended(error), b"")
        with closing(answer["Body"]) as body:
            begin, end, total = self._extent(answer)
            head = self._head = self._head or Head.of(answer, size=total)
            if (begin, end, total) != (have, min(last + 1, total), head.size):
                raise TransientError(f"the answer has bytes {begin}-{end}/{total}, not from {have}")
            self._take(body)
        if len(self._data) != end - self._start:
            self._data.clear()
            raise TransientError(f"the answer has another length than it says, {end - begin}")
        return Window(head, self._data)

    def _ended(self, error: RangeError) -> Head:
        # No range fits an object without bytes, or one that was read to its end before.
        head = self._bucket.head_once(self._key, doing=self._doing)
        if head is None:
            raise AbsentError from error
        if head.size > self._start:
            raise TransientError(str(error)) from error
        return head

    def _extent(self, answer: Any) -> tuple[int, int, int]:
        """Where the bytes of an answer begin and end, and the size of the object."""
        if found := _RANGE.fullmatch(answer.get("ContentRange", "")):
            return int(found[1]), int(found[2]) + 1, int(found[3])
        size = int(answer.get("ContentLength", WINDOW_BYTES + 1))
        if size <= WINDOW_BYTES:  # the whole of it
            return 0, size, size
        raise Unsupported(
            f"{self._bucket.address.url}: cannot {self._doing}: the server ignores Range",
            hint="use a server that gives parts of objects",
        )

    def _take(self, body: Any) -> None:
        try:
            for piece in iter(partial(body.read, CHUNK_BYTES), b""):
                self._bucket.check(self._stopped, doing=self._doing)
                self._data += piece
        except TRANSPORT as error:
            raise judged(error, doing=self._doing, where=self._bucket.address.url) from error
