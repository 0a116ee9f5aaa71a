"""Copies of records of a far store: by stamp, checked by seal, and never more than a saving."""

import os
import time
from pathlib import Path

import pytest

from tests.unit.made import DAMAGES, Bench, graph_of
from tidemill.cache import Cache, Hit
from tidemill.copies import KEPT_SECONDS, Copies
from tidemill.records import ActionResult
from tidemill.store.folder import FolderStore
from tidemill.store.listing import SETTLE_SECONDS
from tidemill.store.verified import Verified

NODE = "fetch:tiny/package"


class FarStore(FolderStore):
    """A real store that counts how often a record was read."""

    reads = 0

    def read(self, name: str) -> bytes | None:
        self.reads += name.startswith("actions/")
        return super().read(name)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(root=tmp_path, graph=graph_of(tmp_path / "workspace"))


def look(bench: Bench, key: str) -> tuple[ActionResult | None, int]:
    """The record as a new process finds it, and how often the store was read for it."""
    store = FarStore(bench.root / "store")
    folder = bench.root / "far"
    copies = Copies(folder / "records", url=store.url)
    cache = Cache(store, Verified(folder), folder / "index.msgpack", copies)
    cache.prime()
    assert isinstance(cache.look_up("fetch", key), Hit)
    found = cache.result("fetch", key)
    cache.save_index()
    return found, store.reads


def built(bench: Bench) -> ActionResult:
    """A result whose record has a stamp that can be met again."""
    result = bench.build(NODE)
    time.sleep(2 * SETTLE_SECONDS)
    return result


def copy_of(bench: Bench) -> Path:
    (found,) = (bench.root / "far/records").iterdir()
    return found


def test_a_record_is_read_from_the_store_once(bench: Bench) -> None:
    result = built(bench)
    assert look(bench, result.key) == (result, 1)
    assert look(bench, result.key) == (result, 0)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_is_read_again(bench: Bench, damage: str) -> None:
    result = built(bench)
    look(bench, result.key)
    path = copy_of(bench)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert look(bench, result.key) == (result, 1)
    assert look(bench, result.key) == (result, 0)


def test_a_record_that_was_replaced_is_read_again(bench: Bench) -> None:
    result = built(bench)
    look(bench, result.key)
    newer = bench.cache.record(result, replacing=True)
    time.sleep(2 * SETTLE_SECONDS)
    found, reads = look(bench, result.key)
    assert (found, reads) == (newer, 1)


def test_copies_that_cannot_be_kept_fail_nothing(bench: Bench) -> None:
    result = built(bench)
    (bench.root / "far").mkdir()
    (bench.root / "far/records").write_bytes(b"in the way")
    assert look(bench, result.key) == (result, 2)
    assert look(bench, result.key) == (result, 1)


def test_old_copies_go_when_new_ones_come(bench: Bench, tmp_path: Path) -> None:
    copies = Copies(tmp_path / "records", url="s3://bucket/a")
    copies.put("actions/fetch/a.json", stamp="1", data=b"a")
    (old,) = (tmp_path / "records").iterdir()
    long_ago = time.time() - KEPT_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    copies.put("actions/fetch/b.json", stamp="1", data=b"b")
    copies.tidy()
    assert copies.get("actions/fetch/a.json", stamp="1") is None
    assert copies.get("actions/fetch/b.json", stamp="1") == b"b"


def test_stores_do_not_share_copies(tmp_path: Path) -> None:
    Copies(tmp_path, url="s3://bucket/a").put("actions/fetch/a.json", stamp="1", data=b"a")
    assert Copies(tmp_path, url="s3://bucket/b").get("actions/fetch/a.json", stamp="1") is None
