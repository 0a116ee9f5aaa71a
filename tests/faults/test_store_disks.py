"""Stores on disks that are full, read-only, or somebody else's: real ones, mounted for the test."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.store_helpers import release_named, unprivileged
from tests.signing import SIGNER
from tidemill.channels import put_release
from tidemill.client import Cache, pull
from tidemill.digest import digest_bytes
from tidemill.errors import StoreError
from tidemill.moves import move
from tidemill.records import Artifact, Release
from tidemill.store import Store, open_store
from tidemill.store.layout import blob_name, run_name

MEGABYTE = 1 << 20
DISK_BYTES = 2 * MEGABYTE
REPORT = run_name("run", "report.json")
AGAIN = "then run the same command again: what is whole is kept"
MAKE_ROOM = f"free space there or choose another folder; {AGAIN}"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def store(disk: Path) -> Store:
    return open_store(str(disk / "store"))


def fill(disk: Path) -> Path:
    """Take all space that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream:
        try:
            while stream.write(bytes(4096)) == 4096:
                pass
        except OSError:
            return filler
    return filler


def files(folder: Path) -> list[str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in found)


def test_a_blob_too_big_for_the_disk_leaves_nothing_behind(
    store: Store, disk: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(3 * MEGABYTE))
    digest = digest_bytes(source.read_bytes())
    with pytest.raises(StoreError) as caught:
        store.put_blob(source, digest=digest)
    assert caught.value.message == (
        f"{disk / 'store'}: cannot store blob {digest[:12]}…: the disk is full"
    )
    assert caught.value.hint == MAKE_ROOM
    assert files(disk) == []
    source.write_bytes(bytes(MEGABYTE))
    smaller = digest_bytes(source.read_bytes())
    assert store.put_blob(source, digest=smaller) is True
    assert files(disk) == [f"store/{blob_name(smaller)}"]


def test_documents_on_a_full_disk_are_old_or_absent_never_torn(store: Store, disk: Path) -> None:
    store.replace(REPORT, b"old" * 3000)
    before = files(disk)
    filler = fill(disk)
    other, data = run_name("run", "other.json"), b"new" * 3000
    attempts: dict[str, Callable[[], object]] = {
        f"write {REPORT}": lambda: store.replace(REPORT, data),
        f"write {other}": lambda: store.create(other, data),
        f"store blob {digest_bytes(data)[:12]}…": lambda: store.put_bytes(data),
    }
    for doing, attempt in attempts.items():
        with pytest.raises(StoreError) as caught:
            attempt()
        assert caught.value.message == f"{disk / 'store'}: cannot {doing}: the disk is full"
    assert files(disk) == sorted([*before, "filler"])
    assert store.read(REPORT) == b"old" * 3000
    filler.unlink()
    for attempt in attempts.values():
        attempt()
    assert store.read(REPORT) == store.read(other) == store.read_blob(digest_bytes(data)) == data


def test_a_pull_to_a_full_disk_names_the_folder_and_can_be_run_again(
    disk: Path, tmp_path: Path
) -> None:
    store, data = open_store(str(tmp_path / "store")), bytes(MEGABYTE)
    artifacts = tuple(
        Artifact(
            address=f"model/part/f16/{target}",
            kind="vmfb",
            file=f"{target}.vmfb",
            digest=store.put_bytes(data + target.encode()),
            size=len(data) + len(target),
            key="k",
            status="validated",
        )
        for target in ("cpu", "gfx942")
    )
    release = put_release(
        store, Release(pipeline="smoke", toolchain="t", tools={}, artifacts=artifacts)
    )
    move(store, "smoke", release=release, expecting=0, run="r", reason="test", signer=SIGNER)
    with pytest.raises(StoreError) as caught:
        pull(store, ["model"], to=disk, channel="smoke", jobs=1)
    assert caught.value.message == (
        "model/part/f16/gfx942 vmfb: "
        f"{disk}: cannot copy blob {artifacts[1].digest[:12]}…: the disk is full"
    )
    assert caught.value.hint == MAKE_ROOM
    assert files(disk) == ["cpu.vmfb"]
    report = pull(store, ["*/*/*/cpu"], to=disk, channel="smoke")
    assert [one.file for one in report.kept] == ["cpu.vmfb"]
    assert files(disk) == ["cpu.vmfb", "tidemill-pull.json"]
    (disk / "cpu.vmfb").unlink()
    cache = Cache(disk / "cache", limit_bytes=1 << 30)
    with pytest.raises(StoreError) as caught:
        pull(store, ["model"], to=tmp_path / "out", channel="smoke", cache=cache, jobs=1)
    assert caught.value.message == (
        f"model/part/f16/gfx942 vmfb: {disk / 'cache'}: cannot use the cache: the disk is full"
    )
    assert not (tmp_path / "out").exists()


def test_a_read_only_store_can_be_read_and_says_why_it_cannot_be_written(
    store: Store, disk: Path, tmp_path: Path
) -> None:
    digest = store.put_bytes(b"blob")
    store.replace(REPORT, b"report")
    put_release(store, release_named("a"))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    reader = open_store(store.url, must_exist=True)
    assert reader.read(REPORT) == b"report"
    assert reader.fetch_blob(digest, tmp_path / "target") == 4
    assert len(list(reader.list(""))) == 3
    attempts: dict[str, Callable[[], object]] = {
        f"write {REPORT}": lambda: reader.replace(REPORT, b""),
        "write runs/run/new": lambda: reader.create("runs/run/new", b""),
        f"remove {REPORT}": lambda: reader.remove(REPORT),
        f"set aside blob {digest[:12]}…": lambda: reader.discard_blob(digest),
    }
    for doing, attempt in attempts.items():
        with pytest.raises(StoreError) as caught:
            attempt()
        message = f"{disk / 'store'}: cannot {doing}: the file system is read-only"
        assert caught.value.message == message
        assert caught.value.hint == f"mount it for writing or choose another folder; {AGAIN}"


def test_a_forbidden_folder_is_an_error_and_never_absent(tmp_path: Path) -> None:
    root = tmp_path / "store"
    store = open_store(str(root))
    digest = store.put_bytes(b"blob")
    store.replace(REPORT, b"report")
    root.chmod(0)
    tmp_path.chmod(0o755)
    attempts: dict[str, Callable[[], object]] = {
        f"read {REPORT}": lambda: store.read(REPORT),
        f"look up {REPORT}": lambda: store.stat(REPORT),
        f"read {blob_name(digest)}": lambda: store.read_blob(digest),
        f"read blob {digest[:12]}…": lambda: store.check_blob(digest),
        "list runs": lambda: list(store.list("runs")),
        f"write {REPORT}": lambda: store.replace(REPORT, b"x"),
        f"remove {REPORT}": lambda: store.remove(REPORT),
    }
    errors = {}
    with unprivileged():
        for doing, attempt in attempts.items():
            with pytest.raises(StoreError) as caught:
                attempt()
            errors[doing] = caught.value.message.rpartition(":")[0]
    root.chmod(0o755)
    assert errors == {doing: f"{root}: cannot {doing}" for doing in attempts}
