"""A night whose store is a bucket: built through it, reused from it, pulled out of it."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.proxy import Faults, Proxy, running_proxy
from tests.servers import WRITER, S3Server, use
from tests.workbench import Workbench


def test_what_a_night_puts_into_a_bucket_is_reused_and_pulled(
    fresh: Workbench, s3_url: str, tmp_path: Path
) -> None:
    store, target = ("--store", s3_url), tmp_path / "pulled"
    assert set(fresh.run("small", *store).outcomes.values()) == {"built", "unvalidated"}
    assert set(fresh.run("small", *store).outcomes.values()) == {"reused", "unvalidated"}
    listed = fresh.call("ls", "tiny/*", *store, "--json").json
    fresh.call("pull", "tiny/*", "--channel", "small", "--to", str(target), *store)
    pulled = {
        path.relative_to(target).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in target.rglob("*")
        if path.is_file()
    }
    expected = {one["file"]: one["digest"] for one in listed if one["channel"] == "small"}
    assert expected
    assert pulled.items() >= expected.items()
    assert not fresh.store.exists()


# What a night asks of a bucket.

MODELS = ("tiny", "twin")


@pytest.fixture
def proxy(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    use(WRITER, monkeypatch)
    with running_proxy(seaweedfs.endpoint) as running:
        yield running


class Night:
    """Runs of pipeline ``small`` over one bucket, whose requests are written down."""

    def __init__(self, bench: Workbench, server: S3Server, proxy: Proxy) -> None:
        self.bench, self.proxy = bench, proxy
        url = server.store_url(os.urandom(6).hex())
        self.store = ("--store", url.replace(server.endpoint, proxy.endpoint))

    def run(self) -> list[str]:
        """What one run built; ``asked`` then has its requests."""
        self.proxy.faults = Faults()
        return sorted(self.bench.run("small", *self.store).built)

    def asked(self, method: str, room: str) -> list[str]:
        """The paths below a room of the store that were asked for with a method."""
        asked = (one.partition("?")[0] for one in self.proxy.faults.asked)
        return [
            one.rpartition(f"/{room}/")[2]
            for one in asked
            if one.startswith(f"{method} ") and f"/{room}/" in one
        ]


@pytest.fixture
def night(fresh: Workbench, seaweedfs: S3Server, proxy: Proxy) -> Night:
    return Night(fresh, seaweedfs, proxy)


def test_a_night_without_news_asks_for_no_record_and_no_blob_by_name(night: Night) -> None:
    assert night.run()
    assert night.run() == []
    for room in ("actions", "failures", "blobs"):
        for method in ("GET", "HEAD", "PUT"):
            assert night.asked(method, room) == [], f"{method} {room}"
    listings = [one for one in night.proxy.faults.asked if "list-type=2" in one]
    assert 0 < len(listings) < 20


def test_what_a_worker_has_hashed_is_not_fetched_to_be_hashed_again(night: Night) -> None:
    night.run()
    fetched = set(map(_last, night.asked("GET", "blobs")))
    listed = night.bench.call("ls", "tiny/net/f32/gfx942", *night.store, "--json").json
    (vmfb,) = (one["digest"] for one in listed if one["kind"] == "vmfb")
    assert fetched
    assert vmfb not in fetched


def test_a_plan_over_a_store_that_does_not_answer_is_no_plan(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.run()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    done = night.bench.call("plan", "small", *night.store, expect=5)
    assert "error: the store could not answer" in done.err
    assert "SignatureDoesNotMatch" in done.err


def test_another_machine_reads_each_record_once(night: Night, tmp_path: Path) -> None:
    night.run()
    night.bench = night.bench.copy(tmp_path / "other")  # with its key
    shutil.rmtree(night.bench.root / ".tidemill/cache")
    assert night.run() == []
    records = night.asked("GET", "actions")
    assert records
    assert len(records) == len(set(records))
    assert night.run() == []
    assert night.asked("GET", "actions") == []


def test_a_copy_of_a_record_that_was_spoiled_is_not_believed(night: Night) -> None:
    night.run()
    night.run()
    copies = [*(night.bench.root / ".tidemill/cache/records").iterdir()]
    assert copies
    for path in copies:
        data = path.read_bytes()
        path.write_bytes(data.replace(b'"peak_memory_bytes":', b'"peak_memory_bytes":1', 1))
    assert night.run() == []
    assert len(set(night.asked("GET", "actions"))) == len(copies)


def test_new_flags_of_the_compiler_put_only_what_they_change_into_the_bucket(night: Night) -> None:
    night.run()
    night.bench.edit("manifests/targets.yaml", ("=x86-64-v3", "=x86-64-v2"))
    changed = {f"{stage}:{m}/net/f32/cpu" for stage in ("compile", "validate") for m in MODELS}
    assert set(night.run()) == changed
    listed = night.bench.call("ls", "--channel", "small", *night.store, "--json").json
    kinds = {one["digest"]: one["kind"] for one in listed}
    put = {digest: kinds.get(digest, "log") for digest in map(_last, night.asked("PUT", "blobs"))}
    assert sorted(put.values()).count("vmfb") == len(MODELS)
    assert set(put.values()) <= {"vmfb", "verdict", "log"}
    records = night.asked("PUT", "actions")
    stages = [one.partition("/")[0] for one in records]
    assert sorted(stages) == ["compile"] * len(MODELS) + ["validate"] * len(MODELS)
    assert len(night.asked("PUT", "releases")) == 1
    rooms = {
        one.partition("?")[0].split("/")[3]
        for one in night.proxy.faults.asked
        if one.startswith(("PUT ", "POST "))
    }
    known = {"actions", "blobs", "channels", "leases", "provenance", "releases", "runs", "tmp"}
    assert rooms <= known


def _last(path: str) -> str:
    return path.rpartition("/")[2]
