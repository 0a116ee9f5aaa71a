"""What every store promises (tidemill/store/contract.py), asked of each implementation."""

from pathlib import Path

import pytest

from tests.servers import CREATING
from tidemill.digest import EMPTY_DIGEST, Digest, digest_bytes
from tidemill.errors import BlobDamaged, StoreError
from tidemill.store import BlobMissing, Store
from tidemill.store.layout import blob_name

BIG = bytes(range(256)) * 12_345  # several chunks, and no whole number of them
LARGE = BIG * 6  # more than a store in S3 sends at once
ABSENT = digest_bytes(b"nobody stored this")
RECORD = f"actions/compile/{'a' * 64}.json"
creating = pytest.mark.parametrize("store", CREATING, indirect=True)


def put(store: Store, data: bytes, *, folder: Path) -> Digest:
    source = folder / "source"
    source.write_bytes(data)
    digest = digest_bytes(data)
    store.put_blob(source, digest=digest)
    return digest


def names(store: Store, prefix: str = "") -> list[str]:
    return sorted(entry.name for entry in store.list(prefix))


@pytest.mark.parametrize("data", [b"", b"x", BIG, LARGE], ids=["empty", "tiny", "big", "large"])
def test_bytes_come_back_as_they_were_put(store: Store, tmp_path: Path, data: bytes) -> None:
    digest = put(store, data, folder=tmp_path)
    assert store.read_blob(digest) == data
    assert store.check_blob(digest) == len(data)
    assert store.fetch_blob(digest, tmp_path / "target") == len(data)
    assert (tmp_path / "target").read_bytes() == data


def test_a_small_blob_is_put_from_memory_twice_without_harm(store: Store) -> None:
    assert store.put_bytes(b"") == EMPTY_DIGEST
    assert [store.put_bytes(b"small") for _ in range(2)] == [digest_bytes(b"small")] * 2
    assert names(store) == sorted(map(blob_name, [EMPTY_DIGEST, digest_bytes(b"small")]))


def test_refused_bytes_leave_nothing_behind(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"wrong")
    right = digest_bytes(b"right")
    with pytest.raises(BlobDamaged) as caught:
        store.put_blob(source, digest=right)
    wrong = digest_bytes(b"wrong")
    assert caught.value.message == (
        f"{source} is not blob {right[:12]}…: its sha256 is {wrong[:12]}…"
    )
    assert names(store) == []
    assert store.stat(blob_name(right)) is None


