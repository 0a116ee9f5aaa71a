"""How what is in use is kept: a word for each blob, leases of runs, and moves of channels."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.signing import SIGNER
from tests.unit.made import Bench, failure_of, graph_of, open_cache
from tests.unit.swept import Yard
from tidemill import channels, keeping, moves
from tidemill.cache import Hit, Miss
from tidemill.errors import StoreError
from tidemill.keeping import Keeper, at_work, last_window
from tidemill.records import Output, encode
from tidemill.retention import WINDOW_OVER_SECONDS, Condemned, Lease, Mark
from tidemill.store.contract import Store
from tidemill.store.folder import FolderStore
from tidemill.store.layout import blob_name, kept_name, lease_name, mark_name, window_name

NODE = "pack:tiny/encoder/f32"


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(root=tmp_path, graph=graph_of(tmp_path / "workspace"))
    bench.build_all()
    return bench


def condemn(store: Store, *digests: str, mark: str = "m") -> None:
    """A mark that names these blobs."""
    one = [Condemned(digest=each, size=1, stamp="s", kinds=("irpa",)) for each in digests]
    now = keeping.CLOCK.now()
    made = Mark(id=mark, at=now, host="mill", candidates=tuple(one))
    store.create(mark_name(mark), encode(made))


def lease_of(store: Store, run: str) -> Lease:
    return msgspec.json.decode(store.read(lease_name(run)) or b"", type=Lease)


def test_only_what_a_known_mark_has_condemned_is_told(yard: Yard) -> None:
    keeper = Keeper(yard.store, clock=yard.hours.clock)
    mark = yard.marked()
    used, other = sorted(yard.going)[:2]
    assert keeper.keep([used]) == frozenset()
    assert keeper.learn() == (mark.id,)
    assert keeper.keep([used, "0" * 64]) == {used}
    assert keeper.keep([used]) == {used}
    assert keeper.keep(["0" * 64]) == frozenset()
    yard.hours.go(days=8)
    done = yard.swept()
    assert dict(done.spared) == {"a run relies on it": 1}
    assert yard.there() & yard.going == {used}
    assert other not in yard.there()
    assert yard.hours.slept == []


@pytest.mark.parametrize("ends", [True, False])
def test_what_is_being_removed_is_waited_out(yard: Yard, ends: bool) -> None:
    """Until the window ends, or until nothing announced in it can be under way any more."""
    mark = yard.marked()
    yard.store.create(window_name(mark.id, 7), b"{}")
    keeper = Keeper(yard.store, clock=yard.hours.clock)
    keeper.learn()

    def asleep() -> None:
        assert yard.store.stat(kept_name(mark.id, used)) is not None
        if ends and len(yard.hours.slept) == 2:
            yard.store.create(window_name(mark.id, 7, ended=True), b"{}")

    yard.hours.asleep = asleep
    used, other = sorted(yard.going)[:2]
    keeper.keep([used])
    assert last_window(yard.store, mark.id) == (7, ends)
    slept = sum(yard.hours.slept)
    assert slept == WINDOW_OVER_SECONDS if not ends else len(yard.hours.slept) == 3
    keeper.keep([other])
    assert sum(yard.hours.slept) == slept, "a window is waited out once"


def test_a_newer_window_means_that_the_older_is_over(yard: Yard) -> None:
    mark = yard.marked()
    yard.store.create(window_name(mark.id, 1), b"{}")
    keeper = Keeper(yard.store, clock=yard.hours.clock)
    yard.hours.asleep = lambda: (yard.store.create(window_name(mark.id, 2), b"{}"), None)[1]
    assert keeper.wait_out(mark.id) == 1
    assert len(yard.hours.slept) == 1


def test_a_channel_does_not_move_to_a_release_whose_blobs_are_gone(yard: Yard) -> None:
    yard.marked()
    yard.hours.go(days=8)
    yard.swept()
    with pytest.raises(StoreError) as caught:
        moves.rollback(yard.store, "smoke", run="r", reason="it was better", signer=SIGNER)
    assert caught.value.message == (
        "minilm/encoder/f32/model.irpa and 3 more of that release cannot be had from"
        f" {yard.store.url}: gc has removed the blob since nothing kept named it, or it was damaged"
    )
    assert channels.latest(yard.store, "smoke") == 2


def test_a_channel_that_moves_keeps_what_is_condemned(yard: Yard) -> None:
    mark = yard.marked()
    moves.rollback(yard.store, "smoke", run="r", reason="it was better", signer=SIGNER)
    kept = {entry.name for entry in yard.store.list("gc")} - {mark_name(mark.id)}
    assert kept == {kept_name(mark.id, digest) for digest in yard.going}


def test_a_run_is_announced_while_it_works(yard: Yard) -> None:
    mark = yard.marked()

    def work() -> None:
        keeper = Keeper(yard.store)
        with at_work(yard.store, run="night", keeper=keeper) as why:
            assert why == ""
            assert lease_of(yard.store, "night").knows == (mark.id,)
            assert keeper.keep([min(yard.going)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert yard.store.stat(lease_name("night")) is None


def test_a_lease_is_renewed_and_stays_as_it_is_otherwise(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "RENEW_SECONDS", 0.01)
    mark = yard.marked()
    with at_work(yard.store, run="night", keeper=Keeper(yard.store)):
        began = lease_of(yard.store, "night")
        _until(lambda: lease_of(yard.store, "night").beat != began.beat)
        later = lease_of(yard.store, "night")
    assert msgspec.structs.replace(later, beat=began.beat) == began
    assert later.knows == (mark.id,)
    assert list(yard.store.list("leases")) == []


def _until(done: Callable[[], bool]) -> None:
    for _ in range(2000):
        if done():
            return
        time.sleep(0.005)
    pytest.fail("it does not come")


class Full(FolderStore):
    """No document can be written."""

    def create(self, name: str, data: bytes) -> bool:
        raise StoreError(f"cannot write {name} of {len(data)} bytes", hint="free space")

    def replace(self, name: str, data: bytes) -> None:
        self.create(name, data)


def test_a_run_that_cannot_be_announced_goes_on_and_says_so(yard: Yard) -> None:
    store = Full(yard.shop.root)
    with at_work(store, run="night", keeper=Keeper(store)) as why:
        assert why.startswith(
            "gc was not told of this run, and may remove what it found:"
            " cannot write leases/night.json of "
        )


def test_a_hit_keeps_what_it_found(bench: Bench) -> None:
    found = bench.cache.look_up("pack", bench.key(NODE))
    assert isinstance(found, Hit)
    digests = {output.digest for output in found.outputs}
    condemn(bench.cache.store, *digests)
    bench.cache.keeper.learn()
    assert bench.cache.look_up("pack", bench.key(NODE)) == found
    kept = {entry.name for entry in bench.cache.store.list("gc")} - {mark_name("m")}
    assert kept == {kept_name("m", digest) for digest in digests}


def test_what_was_listed_before_it_was_kept_is_looked_at_again(bench: Bench) -> None:
    cache = open_cache(bench.root)
    key = bench.key(NODE)
    found = cache.look_up("pack", key)
    assert isinstance(found, Hit)
    cache.prime()
    condemn(cache.store, found.outputs[0].digest)
    cache.keeper.learn()
    cache.store.remove(blob_name(found.outputs[0].digest))
    missing = cache.look_up("pack", key)
    assert isinstance(missing, Miss)
    assert missing.reason.endswith("is missing")


def test_a_failure_that_is_met_again_keeps_its_log_and_bundle(bench: Bench) -> None:
    store, node = bench.cache.store, bench.graph.nodes["compile:tiny/encoder/f32/cpu"]
    parts: dict[str, Any] = {
        name: Output(name=name, kind=name, digest=store.put_bytes(name.encode()), size=len(name))
        for name in ("log", "bundle")
    }
    bench.cache.record_failure(msgspec.structs.replace(failure_of(node), **parts))
    condemn(store, *(output.digest for output in parts.values()))
    bench.cache.keeper.learn()
    assert bench.cache.failure("compile", "0" * 64) is not None
    for output in parts.values():
        assert store.stat(kept_name("m", output.digest)) is not None


def test_a_store_that_takes_no_word_for_a_blob_makes_a_miss(bench: Bench) -> None:
    found = bench.cache.look_up("pack", bench.key(NODE))
    assert isinstance(found, Hit)
    condemn(bench.cache.store, found.outputs[0].digest)
    cache = open_cache(bench.root, store=Full(bench.root / "store"))
    cache.keeper.learn()
    missing = cache.look_up("pack", bench.key(NODE))
    assert isinstance(missing, Miss)
    assert missing.reason.startswith("the store cannot say: cannot write gc/m/kept-")
    assert cache.errors == 1
