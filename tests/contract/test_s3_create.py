"""Put-if-absent on S3: one winner, who knows it, on servers that can be trusted with it."""

import pytest

from tests.faults.store_helpers import race_to_create, run_in_processes
from tests.servers import BUCKET, WRITER, S3Server, use
from tests.wire import Fault, Wire, hollow, lost, passed, saying, unsent
from tidemill.errors import StoreError
from tidemill.store import open_store, s3_create
from tidemill.store.layout import run_name
from tidemill.store.s3 import S3Store
from tidemill.store.s3_client import Retry
from tidemill.store.s3_trouble import GaveUp

NAME = "actions/compile/record.json"
TINY = Retry(attempts=4, first=0.0001, longest=0.0002)


@pytest.fixture
def store(s3_url: str) -> S3Store:
    """A store whose server has been tried already."""
    store = S3Store(s3_url, retry=TINY)
    store.create("actions/compile/first.json", b"")
    return store


@pytest.mark.parametrize(
    "faults",
    [
        [lost],
        [lost, lost, lost],
        [unsent, lost],
        [lost, saying(503, "SlowDown"), saying(409, "ConditionalRequestConflict")],
        [hollow],
        [hollow, lost, unsent],
    ],
    ids=lambda faults: "-".join(getattr(fault, "__name__", "saying") for fault in faults),
)
def test_the_winner_knows_it_whatever_becomes_of_the_answer(
    store: S3Store, faults: list[Fault]
) -> None:
    Wire(store).faults["PutObject"] += faults
    assert store.create(NAME, b"mine") is True
    assert store.create(NAME, b"again") is False
    assert store.read(NAME) == b"mine"


def test_the_loser_knows_it_too_when_its_answer_is_lost(s3_url: str, store: S3Store) -> None:
    open_store(s3_url).create(NAME, b"theirs")
    Wire(store).faults["PutObject"] += [lost, hollow]
    assert store.create(NAME, b"mine") is False
    assert store.read(NAME) == b"theirs"


def test_the_last_attempt_may_be_the_one_whose_answer_is_lost(store: S3Store) -> None:
    Wire(store).faults["PutObject"] += [unsent, unsent, unsent, lost]
    assert store.create(NAME, b"mine") is True
    assert store.read(NAME) == b"mine"


def test_a_server_that_never_answers_is_an_error_and_not_a_loss(store: S3Store) -> None:
    wire = Wire(store)
    wire.faults["PutObject"] += [unsent] * 4
    with pytest.raises(GaveUp) as caught:
        store.create(NAME, b"mine")
    assert caught.value.message.startswith(
        f"{store.url}: cannot write {NAME}: gave up after 4 attempts: "
    )
    assert len(wire.of("PutObject")) == 4
    assert store.read(NAME) is None


def test_the_look_at_who_was_first_is_not_believed_when_it_fails(store: S3Store) -> None:
    store.create(NAME, b"first")
    wire = Wire(store)
    wire.faults["HeadObject"] += [hollow, saying(500, "InternalError")]
    assert store.create(NAME, b"second") is False
    assert len(wire.of("PutObject")) == 3


def test_of_two_processes_exactly_one_creates_each_document(s3_url: str) -> None:
    names = [run_name("run", f"{number}.json") for number in range(50)]
    wins = run_in_processes(race_to_create, [(s3_url, names, number) for number in range(2)])
    assert sorted(name for one in wins for name in one) == sorted(names)
    store = open_store(s3_url)
    for number, won in enumerate(wins):
        for name in won:
            assert store.read(name) == f"writer {number} ".encode() * 500


def test_a_server_is_tried_once_for_all_stores_in_a_bucket(
    s3_url: str, store: S3Store, seaweedfs: S3Server
) -> None:
    others = [S3Store(s3_url), S3Store(seaweedfs.store_url("elsewhere"))]
    for other in others:
        wire = Wire(other)
        other.create(NAME, b"x")
        assert len(wire.of("PutObject")) == 1
        other.remove(NAME)
    listed = seaweedfs.client().list_objects_v2(Bucket=BUCKET)["Contents"]
    assert [one["Key"] for one in listed if "probe" in one["Key"]] == []


@pytest.mark.parametrize(
    "faults",
    [[hollow], [passed, hollow, unsent], [lost, lost, hollow]],
    ids=["first", "second", "both"],
)
def test_a_good_server_behind_a_broken_proxy_is_not_refused(
    s3_url: str, monkeypatch: pytest.MonkeyPatch, faults: list[Fault]
) -> None:
    monkeypatch.setattr(s3_create, "_HONOURS", {})
    store = S3Store(s3_url, retry=TINY)
    wire = Wire(store)
    wire.faults["PutObject"] += faults
    wire.faults["DeleteObject"] += [hollow]
    assert store.create(NAME, b"x") is True
    assert store.create(NAME, b"y") is False


def test_a_server_that_ignores_conditions_is_refused_by_name(
    rclone: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(WRITER, monkeypatch)
    store = S3Store(rclone.store_url("refused"), retry=TINY)
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            store.create(NAME, b"x")
        assert caught.value.message == (
            f"{store.url}: {rclone.endpoint} does not honour If-None-Match: two writers could "
            f"both believe that they were first, so records and channels are not safe there"
        )
    assert (store.read(NAME), list(store.list(""))) == (None, [])
    store.replace("runs/1/report.json", b"what needs no condition works")
    assert store.read("runs/1/report.json") == b"what needs no condition works"