def test_put_says_whether_it_wrote(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(BIG)
    said = [store.put_blob(source, digest=digest_bytes(BIG)) for _ in range(2)]
    assert said == [True, False]


def test_a_source_that_is_not_there_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        store.put_blob(tmp_path / "gone", digest=ABSENT)
    assert caught.value.message == (
        f"{tmp_path / 'gone'}: cannot read it: no such file or directory"
    )


def test_an_absent_blob_is_said_to_be_missing(store: Store, tmp_path: Path) -> None:
    message = f"blob {ABSENT[:12]}… is missing in {store.url}"
    for ask in (store.read_blob, store.check_blob):
        with pytest.raises(BlobMissing) as caught:
            ask(ABSENT)
        assert caught.value.message == message
    with pytest.raises(BlobMissing) as caught:
        store.fetch_blob(ABSENT, tmp_path / "target")
    assert caught.value.message == message
    assert list(tmp_path.glob("target*")) == []


def test_absent_documents_are_absent_and_removing_them_is_fine(store: Store) -> None:
    assert (store.read(RECORD), store.stat(RECORD)) == (None, None)
    store.remove(RECORD)
    store.discard_blob(ABSENT)
    assert names(store) == []


def test_a_folder_is_no_object(store: Store) -> None:
    store.replace(RECORD, b"1")
    assert store.stat("actions/compile") is None


@creating
def test_create_has_one_winner_and_keeps_its_bytes(store: Store) -> None:
    assert store.create(RECORD, b"first") is True
    assert store.create(RECORD, b"second") is False
    assert store.read(RECORD) == b"first"


def test_replace_and_remove_change_a_document(store: Store) -> None:
    store.replace(RECORD, b"old")
    store.replace(RECORD, b"newer")
    assert store.read(RECORD) == b"newer"
    store.remove(RECORD)
    assert store.read(RECORD) is None


@creating
def test_what_was_removed_can_be_created_again(store: Store) -> None:
    store.create(RECORD, b"old")
    store.remove(RECORD)
    assert store.create(RECORD, b"again") is True
    assert store.read(RECORD) == b"again"


def test_list_gives_what_stat_gives_below_whole_segments_only(store: Store) -> None:
    for name in ("runs/1/report.json", "runs/1/logs/a.txt", "runs/10/report.json"):
        store.replace(name, name.encode())
    digest = store.put_bytes(b"blob")
    assert names(store, "runs/1") == ["runs/1/logs/a.txt", "runs/1/report.json"]
    assert names(store, "runs/1/") == names(store, "runs/1")
    assert names(store, "runs/2") == []
    assert len(names(store, "")) == 4
    entry = store.stat(blob_name(digest))
    assert entry is not None
    assert list(store.list("blobs")) == [entry]
    assert entry.size == 4


def test_a_stamp_stays_while_bytes_stay_and_changes_with_them(store: Store) -> None:
    stamps = []
    for text in (b"aaaa", b"bbbb", b"cccc"):  # one size, written at once
        store.replace(RECORD, text)
        entry = store.stat(RECORD)
        assert entry is not None
        assert entry == store.stat(RECORD)
        stamps.append(entry.stamp)
    assert len(set(stamps)) == 3


def test_a_discarded_sound_blob_is_put_back(store: Store) -> None:
    digest = store.put_bytes(b"sound")
    store.discard_blob(digest)
    assert store.read_blob(digest) == b"sound"
    assert names(store) == [blob_name(digest)]


@pytest.mark.parametrize(
    "name",
    [
        "", "actions", "/etc/passwd", "actions/../../x", "actions//x", "actions/./x", "actions/x/",
        "tmp/x", "secrets/x", "actions/a\\b", "actions/a\0b", "actions/.hidden", "actions/ä",
        "actions/" + "x" * 256, "actions/" + "x/" * 600 + "x",
    ],
)  # fmt: skip
def test_a_name_that_could_leave_the_store_is_refused(store: Store, name: str) -> None:
    for ask in (store.read, store.stat, store.remove):
        with pytest.raises(StoreError) as caught:
            ask(name)
        assert caught.value.message == f"{name!r} cannot be a name in a store"
    with pytest.raises(StoreError):
        store.create(name, b"")
    with pytest.raises(StoreError):
        store.replace(name, b"")


@pytest.mark.parametrize("prefix", ["..", "/", "actions/..", "etc", "tmp", "blobs//"])
def test_a_folder_outside_the_store_is_not_listed(store: Store, prefix: str) -> None:
    with pytest.raises(StoreError) as caught:
        list(store.list(prefix))
    assert caught.value.message == f"{prefix!r} cannot be a folder in a store"


@pytest.mark.parametrize("digest", ["", "../x", "A" * 64, "a" * 63])
def test_a_blob_has_a_sha256_for_a_name(store: Store, digest: str) -> None:
    with pytest.raises(StoreError) as caught:
        store.read_blob(Digest(digest))
    assert caught.value.message == (f"{digest!r} is not a sha256 in lower-case hexadecimal digits")


def test_reading_an_empty_store_creates_nothing(store: Store, tmp_path: Path) -> None:
    assert names(store) == []
    assert store.read(RECORD) is None
    assert list(tmp_path.iterdir()) == []


def test_a_document_without_end_is_refused_before_it_fills_the_memory(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = put(store, BIG, folder=tmp_path)
    for module in ("folder", "s3_reading"):
        monkeypatch.setattr(f"tidemill.store.{module}.LARGEST_DOCUMENT_BYTES", len(BIG) - 1)
    with pytest.raises(StoreError, match="as no document of ours has"):
        store.read(blob_name(digest))
    assert store.check_blob(digest) == len(BIG)
