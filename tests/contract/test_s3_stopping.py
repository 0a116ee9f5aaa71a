"""A reader of a large object that wants no more of it: its threads end with the next piece."""

import threading
from collections.abc import Generator
from typing import Any

from tests.wire import Wire, paced
from tidemill.store import open_store
from tidemill.store.s3 import S3Store
from tidemill.store.s3_reading import WINDOW_BYTES

SIZE = 2 * WINDOW_BYTES + WINDOW_BYTES // 2


def test_a_window_that_nobody_wants_any_more_is_not_read_to_its_end(s3_url: str) -> None:
    store = open_store(s3_url)
    assert isinstance(store, S3Store)
    digest = store.put_bytes(bytes(SIZE))
    reading, closed, readers = threading.Event(), threading.Event(), list[threading.Thread]()

    def gate() -> None:
        readers.append(threading.current_thread())
        reading.set()
        closed.wait()

    def last(request: Any) -> Any:
        is_last = f"bytes={2 * WINDOW_BYTES}-" in str(request.headers["Range"])
        return paced(gate)(request) if is_last else None

    wire = Wire(store)
    wire.faults["GetObject"] = [last] * 3
    stream = store.stream_blob(digest)
    assert isinstance(stream, Generator)
    came = 0
    while came <= WINDOW_BYTES:  # into the second window, when the last is read ahead
        came += len(next(stream))
    reading.wait()
    stream.close()
    closed.set()
    readers[0].join()
    assert len(readers) == 1, "a second piece was read"


def test_bytes_come_before_their_window_is_full(s3_url: str) -> None:
    store = open_store(s3_url)
    assert isinstance(store, S3Store)
    digest = store.put_bytes(bytes(WINDOW_BYTES))
    wire = Wire(store)
    reads = list[int]()
    wire.faults["GetObject"] = [paced(lambda: reads.append(1))]
    stream = store.stream_blob(digest)
    assert next(stream)
    assert len(reads) == 1
    assert sum(map(len, stream)) < WINDOW_BYTES
    assert len(reads) > 1
