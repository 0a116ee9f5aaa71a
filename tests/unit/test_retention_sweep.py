"""gc over a real store: what goes, what stays and why, and what a crash does."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from tests.unit.swept import Yard
from tidemill.channels import put_release
from tidemill.errors import StoreError, UsageError
from tidemill.records import Release, encode
from tidemill.retention import SETTLED, WINDOW_OVER_SECONDS, Lease, Pin
from tidemill.store.folder import FolderStore
from tidemill.store.layout import (
    SEEN,
    blob_name,
    lease_name,
    mark_name,
    seen_name,
)
from tidemill.sweeping import Roots, read_locks
from tidemill.sweeping.pins import add_pin, remove_pin
from tidemill.sweeping.sweeper import Outrun


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def release_of(yard: Yard, *numbers: int) -> str:
    artifacts = tuple(yard.all[number] for number in numbers)
    return put_release(
        yard.store, Release(pipeline="p", toolchain="t", tools={}, artifacts=artifacts)
    )


def pin(yard: Yard, **fields: object) -> Pin:
    made = {"name": "p", "reason": "the paper", "owner": "me", "created_at": yard.hours.now}
    return msgspec.convert({**made, **fields}, Pin)


def lease(yard: Yard, run: str = "night", **fields: object) -> None:
    made = Lease(run=run, host="mill", began_at=yard.hours.now, beat="0")
    yard.store.replace(lease_name(run), encode(msgspec.structs.replace(made, **fields)))


def test_a_look_changes_nothing(yard: Yard) -> None:
    before = yard.files()
    plan = yard.gc().plan()
    assert {one.digest for one in plan.survey.candidates} == yard.going
    assert {one.digest for one in plan.fresh} == yard.going
    assert plan.marks == ()
    assert [kept.reason for kept in plan.survey.kept] == [
        "released: the only entry of channel smoke",
        "of kind mlir, which is not swept",
        "of kind verdict, which is not swept",
        "of kind vmfb, which is not swept",
    ]
    assert yard.files() == before


def test_what_the_last_entries_of_a_channel_name_stays(yard: Yard) -> None:
    plan = yard.gc(entries=2).plan()
    assert plan.survey.candidates == ()
    assert plan.survey.kept[0].reason == "released: the last 2 entries of channel smoke"
    assert plan.survey.kept[0].blobs == len({one.digest for one in yard.all})


def test_a_mark_removes_nothing_and_its_sweep_all_of_it_once_it_is_due(yard: Yard) -> None:
    before = yard.there()
    mark = yard.marked()
    assert yard.there() == before
    yard.hours.go(days=6.9)
    assert yard.gc().due() == []
    yard.hours.go(days=0.1)
    done = yard.swept()
    assert {one.digest for one in done.removed} == yard.going
    assert done.size == mark.size
    assert yard.there() == before - yard.going
    assert list(yard.store.list("gc")) == []
    assert yard.hours.slept == []


def test_a_second_gc_marks_nothing_twice(yard: Yard) -> None:
    mark = yard.marked()
    plan = yard.gc().plan()
    assert [each.mark for each in plan.marks] == [mark]
    assert plan.marks[0].sweepable_from == mark.at + timedelta(days=7)
    assert plan.fresh == ()
    assert yard.gc().mark(plan) is None


def test_without_grace_a_sweep_still_waits_until_every_host_has_seen_the_mark(yard: Yard) -> None:
    gc = yard.gc(grace=timedelta(0))
    gc.mark(gc.plan())
    yard.hours.go(seconds=30)
    (mark,) = gc.due()
    assert gc.sweep(mark).removed
    assert yard.hours.slept == [SETTLED.total_seconds() - 30]


def test_what_is_released_again_before_the_sweep_is_spared(yard: Yard) -> None:
    yard.marked()
    yard.shop.artifacts[:] = yard.all
    yard.shop.publish()
    yard.hours.go(days=8)
    done = yard.swept()
    assert done.removed == []
    assert dict(done.spared) == {"released: the only entry of channel smoke": 4}


def test_a_pinned_release_stays_until_the_pin_expires(yard: Yard) -> None:
    release = release_of(yard, 5, 6)
    today = yard.hours.now.date()
    add_pin(yard.store, pin(yard, release=release, expires=today))
    kept = {yard.all[number].digest for number in (5, 6)}
    plan = yard.gc().plan()
    assert {one.digest for one in plan.survey.candidates} == yard.going - kept
    assert any(each.reason == "pinned as p by me: the paper" for each in plan.survey.kept)
    yard.hours.go(days=1)
    assert {one.digest for one in yard.gc().plan().survey.candidates} == yard.going


def test_a_pinned_address_stays_with_what_its_targets_share(yard: Yard) -> None:
    add_pin(yard.store, pin(yard, address="stories/*/*/cpu"))
    candidates = {one.digest for one in yard.gc().plan().survey.candidates}
    kept = {one.digest for one in yard.all if one.address == "stories/decode/f32"}
    assert candidates == yard.going - kept
    remove_pin(yard.store, "p")
    assert {one.digest for one in yard.gc().plan().survey.candidates} == yard.going


def test_an_address_pin_says_what_was_gone_before(yard: Yard) -> None:
    whole = yard.shop.blob(yard.all[6]).read_bytes()
    yard.store.remove(blob_name(yard.all[6].digest))
    address = yard.all[6].address
    assert add_pin(yard.store, pin(yard, address=address)) == 1
    assert add_pin(yard.store, pin(yard, name="other", address="stories")) == 0
    assert yard.store.put_bytes(whole) == yard.all[6].digest
    remove_pin(yard.store, "p")
    assert add_pin(yard.store, pin(yard, address=address)) == 0


def test_what_is_no_blob_is_left_alone_and_stops_nothing(yard: Yard) -> None:
    # NFS leaves such files of what was removed while somebody had it open; others are people's.
    digest = next(iter(yard.going))
    strays = [f"{blob_name(digest)[:-64]}.nfs0001", "blobs/README", f"blobs/sha256/00/{digest}"]
    strays += [f"blobs/sha256/{digest[:2]}/{digest}.tmp"]
    for stray in strays:
        path = yard.shop.root / stray
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"stray")
    mark = yard.marked()
    assert {one.digest for one in mark.candidates} == yard.going
    yard.hours.go(days=8)
    assert {one.digest for one in yard.swept().removed} == yard.going
    assert all((yard.shop.root / stray).exists() for stray in strays)


def test_a_pin_of_a_release_that_is_not_whole_is_refused(yard: Yard) -> None:
    release = release_of(yard, 5, 6)
    yard.store.remove(blob_name(yard.all[6].digest))
    with pytest.raises(StoreError, match=r"^minilm/encoder/f32/model.irpa of that release cannot"):
        add_pin(yard.store, pin(yard, release=release))
    assert list(yard.store.list("pins")) == []


def test_a_name_is_pinned_once(yard: Yard) -> None:
    add_pin(yard.store, pin(yard, address="a"))
    with pytest.raises(UsageError, match=r"^there is a pin 'p' already$"):
        add_pin(yard.store, pin(yard, address="b"))
    remove_pin(yard.store, "p")
    with pytest.raises(UsageError, match=r"^there is no pin 'p'$"):
        remove_pin(yard.store, "p")


def test_what_a_lock_file_names_stays(yard: Yard, tmp_path: Path) -> None:
    file = tmp_path / "suite.lock"
    file.write_text(f'{{"release": "{release_of(yard, 5, 6)}"}}', encoding="utf-8")
    plan = yard.gc(locks=read_locks(yard.store, [file])).plan()
    kept = {yard.all[number].digest for number in (5, 6)}
    assert {one.digest for one in plan.survey.candidates} == yard.going - kept
    assert any(each.reason == f"locked by {file}" for each in plan.survey.kept)


def test_a_lock_file_that_cannot_keep_anything_is_an_error(yard: Yard, tmp_path: Path) -> None:
    file = tmp_path / "suite.lock"
    for text, message in (
        ("{}", f"{file} names no release"),
        (
            f'{{"release": "{"0" * 64}"}}',
            f"{file} locks release 000000000000…, which is not in {yard.store.url}",
        ),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError) as caught:
            read_locks(yard.store, [file])
        assert caught.value.message == message
    with pytest.raises(UsageError, match="cannot be read: No such file or directory"):
        read_locks(yard.store, [tmp_path / "absent"])


def test_what_was_written_again_since_the_mark_is_spared(yard: Yard) -> None:
    yard.marked()
    again = min(yard.going)
    data = yard.store.read(blob_name(again))
    assert data is not None
    yard.store.remove(blob_name(again))
    yard.store.put_bytes(data)
    yard.store.remove(blob_name(max(yard.going)))
    yard.hours.go(days=8)
    done = yard.swept()
    assert dict(done.spared) == {"written again since the mark": 1, "gone already": 1}
    assert yard.there() & yard.going == {again}


def test_a_sweep_waits_for_a_run_that_does_not_know_the_mark(yard: Yard) -> None:
    lease(yard)
    mark = yard.marked()
    lease(yard, "later", knows=(mark.id,))
    for beat in range(1, 9):
        yard.hours.go(days=1)
        lease(yard, beat=str(beat))
    done = yard.swept()
    assert [each.run for each in done.waits_for] == ["night"]
    assert done.removed == []
    (seen,) = yard.gc().plan().marks
    assert [each.run for each in seen.waits_for] == ["night"]
    yard.store.remove(lease_name("night"))
    assert {one.digest for one in yard.swept().removed} == yard.going


def test_a_killed_run_is_waited_for_until_gc_has_seen_its_lease_unchanged_for_a_day(
    yard: Yard,
) -> None:
    lease(yard)
    yard.hours.go(days=400)  # how old it is by any other clock says nothing
    yard.marked()
    yard.hours.go(hours=23)
    gc = yard.gc(grace=timedelta(0))
    (mark,) = gc.due()
    assert [each.run for each in gc.sweep(mark).waits_for] == ["night"]
    yard.hours.go(hours=1)
    assert gc.sweep(mark).removed
    assert gc.mark(gc.plan()) is None
    assert list(yard.store.list("leases")) == []
    gc.mark(gc.plan())
    assert list(yard.store.list(SEEN)) == []


def test_a_damaged_lease_is_that_of_a_run_that_knows_nothing(yard: Yard) -> None:
    yard.store.replace(lease_name("night"), b"\xff")
    yard.marked()
    yard.hours.go(days=7)
    gc = yard.gc()
    (mark,) = gc.due()
    done = gc.sweep(mark)
    assert done.removed  # gc has seen it so for a week
    assert seen_name("night", "damaged") in {entry.name for entry in yard.store.list(SEEN)}


class Dying(FolderStore):
    """The process ends instead of its second removal of a blob."""

    removals = 0

    def remove(self, name: str) -> None:
        self.removals += name.startswith("blobs/")
        if self.removals > 1:
            raise KeyboardInterrupt
        super().remove(name)


def test_after_a_killed_sweep_another_does_the_rest(yard: Yard) -> None:
    yard.marked()
    yard.hours.go(days=8)
    dying = yard.gc(store=Dying(yard.shop.root))
    (mark,) = dying.due()
    with pytest.raises(KeyboardInterrupt):
        dying.sweep(mark)
    assert len(yard.there() & yard.going) == 3
    done = yard.swept()
    assert len(done.removed) == 3
    assert sum(yard.hours.slept) == WINDOW_OVER_SECONDS
    assert yard.there() & yard.going == set()
    assert list(yard.store.list("gc")) == []


class Beaten(FolderStore):
    """Another gc always announces its window first."""

    def create(self, name: str, data: bytes) -> bool:
        if "/window-" in name:
            super().create(name, b"{}")
        return super().create(name, data)


def test_of_two_gcs_one_sweeps(yard: Yard) -> None:
    yard.marked()
    yard.hours.go(days=8)
    gc = yard.gc(store=Beaten(yard.shop.root))
    (mark,) = gc.due()
    with pytest.raises(Outrun, match=rf"^another gc is sweeping mark {mark.id} of "):
        gc.sweep(mark)
    assert yard.going <= yard.there()


def test_a_mark_that_another_gc_has_closed_is_left_alone(yard: Yard) -> None:
    yard.marked()
    yard.hours.go(days=8)
    gc = yard.gc()
    (mark,) = gc.due()
    yard.store.remove(mark_name(mark.id))
    assert gc.sweep(mark).removed == []
    assert yard.going <= yard.there()
    assert list(yard.store.list("gc")) == []


def test_a_store_that_is_too_slow_to_be_swept_is_an_error(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard.marked()
    yard.hours.go(days=8)
    gc = yard.gc()
    (mark,) = gc.due()
    read = Roots.claims

    def slowly(self: Roots, **more: object) -> object:
        yard.hours.go(seconds=181)
        return read(self, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Roots, "claims", slowly)
    with pytest.raises(StoreError, match=r"takes longer than the 180 s within which"):
        gc.sweep(mark)
    assert yard.going <= yard.there()
