"""Stores under kill -9, racing processes, and readers in between."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.store_helpers import race_to_create, replace_or_read, run_in_processes
from tests.faults.store_writer import REPORT_BYTES, SEEDS, blobs_of, record_of, write_all
from tidemill.channels import history, read_release
from tidemill.digest import Digest, digest_bytes, digest_file
from tidemill.store import Store, open_store
from tidemill.store.layout import action_name, blob_name, run_name

ROOT = Path(__file__).parents[2]
KILLS = 60


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> Store:
    return open_store(str(root))


def start_and_kill(store: Store, seed: int, *, scratch: Path, after: float) -> None:
    command = [sys.executable, "-m", "tests.faults.store_writer", store.url, str(seed)]
    with subprocess.Popen(
        [*command, str(scratch)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(after)
        writer.kill()
        assert writer.wait() == -9


def assert_nothing_is_torn(store: Store, root: Path, *, checked: set[str]) -> None:
    """``checked`` spares hashing again what has been seen whole under the same stamp."""
    for entry in store.list("blobs"):
        if entry.stamp not in checked:
            assert digest_file(root / entry.name) == Path(entry.name).name
            checked.add(entry.stamp)
    for entry in store.list("actions"):
        digest = Digest(Path(entry.name).stem)
        assert store.read(entry.name) == record_of(digest)
        assert store.stat(blob_name(digest)), "a record names a blob that is not there"
    report = store.read(run_name("run", "report.json")) or b""
    assert report == report[: report.find(b"\n") + 1] * (REPORT_BYTES // 4)
    for pointer in history(store, "nightly"):
        read_release(store, pointer.release)


def test_kill_9_at_any_moment_leaves_nothing_torn_and_a_rerun_converges(
    store: Store, root: Path, tmp_path: Path
) -> None:
    chance, checked, cut_short = random.Random(1), set[str](), 0
    for number in range(KILLS):
        after = chance.uniform(0, 0.06)
        start_and_kill(store, number // 2 % SEEDS, scratch=tmp_path, after=after)
        cut_short += any((root / "tmp").glob("*"))
        assert_nothing_is_torn(store, root, checked=checked)
    assert cut_short > 0, "no kill hit a write: the test has tested nothing"
    expected = set()
    rerun = open_store(store.url)
    for seed in range(SEEDS):
        write_all(rerun, seed, scratch=tmp_path)
        digests = [digest_bytes(data) for data in blobs_of(seed)]
        expected |= {blob_name(digest) for digest in digests}
        expected |= {action_name("compile", digest) for digest in digests}
    found = {entry.name for room in ("blobs", "actions") for entry in store.list(room)}
    assert found == expected
    assert_nothing_is_torn(store, root, checked=set())
    assert list((root / "tmp").iterdir()) == []


def test_of_eight_processes_exactly_one_creates_each_document(store: Store) -> None:
    names = [run_name("run", f"{number}.json") for number in range(40)]
    wins = run_in_processes(race_to_create, [(store.url, names, number) for number in range(8)])
    assert sorted(name for one in wins for name in one) == sorted(names)
    for number, won in enumerate(wins):
        for name in won:
            assert store.read(name) == f"writer {number} ".encode() * 500


def test_a_reader_sees_whole_documents_while_one_is_replaced(store: Store) -> None:
    name, rounds = run_name("run", "report.json"), 300
    torn = run_in_processes(
        replace_or_read,
        [(store.url, name, rounds, writing) for writing in (True, False, False)],
    )
    assert torn == [0, 0, 0]
