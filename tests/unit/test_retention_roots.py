"""What keeps a blob, read from documents that may be damaged, unknown, or not to be trusted."""

from pathlib import Path

import msgspec
import pytest

from tests.unit.made import Bench, failure_of, graph_of
from tests.unit.swept import Yard
from tidemill.channels import head
from tidemill.digest import digest_bytes
from tidemill.errors import StoreError
from tidemill.records import Output
from tidemill.store.layout import (
    blob_name,
    channel_name,
    hint_name,
    kept_name,
    mark_name,
    pin_name,
    release_name,
    window_name,
)
from tidemill.sweeping.roots import kinds_of

STOPS = "; until then nothing is removed"


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def refused(yard: Yard) -> StoreError:
    """What a look says; a sweep that is due says the same and removes nothing."""
    with pytest.raises(StoreError) as caught:
        yard.gc().plan()
    assert caught.value.hint.endswith(STOPS)
    assert caught.value.message.startswith("gc cannot know what is to be kept: ")
    for mark in yard.gc().due():
        with pytest.raises(StoreError) as again:
            yard.gc().sweep(mark)
        assert again.value.message == caught.value.message
    assert yard.going <= yard.there()
    return caught.value


@pytest.fixture
def due(yard: Yard) -> Yard:
    """A mark that could be swept."""
    yard.marked()
    yard.hours.go(days=8)
    return yard


def test_a_kept_entry_that_names_no_release_stops_gc(due: Yard) -> None:
    due.store.replace(channel_name("smoke", 2), b"\xff\x00")
    assert refused(due).message.endswith("smoke/00000002.json names no release of the store")


def test_an_entry_too_old_to_be_kept_may_be_damaged(due: Yard) -> None:
    due.store.replace(channel_name("smoke", 1), b"")
    assert due.swept().removed


@pytest.mark.parametrize("damage", [b"", b"{}", None])
def test_a_kept_release_that_cannot_be_read_stops_gc(due: Yard, damage: bytes | None) -> None:
    entry = head(due.store, "smoke")
    assert entry is not None
    if damage is None:
        due.store.remove(release_name(entry.release))
    else:
        due.store.replace(release_name(entry.release), damage)
    refused(due)


def test_a_damaged_pin_stops_gc_and_says_how_to_go_on(due: Yard) -> None:
    due.store.replace(pin_name("paper"), b"{")
    error = refused(due)
    assert "pins/paper.json is damaged" in error.message
    assert error.hint == f"remove it with `tidemill pin remove paper`, and pin again{STOPS}"


def test_who_signed_an_entry_does_not_matter_here(yard: Yard) -> None:
    for entry in list(yard.store.list("trust")):
        yard.store.remove(entry.name)
    yard.store.remove(hint_name("smoke"))
    assert {one.digest for one in yard.gc().plan().survey.candidates} == yard.going


def test_whatever_else_a_channels_documents_name_stays(yard: Yard) -> None:
    named = min(yard.going)
    yard.store.replace("channels/smoke/metadata.json", f'{{"blob": "{named}"}}'.encode())
    plan = yard.gc().plan()
    assert {one.digest for one in plan.survey.candidates} == yard.going - {named}
    assert plan.survey.kept[1].reason == "named by a channel's documents"


def test_a_field_of_a_release_that_nobody_knows_yet_keeps_what_it_names(yard: Yard) -> None:
    named = min(yard.going)
    entry = head(yard.store, "smoke")
    assert entry is not None
    written = yard.store.read(release_name(entry.release)) or b""
    newer = written.replace(b"{", f'{{"later": "{named}",'.encode(), 1)
    digest = digest_bytes(newer)
    yard.store.create(release_name(digest), newer)
    document = yard.store.read(channel_name("smoke", 2)) or b""
    yard.store.replace(
        channel_name("smoke", 2), document.replace(entry.release.encode(), digest.encode())
    )
    assert named not in {one.digest for one in yard.gc().plan().survey.candidates}


def test_a_damaged_mark_is_never_swept(due: Yard) -> None:
    (mark,) = due.gc().due()
    due.store.replace(mark_name(mark.id), b"{")
    assert due.gc().due() == []
    assert due.gc().plan().marks == ()


def test_what_closed_marks_have_left_is_tidied_away_and_open_ones_stay(due: Yard) -> None:
    (mark,) = due.gc().due()
    kept = kept_name(mark.id, min(due.going))
    left = (kept_name("closed", "a" * 64), window_name("closed", 1), "gc/seen/ended.4.json")
    for name in (kept, *left):
        due.store.create(name, b"{}")
    due.gc().mark(due.gc().plan())
    assert {entry.name for entry in due.store.list("gc")} == {mark_name(mark.id), kept}


def test_records_say_what_a_blob_is(tmp_path: Path) -> None:
    bench = Bench(root=tmp_path, graph=graph_of(tmp_path / "workspace"))
    bench.build_all()
    store = bench.cache.store
    node = bench.graph.nodes["compile:tiny/encoder/f32/cpu"]
    bundle = Output(name="b", kind="bundle", digest=store.put_bytes(b"why"), size=3)
    bench.cache.record_failure(msgspec.structs.replace(failure_of(node), bundle=bundle))
    store.replace("actions/pack/" + "0" * 64 + ".json", b"damaged")
    lost = store.put_bytes(b"nothing names it")
    blobs = frozenset(entry.name.rpartition("/")[2] for entry in store.list("blobs"))
    kinds = kinds_of(store, blobs)
    assert kinds.keys() == blobs - {lost}
    assert kinds[bundle.digest] == {"failure"}
    result = bench.cache.result("export", bench.key("export:tiny/encoder/f32"))
    assert result is not None
    assert kinds[result.outputs[0].digest] == {"mlir"}
    assert kinds[result.log.digest] == {"log"}
    assert kinds_of(store, frozenset()) == {}
    assert store.stat(blob_name(lost)) is not None
