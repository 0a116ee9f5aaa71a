"""Reads objects as they come, and large ones ahead where there are connections to spare for it.

Bytes that turn out wrong are read again, because the network may lie. What is wrong in the same way
each time lies so in the store; what is wrong in another way each time is trouble on the way.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

from tidemill.store.contract import LARGEST_DOCUMENT_BYTES, too_large
from tidemill.store.s3_client import THREADS, Bucket, Head
from tidemill.store.s3_span import Span
from tidemill.store.s3_trouble import ConditionError, TransientError
from tidemill.store.threads import Held, Pool, Spare

WINDOW_BYTES = 16 << 20
#: How often something larger than a window is read before its damage is believed.
LARGE_READS = 2
Piece = bytes | bytearray


class Copied(NamedTuple):
    """How many bytes were copied, and whether they are what was written."""

    size: int
    sound: bool


class Reader:
    """Reads the objects of one bucket. Raises StoreError or AbsentError."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._spare = Spare(THREADS)

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
            yield from (piece for _, piece in self._pieces(key, doing=doing, offset=offset))
        except ConditionError as error:
            raise self._bucket.gave_up(error, doing=doing) from error

    def _pass(self, key: str, *, doing: str, take: Callable[[Piece], object]) -> tuple[Head, str]:
        hasher = hashlib.sha256()
        for came, piece in self._pieces(key, doing=doing):
            hasher.update(piece)
            take(piece)
            head = came
        return head, hasher.hexdigest()

    def _pieces(self, key: str, *, doing: str, offset: int = 0) -> Iterator[tuple[Head, Piece]]:
        """At least one piece. Raises ConditionError when the object changes in between."""
        span = partial(Span, self._bucket, key, doing=doing, length=WINDOW_BYTES)
        with self._spare.held() as held:
            first = span(start=offset)
            for piece in first.pieces():
                yield first.head, piece
            head = first.head
            starts = range(offset + WINDOW_BYTES, head.size, WINDOW_BYTES)
            spans = deque(span(start=start, head=head) for start in starts)
            for following in self._in_order(spans, held=held):
                yield head, following

    def _in_order(self, spans: deque[Span], *, held: Held) -> Iterator[Piece]:
        """The bytes of ``spans``; of some ahead, while connections are to spare for them."""
        if not spans:
            return
        ahead: deque[Future[bytearray]] = deque()
        with Pool[bytearray](THREADS) as pool:
            while spans or ahead:
                current = ahead.popleft() if ahead else spans.popleft()
                while spans and len(ahead) < THREADS and held.more():
                    ahead.append(pool.submit(partial(spans.popleft().whole, pool.stopped)))
                if isinstance(current, Span):
                    yield from current.pieces()
                else:
                    yield current.result()
                    held.less()
