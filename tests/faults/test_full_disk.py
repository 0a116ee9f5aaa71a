"""A disk that fills up under a run: exit code 5, words that say what to do, and no harm done."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workbench import Workbench

pytestmark = pytest.mark.toolchain

PAGE = 4096
PAGES = 2048
ADVICE = (
    "free space there or choose another folder;"
    " then run the same command again: what is whole is kept"
)


@pytest.fixture
def disk(fresh: Workbench) -> Iterator[Path]:
    """A file system of eight megabytes where the workspace keeps everything but its manifests."""
    folder = fresh.root / ".tidemill"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={PAGES * PAGE}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def leave(disk: Path, *, pages: int) -> Path:
    """Take all space but that many pages. What is returned holds it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream:
        try:
            while stream.write(bytes(PAGE)) == PAGE:
                pass
        except OSError:
            pass
    with filler.open("r+b") as stream:
        stream.truncate(max(0, filler.stat().st_size - pages * PAGE))
    return filler


def converge(bench: Workbench, template: Workbench, *options: str) -> None:
    bench.run("small", *options)
    assert bench.torn() == []
    assert bench.survivors() == []
    assert bench.outputs() == template.outputs()
    assert list(bench.files("actions")) == list(template.files("actions"))
    assert bench.files("releases") == template.files("releases")
    assert bench.run("small", *options).built == set()


@pytest.mark.parametrize("pages", [0, 25])
def test_a_store_that_is_full_stops_the_run_and_a_later_run_does_the_rest(
    fresh: Workbench, template: Workbench, disk: Path, pages: int
) -> None:
    elsewhere = template.copy(fresh.root / "elsewhere", state=False)
    elsewhere.store = disk / "store"
    filler = leave(disk, pages=pages)
    done = elsewhere.call(
        "run", "small", "--workers", "2", "--store", str(disk / "store"), expect=5
    )
    said = " ".join(done.out.split())
    assert f"{disk / 'store'}: cannot " in said
    assert f": the disk is full: {ADVICE}" in said
    assert "Traceback" not in done.err
    assert elsewhere.torn() == []
    assert elsewhere.survivors() == []
    filler.unlink()
    converge(elsewhere, template, "--store", str(disk / "store"))


@pytest.mark.parametrize(
    ("pages", "words"),
    [
        (None, "cannot keep the key that signs channels: the disk is full"),
        # Not even a step can say what happened to it.
        (
            0,
            "No space left on device: free space there or make the folder writable, then run again",
        ),
        (20, f": the disk is full: {ADVICE}"),
    ],
)
def test_a_workspace_that_is_full_stops_the_run_and_a_later_run_does_the_rest(
    fresh: Workbench, template: Workbench, disk: Path, pages: int | None, words: str
) -> None:
    if pages is not None:
        shutil.copytree(template.root / ".tidemill/keys", fresh.root / ".tidemill/keys")
    filler = leave(disk, pages=pages or 0)
    done = fresh.call("run", "small", "--workers", "2", expect=5)
    said = " ".join((done.out + done.err).split())
    assert words in said
    assert "Traceback" not in done.err
    assert fresh.torn() == []
    filler.unlink()
    converge(fresh, template)
