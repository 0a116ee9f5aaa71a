"""A hit needs a sound record and every blob it names; anything else is a miss with its reason."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.unit.made import DAMAGES, Bench, graph_of, open_cache
from tidemill.cache import Hit, Miss
from tidemill.errors import StoreError
from tidemill.keys import Bound
from tidemill.records import ActionResult
from tidemill.store.contract import Entry
from tidemill.store.folder import FolderStore
from tidemill.store.layout import action_name, blob_name

NODE = "fetch:tiny/package"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(root=tmp_path, graph=graph_of(tmp_path / "workspace"))


def record_file(bench: Bench, key: str) -> Path:
    return bench.root / "store" / action_name("fetch", key)


def blob_file(bench: Bench, digest: str) -> Path:
    return bench.root / "store" / blob_name(digest)


def bound_of(bench: Bench) -> Bound:
    bound = bench.states().of(NODE).bound
    assert bound is not None
    return bound


def test_nothing_recorded_is_a_miss(bench: Bench) -> None:
    assert bench.cache.look_up("fetch", "0" * 64) == Miss(reason="not built yet")


@pytest.mark.parametrize("primed", [False, True])
def test_a_recorded_result_with_its_blobs_is_a_hit(bench: Bench, primed: bool) -> None:
    result = bench.build(NODE)
    cache = open_cache(bench.root)
    if primed:
        cache.prime()
    found = cache.look_up("fetch", result.key)
    assert found == Hit(key=result.key, outputs=(*result.outputs, result.log))
    assert cache.result("fetch", result.key) == result
    assert cache.errors == 0


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("warm", [False, True])
def test_a_damaged_record_is_a_miss_that_is_replaced(bench: Bench, damage: str, warm: bool) -> None:
    result = bench.build(NODE)
    if warm:
        assert isinstance(bench.cache.look_up("fetch", result.key), Hit)
        bench.cache.save_index()
    path = record_file(bench, result.key)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    cache = open_cache(bench.root)
    cache.prime()
    found = cache.look_up("fetch", result.key)
    assert found == Miss(reason="its record is damaged", damaged=True)
    assert cache.result("fetch", result.key) is None
    cache.forget_listing()
    assert cache.record(result, replacing=True) == result
    assert isinstance(cache.look_up("fetch", result.key), Hit)


def test_no_flipped_byte_of_a_record_goes_unseen(bench: Bench) -> None:
    result = bench.build(NODE)
    path = record_file(bench, result.key)
    sound = path.read_bytes()
    for at in range(0, len(sound), 7):
        flipped = sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :]
        path.write_bytes(flipped)
        found = open_cache(bench.root).result("fetch", result.key)
        # White space between values may become other white space; the record is the same then.
        assert found in (None, result), f"byte {at} of the record: {flipped[at - 20 : at + 20]!r}"


def test_another_actions_record_under_this_key_is_a_miss(bench: Bench) -> None:
    result = bench.build(NODE)
    other = "9" * 64
    data = record_file(bench, result.key).read_bytes()
    record_file(bench, other).write_bytes(data)
    found = bench.cache.look_up("fetch", other)
    assert found == Miss(reason="its record is damaged", damaged=True)


@pytest.mark.parametrize("which", ["model.safetensors", "log.txt"])
def test_every_blob_is_needed(bench: Bench, which: str) -> None:
    result = bench.build(NODE)
    output = next(each for each in (*result.outputs, result.log) if each.name == which)
    blob_file(bench, output.digest).unlink()
    assert open_cache(bench.root).look_up("fetch", result.key) == Miss(
        reason=f"{which}: blob {output.digest[:12]}… is missing", damaged=True
    )


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("flip", "is damaged (its sha256 differs)"),
        ("garbage", "has 16 bytes, expected 39"),
        ("empty", "has 0 bytes, expected 39"),
    ],
)
def test_a_damaged_blob_is_a_miss_and_is_set_aside(bench: Bench, damage: str, reason: str) -> None:
    result = bench.build(NODE)
    output = result.outputs[2]
    assert (output.name, output.size) == ("model.safetensors", 39)
    path = blob_file(bench, output.digest)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert open_cache(bench.root).look_up("fetch", result.key) == Miss(
        reason=f"model.safetensors: blob {output.digest[:12]}… {reason}", damaged=True
    )
    assert not path.exists()


# The index.


class ReadingStore(FolderStore):
    """A real store that counts how often a record was read."""

    reads = 0

    def read(self, name: str) -> bytes | None:
        self.reads += name.startswith("actions/")
        return super().read(name)


def indexed(bench: Bench) -> ActionResult:
    result = bench.build(NODE)
    bench.cache.look_up("fetch", result.key)
    bench.cache.save_index()
    return result


def reads_of_a_look_up(bench: Bench, key: str) -> int:
    store = ReadingStore(bench.root / "store")
    cache = open_cache(bench.root, store=store)
    cache.prime()
    assert isinstance(cache.look_up("fetch", key), Hit)
    assert cache.errors == 0
    return store.reads


def test_a_saved_index_spares_reading_the_record(bench: Bench) -> None:
    assert reads_of_a_look_up(bench, indexed(bench).key) == 0


@pytest.mark.parametrize("damage", [*DAMAGES, "absent", "a folder"])
def test_a_damaged_index_is_ignored(bench: Bench, damage: str) -> None:
    key = indexed(bench).key
    index = bench.cache.index_file
    data = index.read_bytes()
    index.unlink()
    if damage == "a folder":
        index.mkdir()
    elif damage != "absent":
        index.write_bytes(DAMAGES[damage](data))
    assert reads_of_a_look_up(bench, key) == 1


def test_no_flipped_byte_of_the_index_is_believed(bench: Bench) -> None:
    key = indexed(bench).key
    data = bench.cache.index_file.read_bytes()
    for at in range(0, len(data), 11):
        bench.cache.index_file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert reads_of_a_look_up(bench, key) == 1, f"byte {at} of the index"


def test_the_index_of_another_store_is_ignored(bench: Bench, tmp_path: Path) -> None:
    key = indexed(bench).key
    moved = tmp_path / "moved"
    (bench.root / "store").rename(moved)
    store = ReadingStore(moved)
    cache = open_cache(bench.root, store=store)
    cache.prime()
    assert isinstance(cache.look_up("fetch", key), Hit)
    assert store.reads == 1


def test_a_stale_index_is_not_believed(bench: Bench) -> None:
    result = indexed(bench)
    newer = msgspec.structs.replace(result, seconds=9.0, seal="")
    bench.cache.record(newer, replacing=True)
    assert reads_of_a_look_up(bench, result.key) == 1


def test_an_index_that_cannot_be_saved_fails_nothing(bench: Bench) -> None:
    result = bench.build(NODE)
    in_the_way = bench.root / "a file"
    in_the_way.write_bytes(b"")
    bench.cache.index_file = in_the_way / "records.msgpack"
    bench.cache.look_up("fetch", result.key)
    bench.cache.save_index()
    assert in_the_way.read_bytes() == b""


# Trouble with the store.


def break_folder(folder: Path) -> None:
    """Put a file where the store wants a folder: a look below it is an error, not an absence."""
    folder.rename(folder.with_name(f"{folder.name} aside"))
    folder.write_bytes(b"")


def test_a_store_that_cannot_say_is_a_counted_miss_and_no_failure(bench: Bench) -> None:
    result = bench.build(NODE)
    break_folder(bench.root / "store/actions/fetch")
    cache = open_cache(bench.root)
    found = cache.look_up("fetch", result.key)
    assert isinstance(found, Miss)
    assert found.reason.startswith("the store cannot say: ")
    assert not found.damaged, "what cannot be seen must not be replaced"
    assert cache.errors == 1


def test_blobs_that_cannot_be_read_are_a_counted_miss(bench: Bench) -> None:
    result = bench.build(NODE)
    break_folder(bench.root / f"store/blobs/sha256/{result.outputs[0].digest[:2]}")
    cache = open_cache(bench.root)
    found = cache.look_up("fetch", result.key)
    assert isinstance(found, Miss)
    assert found.reason.startswith("the store cannot say: ")
    assert cache.errors == 1


def test_a_listing_that_fails_is_counted_and_the_store_is_asked_instead(bench: Bench) -> None:
    result = bench.build(NODE)
    cache = open_cache(bench.root, store=UnlistedStore(bench.root / "store"))
    cache.prime()
    assert cache.errors == 1
    assert isinstance(cache.look_up("fetch", result.key), Hit)


class UnlistedStore(FolderStore):
    """A real store that may be read by name but not listed, as a bucket policy can have it."""

    def list(self, prefix: str) -> Iterator[Entry]:
        raise StoreError(f"403: may not list {prefix}")


def test_what_others_wrote_is_seen_once_the_listing_is_forgotten(bench: Bench) -> None:
    key = bound_of(bench).key
    cache = open_cache(bench.root)
    cache.prime()
    assert cache.look_up("fetch", key) == Miss(reason="not built yet")
    bench.build(NODE)
    assert cache.look_up("fetch", key) == Miss(reason="not built yet")
    cache.forget_listing()
    assert isinstance(cache.look_up("fetch", key), Hit)
