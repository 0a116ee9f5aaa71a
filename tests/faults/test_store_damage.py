"""Damaged blobs: found by every reader, never used, set aside, and built again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.store_helpers import damage_blob
from tidemill.digest import Digest, digest_bytes
from tidemill.errors import BlobDamaged
from tidemill.store import Entry, Store
from tidemill.store.folder import FolderStore
from tidemill.store.layout import blob_name
from tidemill.store.verified import Verified

BYTES = b"the bytes of a blob " * 1000
DIGEST = digest_bytes(BYTES)
OTHER = b"other bytes, as many" * 1000
DAMAGES = ["flip", "truncate", "empty", "swap"]
REASONS = {
    "flip": f"blob {DIGEST[:12]}… is damaged (its sha256 differs)",
    "swap": f"blob {DIGEST[:12]}… is damaged (its sha256 differs)",
    "truncate": f"blob {DIGEST[:12]}… has 10000 bytes, expected 20000",
    "empty": f"blob {DIGEST[:12]}… has 0 bytes, expected 20000",
}


class CountingStore(FolderStore):
    """A real store that counts how often it had to hash."""

    hashed = 0

    def check_blob(self, digest: Digest) -> int:
        self.hashed += 1
        return super().check_blob(digest)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    store = CountingStore(tmp_path / "store")
    store.put_bytes(BYTES)
    return store


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    return tmp_path / "store" / blob_name(DIGEST)


@pytest.fixture
def verified(tmp_path: Path) -> Verified:
    return Verified(tmp_path / "state")


def ask(verified: Verified, store: Store) -> str | None:
    entry = store.stat(blob_name(DIGEST))
    return verified.is_sound(store, DIGEST, size=len(BYTES), entry=entry)


READERS: dict[str, Callable[[Store, Path], object]] = {
    "fetch": lambda store, target: store.fetch_blob(DIGEST, target),
    "read": lambda store, _: store.read_blob(DIGEST),
    "check": lambda store, _: store.check_blob(DIGEST),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("reader", READERS)
def test_no_reader_gives_damaged_bytes(
    store: Store, blob: Path, tmp_path: Path, damage: str, reader: str
) -> None:
    damage_blob(blob, damage, other=OTHER)
    (tmp_path / "out").mkdir()
    with pytest.raises(BlobDamaged) as caught:
        READERS[reader](store, tmp_path / "out" / "target")
    assert caught.value.message == (
        f"blob {DIGEST[:12]}… in {store.url} is damaged: its bytes have another sha256"
    )
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_at_once_discarded_and_healed_by_a_put(
    store: Store, blob: Path, verified: Verified, tmp_path: Path, damage: str
) -> None:
    assert ask(verified, store) is None
    damage_blob(blob, damage, other=OTHER)
    damaged = blob.read_bytes()
    assert ask(verified, store) == REASONS[damage]
    assert ask(verified, store) == f"blob {DIGEST[:12]}… is missing"
    (aside,) = store.list("quarantine")
    assert (tmp_path / "store" / aside.name).read_bytes() == damaged
    store.put_bytes(BYTES)
    assert ask(verified, store) is None
    assert store.read_blob(DIGEST) == BYTES


def test_a_change_in_the_same_tick_of_the_clock_is_found(
    store: Store, blob: Path, verified: Verified
) -> None:
    for _ in range(20):
        assert ask(verified, store) is None
        damage_blob(blob, "flip", other=b"")
        assert ask(verified, store) == REASONS["flip"]
        store.put_bytes(BYTES)


def test_a_put_replaces_a_blob_of_another_size_and_keeps_one_of_the_same(
    store: Store, blob: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(BYTES)
    damage_blob(blob, "truncate", other=b"")
    assert store.put_blob(source, digest=DIGEST) is True
    assert store.read_blob(DIGEST) == BYTES
    damage_blob(blob, "flip", other=b"")
    assert store.put_blob(source, digest=DIGEST) is False
    store.discard_blob(DIGEST)
    assert store.put_blob(source, digest=DIGEST) is True
    assert store.read_blob(DIGEST) == BYTES


def test_a_sound_blob_is_hashed_once(store: CountingStore, tmp_path: Path) -> None:
    first = Verified(tmp_path / "state")
    assert [ask(first, store) for _ in range(3)] == [None] * 3
    assert store.hashed == 1
    (listed,) = store.list("blobs")
    assert first.is_sound(store, DIGEST, size=len(BYTES), entry=listed) is None
    first.save()
    assert ask(Verified(tmp_path / "state"), store) is None
    assert store.hashed == 1


def test_what_a_put_has_hashed_is_not_hashed_again(
    store: CountingStore, verified: Verified
) -> None:
    verified.learn(store, DIGEST)
    assert ask(verified, store) is None
    assert store.hashed == 0


def test_the_memories_of_several_processes_are_merged(store: CountingStore, tmp_path: Path) -> None:
    other = store.put_bytes(OTHER)
    first, second = Verified(tmp_path / "state"), Verified(tmp_path / "state")
    first.learn(store, DIGEST)
    second.learn(store, other)
    second.save()
    first.save()
    third = Verified(tmp_path / "state")
    assert ask(third, store) is None
    assert third.is_sound(store, other, size=len(OTHER), entry=None) is None
    assert store.hashed == 0
    assert len(list((tmp_path / "state").iterdir())) == 1


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x81\xa1\xff\xa1a", b"\x93\x01\x02\x03"])
def test_a_damaged_memory_costs_a_hash_and_nothing_else(
    store: CountingStore, tmp_path: Path, data: bytes
) -> None:
    first = Verified(tmp_path / "state")
    assert ask(first, store) is None
    first.save()
    (memory,) = (tmp_path / "state").iterdir()
    memory.write_bytes(data)
    second = Verified(tmp_path / "state")
    assert ask(second, store) is None
    assert store.hashed == 2
    second.save()
    assert ask(Verified(tmp_path / "state"), store) is None
    assert store.hashed == 2


def test_stores_do_not_share_a_memory(store: CountingStore, tmp_path: Path) -> None:
    verified, other = Verified(tmp_path / "state"), CountingStore(tmp_path / "other")
    other.put_bytes(BYTES)
    assert [ask(verified, store), ask(verified, other)] == [None, None]
    assert (store.hashed, other.hashed) == (1, 1)


def test_a_record_with_a_wrong_size_does_not_cost_a_sound_blob(
    store: Store, verified: Verified
) -> None:
    entry = store.stat(blob_name(DIGEST))
    reason = verified.is_sound(store, DIGEST, size=5, entry=entry)
    assert reason == f"blob {DIGEST[:12]}… has 20000 bytes, expected 5"
    assert store.read_blob(DIGEST) == BYTES


def test_an_old_listing_is_not_believed(store: Store, verified: Verified) -> None:
    old = Entry(name=blob_name(DIGEST), size=3, stamp="long ago")
    assert verified.is_sound(store, DIGEST, size=len(BYTES), entry=old) is None
    assert verified.is_sound(store, DIGEST, size=len(BYTES), entry=None) is None
    assert list(store.list("quarantine")) == []


def test_a_memory_that_cannot_be_saved_is_no_trouble(store: Store, tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"a file, not a folder")
    verified = Verified(tmp_path / "state")
    assert ask(verified, store) is None
    verified.save()
    assert (tmp_path / "state").read_bytes() == b"a file, not a folder"
