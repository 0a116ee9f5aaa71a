"""gc and pin as a person types them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from tests.unit.swept import Yard
from tidemill import channels, keeping
from tidemill.cli.retention import gc, pin
from tidemill.errors import UsageError
from tidemill.records import encode
from tidemill.retention import Lease
from tidemill.store.layout import blob_name, lease_name


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Yard:
    yard = Yard(tmp_path)
    monkeypatch.setattr(keeping, "CLOCK", yard.hours.clock)
    return yard


def call(yard: Yard, command: click.Command, *arguments: str, data: bool = False) -> Result:
    more = ["--json"] if data else []
    done = CliRunner().invoke(command, [*arguments, "--store", yard.store.url, *more])
    if isinstance(done.exception, UsageError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture
def collect(yard: Yard) -> Callable[..., str]:
    """``tidemill gc --entries 1 …``; what it says."""

    def collect(*arguments: str) -> str:
        return call(yard, gc, "--entries", "1", *arguments).stdout

    return collect


def test_without_a_word_more_it_is_a_look(yard: Yard, collect: Callable[..., str]) -> None:
    before = yard.files()
    said = collect()
    assert said == (
        "keeps 6 blobs (16 kB): released: the only entry of channel smoke\n"
        "keeps 2 blobs (4.6 kB): of kind mlir, which is not swept\n"
        "keeps 2 blobs (6.0 kB): of kind verdict, which is not swept\n"
        "keeps 2 blobs (5.4 kB): of kind vmfb, which is not swept\n"
        "may go: 2 blobs (4.6 kB) of kind irpa\n"
        "may go: 2 blobs (5.6 kB) of kind reference\n"
        "Nothing was changed. --yes marks this, and removes what was marked long enough ago.\n"
    )
    assert yard.files() == before


def test_yes_marks_and_after_the_grace_removes(yard: Yard, collect: Callable[..., str]) -> None:
    first = collect("--yes").splitlines()
    (mark,) = yard.gc().plan().marks
    assert first[-1] == f"marked 4 blobs (10 kB), to be removed in 7 days: {mark.mark.id}"
    yard.hours.go(days=7)
    second = collect("--yes").splitlines()
    assert second[-2:] == [
        f"marked before: 4 blobs (10 kB), goes from 2026-11-27 03:00 UTC: {mark.mark.id}",
        f"removed 4 blobs (10 kB) of mark {mark.mark.id}",
    ]
    assert yard.there() & yard.going == set()
    assert "may go: nothing\n" in collect()


def test_json_is_data_alone(yard: Yard) -> None:
    look = json.loads(call(yard, gc, "--entries", "1", data=True).stdout)
    assert {one["digest"] for one in look["candidates"]} == yard.going
    assert look["bytes"] == sum(one["size"] for one in look["candidates"])
    assert look["kept"][0]["reason"] == "released: the only entry of channel smoke"
    assert (look["marks"], look["marked"], look["swept"]) == ([], None, [])
    marked = json.loads(call(yard, gc, "--entries", "1", "--yes", data=True).stdout)["marked"]
    yard.hours.go(days=8)
    done = json.loads(call(yard, gc, "--entries", "1", "--yes", data=True).stdout)
    (mark,), (swept,) = done["marks"], done["swept"]
    assert (mark["id"], mark["blobs"]) == (marked, 4)
    assert set(swept["removed"]) == yard.going
    assert swept["waits_for"] == []


def test_a_run_at_work_is_named_and_can_be_said_to_be_gone(
    yard: Yard, collect: Callable[..., str]
) -> None:
    lease = Lease(run="night-7", host="mill", began_at=yard.hours.now, beat="1")
    collect("--yes")
    yard.store.create(lease_name("night-7"), encode(lease))
    yard.hours.go(days=8)
    waits = "night-7 on mill, since 2026-11-20 03:00 UTC"
    assert f"waits for run {waits}; was it killed? --gone night-7\n" in collect()
    said = collect("--yes")
    assert said.endswith(f" waits for {waits}\n")
    with pytest.raises(UsageError, match="--gone changes the store"):
        collect("--gone", "night-7")
    with pytest.raises(UsageError, match=r"^no run night-8 is at work$"):
        collect("--yes", "--gone", "night-8")
    assert "removed 4 blobs" in collect("--yes", "--gone", "night-7")


def test_what_is_spared_is_counted_with_its_reason(yard: Yard, collect: Callable[..., str]) -> None:
    collect("--yes")
    yard.shop.artifacts[:] = yard.all
    yard.shop.publish()
    yard.hours.go(days=8)
    assert collect("--yes").endswith(
        "  spared 4 blobs: released: the only entry of channel smoke\n"
    )


def test_other_kinds_go_only_when_they_are_named(yard: Yard, collect: Callable[..., str]) -> None:
    assert "may go: 2 blobs (5.4 kB) of kind vmfb\n" in collect("--kind", "vmfb")
    assert "of kind irpa" in collect("--kind", "all")
    assert "of kind irpa, which is not swept" in collect("--kind", "vmfb")


def test_a_lock_file_keeps_its_release(
    yard: Yard, tmp_path: Path, collect: Callable[..., str]
) -> None:
    first = channels.history(yard.store, "smoke")[-1].release
    (tmp_path / "suite.lock").write_text(f'{{"release": "{first}"}}', encoding="utf-8")
    said = collect("--keep-lock", str(tmp_path / "suite.lock"))
    assert f"locked by {tmp_path / 'suite.lock'}\n" in said
    assert "may go: nothing\n" in said


def test_pins_are_added_listed_and_removed(yard: Yard, collect: Callable[..., str]) -> None:
    added: list[Any] = [
        call(yard, pin, "add", "paper", "--release", "smoke@1", "--reason", "table 3", "--owner",
             "me", "--expires", "2100-01-31").stdout,
        call(yard, pin, "add", "old", "--address", "stories/*", "--reason", "demo", "--owner",
             "you", "--expires", "2020-01-31").stdout,
    ]  # fmt: skip
    first = channels.history(yard.store, "smoke")[-1].release
    lines = [
        f"paper: release {first[:12]} until 2100-01-31, by me: table 3\n",
        "old: stories/* until 2020-01-31 (expired), by you: demo\n",
    ]
    assert added == lines
    assert call(yard, pin, "list").stdout == "".join(reversed(lines))
    listed = json.loads(call(yard, pin, "list", data=True).stdout)
    assert [(one["name"], one["release"]) for one in listed] == [("old", ""), ("paper", first)]
    assert "pinned as paper by me: table 3\n" in collect()
    call(yard, pin, "remove", "paper")
    assert "pinned" not in collect()


def test_a_pin_of_an_address_says_what_was_gone_before(yard: Yard) -> None:
    yard.store.remove(blob_name(yard.all[6].digest))
    why = ("--reason", "r", "--owner", "o")
    done = call(yard, pin, "add", "p", "--address", "minilm/*", *why)
    assert done.stdout == "p: minilm/*, by o: r\n"
    assert done.stderr == "1 blob of what minilm/* picks had gone before\n"


def test_a_pin_keeps_a_release_or_an_address(yard: Yard) -> None:
    why = ("--reason", "r", "--owner", "o")
    with pytest.raises(UsageError, match=r"^give either --release or --address$"):
        call(yard, pin, "add", "p", *why)
    with pytest.raises(UsageError, match="has more than four parts"):
        call(yard, pin, "add", "p", "--address", "a/b/c/d/e", *why)
    with pytest.raises(UsageError, match="is neither a channel of"):
        call(yard, pin, "add", "p", "--release", "nightly", *why)
    assert msgspec.to_builtins(list(yard.store.list("pins"))) == []
