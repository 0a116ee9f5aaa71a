"""The store behind a plain web server: what every store promises of reading, and bad servers."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.test_store_contract import (
    BIG,
    RECORD,
    put,
    test_a_blob_has_a_sha256_for_a_name,
    test_a_folder_is_no_object,
    test_a_name_that_could_leave_the_store_is_refused,
    test_a_small_blob_is_put_from_memory_twice_without_harm,
    test_a_stamp_stays_while_bytes_stay_and_changes_with_them,
    test_absent_documents_are_absent_and_removing_them_is_fine,
    test_an_absent_blob_is_said_to_be_missing,
    test_bytes_come_back_as_they_were_put,
    test_replace_and_remove_change_a_document,
)
from tests.web_server import Answer, Cut, Lie, Web, running_web
from tidemill.digest import Digest, digest_bytes
from tidemill.errors import BlobDamaged, StoreError
from tidemill.store import Entry, Store, open_store
from tidemill.store.contract import Unlistable
from tidemill.store.https import HttpsStore
from tidemill.store.layout import blob_name
from tidemill.store.stream import StreamingStore

__all__ = [
    "test_a_blob_has_a_sha256_for_a_name",
    "test_a_folder_is_no_object",
    "test_a_name_that_could_leave_the_store_is_refused",
    "test_a_small_blob_is_put_from_memory_twice_without_harm",
    "test_a_stamp_stays_while_bytes_stay_and_changes_with_them",
    "test_absent_documents_are_absent_and_removing_them_is_fine",
    "test_an_absent_blob_is_said_to_be_missing",
    "test_bytes_come_back_as_they_were_put",
    "test_replace_and_remove_change_a_document",
]

DIGEST = digest_bytes(BIG)
BLOB = blob_name(DIGEST)


class Published(HttpsStore):
    """Reads over HTTP; writes and lists in the folder that the server gives."""

    def __init__(self, url: str, folder: Store) -> None:
        super().__init__(url)
        self._behind = folder

    def put_blob(self, source: Path, *, digest: Digest) -> bool:
        return self._behind.put_blob(source, digest=digest)

    def put_bytes(self, data: bytes) -> Digest:
        return self._behind.put_bytes(data)

    def create(self, name: str, data: bytes) -> bool:
        return self._behind.create(name, data)

    def replace(self, name: str, data: bytes) -> None:
        self._behind.replace(name, data)

    def remove(self, name: str) -> None:
        self._behind.remove(name)

    def discard_blob(self, digest: Digest) -> None:
        self._behind.discard_blob(digest)

    def list(self, prefix: str) -> Iterator[Entry]:
        return self._behind.list(prefix)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with running_web(tmp_path / "store") as server:
        yield server


@pytest.fixture
def store(web: Web) -> Store:
    return Published(web.url, open_store(str(web.root)))


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def reader(web: Web, pauses: list[float], tmp_path: Path) -> HttpsStore:
    """Reads a store that has BIG, and waits for nothing."""
    put(open_store(str(web.root)), BIG, folder=tmp_path)
    return HttpsStore(web.url, pause=pauses.append)


def fetched(reader: HttpsStore, folder: Path) -> bytes:
    reader.fetch_blob(DIGEST, folder / "target")
    return (folder / "target").read_bytes()


def test_a_cut_body_is_gone_on_with_from_the_byte_where_it_was_cut(
    web: Web, reader: HttpsStore, pauses: list[float], tmp_path: Path
) -> None:
    web.script(BLOB, Cut(after=1_500_000), Cut(after=10), Cut(after=0))
    assert fetched(reader, tmp_path) == BIG
    starts = [0, 1_500_000, 1_500_010, 1_500_010]
    assert web.asked == [("GET", BLOB, start) for start in starts]
    assert len(pauses) == 3


def test_a_server_without_ranges_sends_all_again_and_the_bytes_are_right(
    web: Web, reader: HttpsStore, tmp_path: Path
) -> None:
    web.ranges = False
    web.script(BLOB, Cut(after=2_000_001), Cut(after=5))
    assert fetched(reader, tmp_path) == BIG
    assert b"".join(reader.stream_blob(DIGEST, offset=1_234_567)) == BIG[1_234_567:]


def test_the_rest_of_a_blob_is_asked_for_by_range(web: Web, reader: HttpsStore) -> None:
    assert isinstance(reader, StreamingStore)
    assert b"".join(reader.stream_blob(DIGEST, offset=len(BIG) - 3)) == BIG[-3:]
    assert list(reader.stream_blob(DIGEST, offset=len(BIG))) == []
    assert web.asked == [("GET", BLOB, len(BIG) - 3), ("GET", BLOB, len(BIG))]


def test_a_range_that_was_not_asked_for_is_not_taken(web: Web, reader: HttpsStore) -> None:
    wrong = {"Content-Range": f"bytes 0-4/{len(BIG)}"}
    web.script(BLOB, Answer(status=206, headers=wrong, body=BIG[:5]))
    assert b"".join(reader.stream_blob(DIGEST, offset=7)) == BIG[7:]


def test_a_server_that_lies_is_found_out_and_leaves_nothing(
    web: Web, reader: HttpsStore, tmp_path: Path
) -> None:
    web.script(BLOB, Lie(), forever=True)
    before = sorted(tmp_path.iterdir())
    attempts: list[Callable[[], object]] = [
        lambda: reader.fetch_blob(DIGEST, tmp_path / "target"),
        lambda: reader.check_blob(DIGEST),
        lambda: reader.read_blob(DIGEST),
    ]
    for attempt in attempts:
        with pytest.raises(BlobDamaged) as caught:
            attempt()
        assert caught.value.message == (
            f"blob {DIGEST[:12]}… in {web.url} is damaged: its bytes have another sha256"
        )
    assert sorted(tmp_path.iterdir()) == before


def test_a_busy_server_is_asked_again_when_it_says(
    web: Web, reader: HttpsStore, pauses: list[float]
) -> None:
    web.script(
        RECORD,
        Answer(status=503, headers={"Retry-After": "7"}),
        Answer(status=429),
        Answer(status=500, body=b"x" * 100_000),
    )
    assert reader.read(RECORD) is None
    assert pauses[0] == 7
    assert all(0.25 <= pause <= 1 for pause in pauses[1:])
    assert len(web.asked) == 4


def test_a_server_that_stays_busy_is_given_up_and_never_absent(
    web: Web, reader: HttpsStore, pauses: list[float]
) -> None:
    for name in (RECORD, BLOB):
        web.script(name, Answer(status=503), forever=True)
    attempts: list[tuple[Callable[[], object], str]] = [
        (lambda: reader.read(RECORD), f"read {RECORD}"),
        (lambda: reader.stat(RECORD), f"look up {RECORD}"),
        (lambda: reader.check_blob(DIGEST), f"read blob {DIGEST[:12]}…"),
    ]
    for attempt, doing in attempts:
        with pytest.raises(StoreError) as caught:
            attempt()
        assert caught.value.message == (
            f"{web.url}: cannot {doing}: gave up after 6 attempts:"
            " the server says 503 Service Unavailable"
        )
    assert len(pauses) == 15


def test_a_body_that_is_always_cut_at_once_is_given_up(
    web: Web, reader: HttpsStore, tmp_path: Path
) -> None:
    web.script(BLOB, Cut(after=0), forever=True)
    with pytest.raises(StoreError) as caught:
        fetched(reader, tmp_path)
    assert caught.value.message.endswith(
        f"gave up after 6 attempts: the answer was cut after 0 of {len(BIG)} bytes"
    )
    assert not (tmp_path / "target").exists()


def test_a_document_that_is_cut_is_read_again(web: Web, reader: HttpsStore) -> None:
    open_store(str(web.root)).replace(RECORD, b"a document")
    web.script(RECORD, Cut(after=3))
    assert reader.read(RECORD) == b"a document"
    assert [one.headers["Cache-Control"] for one in web.seen] == ["no-cache"] * 2


def test_what_a_cache_on_the_way_has_kept_is_asked_for_again(web: Web, reader: HttpsStore) -> None:
    assert reader.stat(RECORD) is None
    open_store(str(web.root)).replace(RECORD, b"a document")
    assert reader.stat(RECORD) is not None
    assert reader.read(RECORD) == b"a document"
    assert [one.headers.get("Cache-Control") for one in web.seen] == ["no-cache"] * 3


@pytest.mark.parametrize(
    ("status", "message", "hint"),
    [
        (
            403,
            "the server refuses to give {name} (403)",
            "either it is not public, or it is not there: a public bucket that may not be listed"
            " says 403 for both",
        ),
        (
            401,
            "the server asks who wants {name} (401)",
            "only public stores are read over https; use s3:// with credentials",
        ),
        (
            418,
            "the server answers 418 I'm a Teapot for {name}",
            "see whether the URL is that of a store",
        ),
    ],
)
def test_a_refusal_is_never_absent(
    web: Web, reader: HttpsStore, status: int, message: str, hint: str
) -> None:
    web.script(RECORD, Answer(status=status), forever=True)
    for attempt in (reader.read, reader.stat):
        with pytest.raises(StoreError) as caught:
            attempt(RECORD)
        assert caught.value.message == f"{web.url}: {message.format(name=RECORD)}"
        assert caught.value.hint == hint


def test_what_is_gone_is_absent(web: Web, reader: HttpsStore) -> None:
    web.script(RECORD, Answer(status=410), forever=True)
    assert (reader.read(RECORD), reader.stat(RECORD)) == (None, None)


def test_packed_bytes_are_refused(web: Web, reader: HttpsStore) -> None:
    web.script(BLOB, Answer(status=200, headers={"Content-Encoding": "gzip"}, body=b"x"))
    with pytest.raises(StoreError) as caught:
        reader.check_blob(DIGEST)
    assert caught.value.message == (
        f"{web.url}: the server sends {BLOB} packed, although it was asked not to"
    )
    assert web.seen[0].headers["Accept-Encoding"] == "identity"


def test_nothing_is_written_or_listed(web: Web, reader: HttpsStore, tmp_path: Path) -> None:
    attempts: list[tuple[Callable[[], object], str]] = [
        (lambda: reader.put_blob(tmp_path / "source", digest=DIGEST), f"store blob {DIGEST[:12]}…"),
        (lambda: reader.put_bytes(b"data"), "store a blob of 4 bytes"),
        (lambda: reader.create(RECORD, b""), f"write {RECORD}"),
        (lambda: reader.replace(RECORD, b""), f"write {RECORD}"),
        (lambda: reader.remove(RECORD), f"remove {RECORD}"),
        (lambda: reader.discard_blob(DIGEST), f"set aside blob {DIGEST[:12]}…"),
    ]
    for attempt, doing in attempts:
        with pytest.raises(StoreError) as caught:
            attempt()
        assert caught.value.message == f"{web.url} is read-only here: cannot {doing}"
    with pytest.raises(Unlistable) as unlistable:
        reader.list("channels/")
    assert unlistable.value.message == f"{web.url} cannot be listed: cannot list channels"
    assert web.asked == []
