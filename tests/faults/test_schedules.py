"""A part of `make faults` for every day, and the proof that it would notice."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import nights
from tests.faults.killed import Killing
from tests.faults.proxy import FAULTS, Proxy, running_proxy
from tests.faults.spoiled import Spoiling, Tally
from tests.servers import WRITER, S3Server, seaweedfs, use
from tidemill.digest import Digest
from tidemill.keeping import Keeper
from tidemill.store.folder import FolderStore
from tidemill.store.s3 import S3Store

__all__ = ["seaweedfs"]


@pytest.fixture
def proxy(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    use(WRITER, monkeypatch)
    with running_proxy(seaweedfs.endpoint) as running:
        yield running


@pytest.mark.parametrize("fault", FAULTS)
def test_no_spoiled_request_of_a_night_is_ever_seen_by_a_reader(
    seaweedfs: S3Server, proxy: Proxy, tmp_path: Path, fault: str
) -> None:
    tally = Tally()
    spoiling = Spoiling(seaweedfs, proxy, f"daily-{fault}", tmp_path, tally)
    requests = spoiling.requests_of_a_night()
    for first in range(FAULTS.index(fault) % 3, requests, 3):
        spoiling.run({first: fault})
    for_good = dict.fromkeys(range(requests // 2, 400), fault)
    spoiling.run(for_good)
    assert tally.violations == []
    assert tally.faults >= requests // 3


def test_no_kill_before_an_effect_is_ever_seen_by_a_reader(tmp_path: Path) -> None:
    tally = Tally()
    killing = Killing(tmp_path / "work", tally)
    effects = killing.effects_of_a_night()
    for first in range(0, effects, 2):
        killing.run((first, (first * 7 + 3) % effects))
    assert tally.violations == []
    assert tally.faults >= effects // 2


def test_a_channel_that_moves_before_its_blobs_are_there_is_noticed(
    seaweedfs: S3Server, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = S3Store.put_blob

    def careless(self: S3Store, source: Path, *, digest: Digest) -> bool:
        return "vmfb" in source.name or kept(self, source, digest=digest)

    monkeypatch.setattr(S3Store, "put_blob", careless)
    monkeypatch.setattr(Keeper, "hold", lambda _self, _release: None)
    tally = Tally()
    spoiling = Spoiling(seaweedfs, proxy, "careless", tmp_path, tally)
    spoiling.run({})
    assert any("a reader sees what is not whole" in one for one in tally.violations)


def test_a_store_that_writes_in_place_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_place(self: FolderStore, temporary: Path, final: Path) -> None:
        final.parent.mkdir(parents=True, exist_ok=True)
        data = temporary.read_bytes()
        for half in (data[: len(data) // 2], data[len(data) // 2 :]):
            with final.open("ab") as stream:
                stream.write(half)

    monkeypatch.setattr(FolderStore, "_install", in_place)
    tally = Tally()
    killing = Killing(tmp_path / "work", tally)
    for first in itertools.takewhile(lambda _: not tally.violations, range(60)):
        killing.run((first, -1))
    assert tally.violations


def test_a_night_is_all_that_a_run_writes(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    nights.publish(store, 1, scratch=tmp_path)
    shutil.rmtree(tmp_path / "store" / "tmp")
    rooms: Any = sorted({entry.name.split("/")[0] for entry in store.list("")})
    assert rooms == [
        "actions", "blobs", "channels", "provenance", "releases", "runs", "trust",
    ]  # fmt: skip
