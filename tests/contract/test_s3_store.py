"""What only a store in S3 has: a network that fails, other people's rights, pages, forks."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.servers import BUCKET, READER, WRITER, S3Server, use
from tests.wire import Fault, Wire, cut_to, flipped, garbled, hollow, lost, saying, spoiled, unsent
from tidemill.digest import Digest, digest_bytes
from tidemill.errors import BlobDamaged, StoreError, UsageError
from tidemill.store import open_store
from tidemill.store.layout import blob_name
from tidemill.store.s3 import S3Store
from tidemill.store.s3_client import Retry
from tidemill.store.s3_reading import WINDOW_BYTES
from tidemill.store.s3_trouble import GaveUp

NAME = "runs/1/report.json"
DATA = b"some bytes, to be spoiled on their way"
TINY = Retry(attempts=4, first=0.0001, longest=0.0002)


@pytest.fixture
def store(s3_url: str) -> S3Store:
    return S3Store(s3_url, retry=TINY)


def put_behind(server: S3Server, store: S3Store, name: str, data: bytes, **more: Any) -> None:
    """Write an object as somebody else does."""
    prefix = store.url.removeprefix(f"s3://{BUCKET}/").partition("?")[0]
    server.client().put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=data, **more)


@pytest.mark.parametrize(
    "faults",
    [[unsent], [hollow], [lost], [saying(500, "InternalError")], [saying(503, "SlowDown")] * 3],
    ids=["unsent", "hollow", "lost", "500", "503"],
)
def test_trouble_that_passes_is_not_seen(store: S3Store, faults: list[Fault]) -> None:
    wire = Wire(store)
    for operation in ("PutObject", "GetObject", "HeadObject", "ListObjectsV2", "DeleteObject"):
        wire.faults[operation] += faults
    store.replace(NAME, DATA)
    assert store.read(NAME) == DATA
    assert [entry.name for entry in store.list("")] == [NAME]
    entry = store.stat(NAME)
    assert entry is not None
    assert entry.size == len(DATA)
    store.remove(NAME)
    assert store.read(NAME) is None
    assert sum(len(left) for left in wire.faults.values()) == 0


@pytest.mark.parametrize("fault", [unsent, hollow, saying(500, "InternalError")])
@pytest.mark.parametrize("operation", ["GetObject", "HeadObject", "ListObjectsV2"])
def test_trouble_that_stays_is_never_absence(store: S3Store, operation: str, fault: Fault) -> None:
    store.replace(NAME, DATA)
    wire = Wire(store)
    wire.faults[operation] += [fault] * 4
    asks: dict[str, Callable[[], object]] = {
        "GetObject": lambda: store.read(NAME),
        "HeadObject": lambda: store.stat(NAME),
        "ListObjectsV2": lambda: list(store.list("")),
    }
    with pytest.raises(GaveUp, match="gave up after 4 attempts"):
        asks[operation]()
    assert len(wire.sent) == 4


def test_a_cut_body_is_gone_on_with_where_it_was_cut(store: S3Store, tmp_path: Path) -> None:
    digest = store.put_bytes(DATA)
    wire = Wire(store)
    wire.faults["GetObject"] += [cut_to(10), cut_to(5)]
    assert store.fetch_blob(digest, tmp_path / "target") == len(DATA)
    assert (tmp_path / "target").read_bytes() == DATA
    ranges = [one.headers["range"] for one in wire.of("GetObject")]
    last = len(DATA) - 1
    assert ranges == [f"bytes=0-{WINDOW_BYTES - 1}", f"bytes=10-{last}", f"bytes=15-{last}"]
    assert all("if-match" in one.headers for one in wire.of("GetObject")[1:])


def test_bytes_that_change_on_the_way_are_asked_for_again(store: S3Store, tmp_path: Path) -> None:
    digest = store.put_bytes(DATA)
    store.replace(NAME, DATA)
    wire = Wire(store)
    for read in (
        lambda: store.read(NAME),
        lambda: store.read_blob(digest),
        lambda: store.fetch_blob(digest, tmp_path / "x") and (tmp_path / "x").read_bytes(),
    ):
        wire.faults["GetObject"] += [flipped]
        assert read() == DATA
    assert len(wire.of("GetObject")) == 6


@pytest.mark.parametrize(
    ("option", "header"), [("required", "content-md5"), ("supported", "x-amz-checksum-sha256")]
)
def test_the_server_sees_what_changed_on_its_way(s3_url: str, option: str, header: str) -> None:
    store = S3Store(f"{s3_url}&checksums={option}", retry=TINY)
    wire = Wire(store)
    wire.faults["PutObject"] += [spoiled, spoiled]
    store.replace(NAME, DATA)
    assert store.read(NAME) == DATA
    assert len(wire.of("PutObject")) == 3
    assert all(header in one.headers for one in wire.of("PutObject"))


def test_an_object_that_changes_while_it_is_read_is_read_anew(store: S3Store) -> None:
    store.replace(NAME, b"old" * 10)
    wire = Wire(store)

    def cut_and_replace(request: Any) -> Any:
        answer = cut_to(10)(request)
        S3Store(store.url).replace(NAME, b"new" * 10)
        return answer

    wire.faults["GetObject"] += [cut_and_replace]
    assert store.read(NAME) == b"new" * 10


@pytest.mark.parametrize("damage", [b"other bytes", b""], ids=["other", "empty"])
def test_a_damaged_blob_is_named_set_aside_and_built_again(
    store: S3Store, seaweedfs: S3Server, tmp_path: Path, damage: bytes
) -> None:
    digest = store.put_bytes(DATA)
    put_behind(seaweedfs, store, blob_name(digest), damage)
    message = f"blob {digest[:12]}… in {store.url} is damaged: its bytes have another sha256"
    for read in (
        lambda: store.read_blob(digest),
        lambda: store.check_blob(digest),
        lambda: store.fetch_blob(digest, tmp_path / "target"),
    ):
        with pytest.raises(BlobDamaged) as caught:
            read()
        assert caught.value.message == message
    assert list(tmp_path.iterdir()) == []
    store.discard_blob(digest)
    assert store.stat(blob_name(digest)) is None
    (aside,) = store.list("quarantine")
    assert aside.name.startswith(f"quarantine/{digest}.")
    assert store.read(aside.name) == damage
    assert store.put_bytes(DATA) == digest
    assert store.read_blob(digest) == DATA


def test_a_blob_that_is_rebuilt_while_it_is_set_aside_stays(
    store: S3Store, seaweedfs: S3Server
) -> None:
    digest = store.put_bytes(DATA)
    # The damage that a server's own disk does: the ETag stays that of the bytes once written.
    wire = Wire(store)

    def rebuilt(_: Any) -> None:
        S3Store(store.url).remove(blob_name(digest))
        S3Store(store.url).put_bytes(DATA)

    wire.faults["GetObject"] += [flipped] * 4
    wire.faults["CopyObject"] += [rebuilt]
    store.discard_blob(digest)
    assert wire.of("DeleteObject") == []
    assert store.read_blob(digest) == DATA


def test_a_document_that_was_damaged_in_the_store_is_given_to_those_who_can_tell(
    store: S3Store, seaweedfs: S3Server
) -> None:
    written = {"sha256": digest_bytes(DATA)}
    put_behind(seaweedfs, store, NAME, b"not what was written", Metadata=written)
    wire = Wire(store)
    assert store.read(NAME) == b"not what was written"
    assert len(wire.of("GetObject")) == 4


def test_bytes_that_never_come_twice_alike_are_trouble_and_no_damage(store: S3Store) -> None:
    digest = store.put_bytes(DATA)
    wire = Wire(store)
    for read in (store.read_blob, store.check_blob):
        wire.faults["GetObject"] += [garbled] * 4
        with pytest.raises(GaveUp) as caught:
            read(digest)
        assert caught.value.message == (
            f"{store.url}: cannot read blob {digest[:12]}…: gave up after 4 attempts: its bytes "
            f"come in another way each time"
        )


def test_objects_of_other_tools_are_read_and_folders_they_pretend_are_not_listed(
    store: S3Store, seaweedfs: S3Server
) -> None:
    digest = digest_bytes(DATA)
    put_behind(seaweedfs, store, blob_name(digest), DATA)
    put_behind(seaweedfs, store, "runs/1/", b"")
    put_behind(seaweedfs, store, "tmp/half", b"x")
    put_behind(seaweedfs, store, "readme.txt", b"x")
    assert store.read_blob(digest) == DATA
    assert [entry.name for entry in store.list("")] == [blob_name(digest)]
    assert store.put_bytes(DATA) == digest


def test_a_listing_costs_one_request_for_a_thousand_objects(store: S3Store) -> None:
    names = [f"failures/step/{number:04}.json" for number in range(1001)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.replace(name, b"{}"), names))
    wire = Wire(store)
    assert sorted(entry.name for entry in store.list("")) == names
    assert [one.operation for one in wire.sent] == ["ListObjectsV2"] * 2
    next(store.list("failures"))
    assert len(wire.sent) == 3


def test_a_blob_that_is_kept_costs_one_request(store: S3Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    assert store.put_blob(source, digest=digest_bytes(DATA)) is True
    wire = Wire(store)
    assert store.put_blob(source, digest=digest_bytes(DATA)) is False
    assert [one.operation for one in wire.sent] == ["HeadObject"]


def test_a_fork_uses_a_client_of_its_own(store: S3Store) -> None:
    store.replace(NAME, DATA)
    wire = Wire(store)  # on the client of this process only
    assert store.read(NAME) == DATA
    pid = os.fork()
    if not pid:
        sound = False
        try:
            sound = store.read(NAME) == DATA and len(wire.sent) == 1
        finally:
            os._exit(0 if sound else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert store.read(NAME) == DATA
    assert len(wire.sent) == 2


def test_threads_share_a_store(store: S3Store) -> None:
    texts = [f"thread {number}".encode() * 100 for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(store.put_bytes, texts))
        assert list(pool.map(store.read_blob, digests)) == texts


@pytest.mark.parametrize("credentials", [("nobody", "x"), (WRITER[0], "wrong")])
def test_wrong_credentials_are_an_error_and_not_absence(
    store: S3Store, monkeypatch: pytest.MonkeyPatch, credentials: tuple[str, str], tmp_path: Path
) -> None:
    use(credentials, monkeypatch)
    asks = (
        lambda: store.read(NAME),
        lambda: store.stat(NAME),
        lambda: list(store.list("")),
        lambda: store.read_blob(Digest("0" * 64)),
        lambda: store.remove(NAME),
        lambda: store.create(NAME, b""),
        lambda: open_store(store.url, must_exist=True),
    )
    for ask in asks:
        with pytest.raises(StoreError, match="the server says 403") as caught:
            ask()
        assert type(caught.value) is StoreError
        assert "see which credentials boto3 finds" in caught.value.hint


def test_a_permission_that_is_missing_is_named(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.replace(NAME, DATA)
    use(READER, monkeypatch)
    reader = S3Store(store.url)
    assert reader.read(NAME) == DATA
    with pytest.raises(StoreError) as caught:
        reader.replace(NAME, b"x")
    assert caught.value.message == (
        f"{store.url}: cannot write {NAME}: the server says 403 AccessDenied (Access Denied)"
    )
    assert caught.value.hint.startswith("give these credentials the permission s3:PutObject;")


def test_a_bucket_that_is_not_there_is_not_an_empty_store(seaweedfs: S3Server, s3_url: str) -> None:
    store = S3Store(s3_url.replace(f"//{BUCKET}/", "//typo/"))
    asks = (
        lambda: store.read(NAME),
        lambda: store.stat(NAME),
        lambda: list(store.list("")),
        lambda: store.replace(NAME, b"x"),
        lambda: open_store(store.url, must_exist=True),
    )
    for ask in asks:
        with pytest.raises(StoreError) as caught:
            ask()
        assert "the server says 404 NoSuchBucket" in caught.value.message
        assert caught.value.hint.startswith("create the bucket, or see whether its name")


def test_a_reader_of_an_empty_prefix_is_told(store: S3Store) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(store.url, must_exist=True)
    assert caught.value.message == (
        f"there is no store at {store.url}: nothing lies below that prefix"
    )
    store.replace(NAME, DATA)
    assert open_store(store.url, must_exist=True).read(NAME) == DATA


def test_a_server_that_is_not_there_is_named(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = S3Store("s3://mill/x?endpoint=http://127.0.0.1:9&region=x", retry=TINY)
    with pytest.raises(GaveUp) as caught:
        gone.read(NAME)
    assert caught.value.message == (
        f"{gone.url}: cannot read {NAME}: gave up after 4 attempts: Could not connect to the "
        f'endpoint URL: "http://127.0.0.1:9/mill/x/{NAME}"'
    )
