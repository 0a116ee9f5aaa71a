"""Channels: who may move them, where they point, and what a rollback is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.store_helpers import race_for_a_channel, release_named, run_in_processes
from tests.signing import SIGNER
from tidemill.channels import head, history, latest, names, put_release, read_release
from tidemill.errors import BlobDamaged, StoreError, UsageError
from tidemill.moves import LostRace, move, rollback
from tidemill.store import Store, open_store
from tidemill.store.layout import channel_name, hint_name, release_name


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


#: Who moves, for moves of which nothing else matters.
BY: dict[str, Any] = {"run": "r", "reason": "", "signer": SIGNER}

Moves = Callable[..., list[str]]


@pytest.fixture
def moved(store: Store) -> Moves:
    """Moves "nightly" through releases of these names; returns their digests."""

    def through(*toolchains: str) -> list[str]:
        digests = [put_release(store, release_named(name)) for name in toolchains]
        for digest in digests:
            entry = head(store, "nightly")
            at = entry.sequence if entry else 0
            move(
                store,
                "nightly",
                release=digest,
                expecting=at,
                run="r1",
                reason="night",
                signer=SIGNER,
            )
        return [str(digest) for digest in digests]

    return through


def test_a_channel_that_never_moved_has_no_head(store: Store) -> None:
    assert head(store, "nightly") is None
    assert history(store, "nightly") == ()
    assert names(store) == ()


def test_a_move_creates_the_next_sequence(store: Store, moved: Moves) -> None:
    first, second = moved("a", "b")
    entry = head(store, "nightly")
    assert entry is not None
    assert (entry.sequence, entry.release, entry.run, entry.reason) == (2, second, "r1", "night")
    assert [one.release for one in history(store, "nightly")] == [second, first]
    assert names(store) == ("nightly",)
    assert sorted(one.name for one in store.list("channels/nightly")) == [
        channel_name("nightly", 1),
        channel_name("nightly", 2),
        hint_name("nightly"),
    ]


def test_a_move_to_the_same_release_writes_nothing(store: Store, moved: Moves) -> None:
    (only,) = moved("a")
    entry = move(
        store, "nightly", release=only, expecting=1, run="r2", reason="again", signer=SIGNER
    )
    assert (entry.sequence, entry.run) == (1, "r1")
    assert len(history(store, "nightly")) == 1


def test_a_move_from_another_head_than_expected_is_lost(store: Store, moved: Moves) -> None:
    first, _ = moved("a", "b")
    for expecting in (0, 1, 3):
        with pytest.raises(LostRace) as caught:
            move(
                store,
                "nightly",
                release=first,
                expecting=expecting,
                run="r",
                reason="",
                signer=SIGNER,
            )
        assert caught.value.message == f"channel 'nightly' is at sequence 2, not at {expecting}"
    assert len(history(store, "nightly")) == 2


def test_a_channel_never_points_at_a_release_that_is_not_there(store: Store) -> None:
    digest = "0" * 64
    with pytest.raises(StoreError) as caught:
        move(store, "nightly", release=digest, expecting=0, run="r", reason="", signer=SIGNER)
    assert caught.value.message == f"release 000000000000… is not in {store.url}"
    assert head(store, "nightly") is None


def test_a_rollback_is_a_newer_sequence_of_an_older_release(store: Store, moved: Moves) -> None:
    first, second, _ = moved("a", "b", "c")
    assert rollback(store, "nightly", run="r", reason="c is slow", signer=SIGNER).release == second
    assert (
        rollback(store, "nightly", to=1, run="r", reason="b, too", signer=SIGNER).release == first
    )
    assert [one.sequence for one in history(store, "nightly")] == [5, 4, 3, 2, 1]


def test_a_rollback_without_an_older_release_says_so(store: Store, moved: Moves) -> None:
    moved("a")
    for to, message in (
        (0, "channel 'nightly' has no older release to go back to"),
        (1, "channel 'nightly' cannot go back to sequence 1"),
        (7, "channel 'nightly' cannot go back to sequence 7"),
    ):
        with pytest.raises(UsageError) as caught:
            rollback(store, "nightly", to=to, run="r", reason="", signer=SIGNER)
        assert caught.value.message == message
    with pytest.raises(UsageError):
        rollback(store, "unheard-of", run="r", reason="", signer=SIGNER)


@pytest.mark.parametrize(
    "damage", [b"", b"{", b'{"format": 2}', b"\xff", b'{"format":2,"run":"\xff"}']
)
def test_a_damaged_head_is_an_error_and_can_be_moved_past(
    store: Store, moved: Moves, damage: bytes
) -> None:
    first, _ = moved("a", "b")
    store.replace(channel_name("nightly", 2), damage)
    with pytest.raises(BlobDamaged) as caught:
        head(store, "nightly")
    assert caught.value.message == "entry 2 of channel 'nightly' is damaged"
    assert latest(store, "nightly") == 2
    entry = rollback(store, "nightly", run="r", reason="heal", signer=SIGNER)
    assert (entry.sequence, entry.release) == (3, first)
    assert head(store, "nightly") == entry


def test_an_entry_copied_from_another_place_is_damaged(store: Store, moved: Moves) -> None:
    moved("a", "b")
    entry = store.read(channel_name("nightly", 1))
    assert entry is not None
    store.replace(channel_name("nightly", 2), entry)
    with pytest.raises(BlobDamaged):
        head(store, "nightly")


def test_a_newer_format_asks_for_an_upgrade(store: Store, moved: Moves) -> None:
    moved("a")
    store.replace(channel_name("nightly", 1), b'{"format": 3, "all": "new"}')
    with pytest.raises(StoreError) as caught:
        head(store, "nightly")
    assert caught.value.message == (
        "entry 1 of channel 'nightly' has format 3; this tidemill reads up to 2"
    )
    assert caught.value.hint == "upgrade tidemill"


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "a b", "x" * 101])
def test_a_channel_name_that_cannot_be_is_refused(store: Store, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        head(store, name)
    assert caught.value.message == f"{name!r} cannot be the name of a channel"


def test_a_release_is_read_back_or_said_to_be_missing_or_damaged(store: Store) -> None:
    release = release_named("a")
    digest = put_release(store, release)
    assert put_release(store, release) == digest
    assert read_release(store, digest) == release
    store.replace(release_name(digest), b"{}")
    with pytest.raises(BlobDamaged) as damaged:
        read_release(store, digest)
    assert damaged.value.message == (
        f"release {digest[:12]}… in {store.url} is damaged: its bytes have another sha256"
    )
    put_release(store, release)
    assert read_release(store, digest) == release
    with pytest.raises(StoreError) as missing:
        read_release(store, "1" * 64)
    assert missing.value.message == f"release 111111111111… is missing in {store.url}"


def test_of_six_processes_exactly_one_wins_each_sequence(store: Store) -> None:
    writers, rounds = 6, 50
    releases = [str(put_release(store, release_named(name))) for name in ("a", "b")]
    wins = run_in_processes(
        race_for_a_channel,
        [(store.url, tuple(releases), number, rounds) for number in range(writers)],
    )
    won = [sequence for one in wins for sequence in one]
    # Who loses has lost to one winner, and each of the others can lose to that one but once.
    assert rounds <= len(won) <= writers * rounds
    assert sorted(won) == list(range(1, len(won) + 1))
    winner = {sequence: f"writer-{number}" for number, one in enumerate(wins) for sequence in one}
    assert {one.sequence: one.run for one in history(store, "nightly")} == winner
