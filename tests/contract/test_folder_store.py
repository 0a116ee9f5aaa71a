"""What only a store in a folder has: URLs, temporary files, words for disk trouble."""

import errno
import os
import subprocess
import time
from pathlib import Path

import pytest

from tidemill.errors import UsageError
from tidemill.store import Entry, open_store
from tidemill.store.listing import SETTLE_SECONDS, stamp_of
from tidemill.store.scratch import Writer, is_leftover, sweep, temporary_name, writer_of
from tidemill.store.trouble import disk_error

ME = Writer(host="mill", kernel="abc", pid=7, started="100")


@pytest.mark.parametrize("spelled", ["{}", "file://{}", "file://localhost{}"])
def test_a_folder_has_one_url_however_it_is_spelled(tmp_path: Path, spelled: str) -> None:
    root = tmp_path / "a b"
    url = spelled.format(root.as_uri()[7:] if spelled.startswith("file") else root)
    assert open_store(url).url == root.as_uri()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("gs://bucket/x", "this version of tidemill has no gs store: gs://bucket/x"),
        ("ftp://host/x", "this version of tidemill has no ftp store: ftp://host/x"),
        ("file://host/x", "file://host/x names the host 'host'"),
        ("", "the store has no name"),
    ],
)
def test_a_url_that_cannot_be_opened_is_named(url: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(url)
    assert caught.value.message == message


def test_a_reader_of_a_store_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(str(tmp_path / "typo"), must_exist=True)
    assert caught.value.message == f"there is no store at {tmp_path / 'typo'}"


@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        (errno.ENOSPC, "/s: cannot write x: the disk is full", "free space there or choose"),
        (errno.EDQUOT, "/s: cannot write x: the quota is used up", "free space, have the quota"),
        (errno.EROFS, "/s: cannot write x: the file system is read-only", "mount it for writing"),
        (errno.EIO, "/s: cannot write x: input/output error", "see whether that disk is sound"),
        (
            errno.EACCES,
            f"/s: cannot write x: user {os.geteuid()} is not permitted to",
            "give that user the permission",
        ),
    ],
)
def test_disk_trouble_says_what_to_do(code: int, message: str, hint: str) -> None:
    error = disk_error(OSError(code, os.strerror(code)), doing="write x", where=Path("/s"))
    assert error.message == message
    assert error.hint.startswith(hint)


def test_a_temporary_name_tells_its_process_and_is_never_the_same() -> None:
    first, second = temporary_name(), temporary_name()
    assert first != second
    writer = writer_of(first)
    assert writer == writer_of(second)
    assert writer is not None
    assert writer.pid == os.getpid()


@pytest.mark.parametrize("name", ["report.json", ".tidemill-a.b.c.d.e", ".tidemill-a.b.1.2"])
def test_other_files_are_nobodys_leftovers(name: str) -> None:
    assert writer_of(name) is None


@pytest.mark.parametrize(
    ("writer", "alive", "idle", "expected"),
    [
        (ME, True, 1e9, False),
        (ME, False, 0.0, True),
        (Writer(host="other", kernel="abc", pid=7, started="1"), False, 3600.0, False),
        (Writer(host="mill", kernel="container", pid=1, started="1"), False, 3600.0, False),
        (Writer(host="other", kernel="abc", pid=7, started="1"), False, 90_000.0, True),
    ],
)
def test_only_what_nobody_will_finish_is_a_leftover(
    writer: Writer, alive: bool, idle: float, expected: bool
) -> None:
    assert is_leftover(writer, me=ME, alive=lambda _: alive, idle_seconds=idle) is expected


def test_a_sweep_removes_files_of_dead_processes_only(tmp_path: Path) -> None:
    mine = temporary_name()
    me = writer_of(mine)
    assert me is not None
    with subprocess.Popen(["sleep", "60"]) as other:
        alive = Writer(host=me.host, kernel=me.kernel, pid=other.pid, started="").file_name("1")
        reused = Writer(host=me.host, kernel=me.kernel, pid=other.pid, started="1").file_name("1")
        other_host = Writer(host="elsewhere", kernel="k", pid=1, started="1")
        fresh, old = other_host.file_name("fresh"), other_host.file_name("old")
        for name in (mine, alive, reused, fresh, old, "report.json"):
            (tmp_path / name).touch()
        os.utime(tmp_path / old, (time.time() - 90_000,) * 2)
        sweep(tmp_path)
        other.kill()
    assert {path.name for path in tmp_path.iterdir()} == {mine, alive, fresh, "report.json"}
    (tmp_path / alive).touch()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {mine, fresh, "report.json"}


def test_the_first_write_sweeps_and_a_read_does_not(tmp_path: Path) -> None:
    me = writer_of(temporary_name())
    assert me is not None
    dead = Writer(host=me.host, kernel=me.kernel, pid=me.pid, started="1").file_name("left")
    leftover = tmp_path / "tmp" / dead
    leftover.parent.mkdir()
    leftover.write_bytes(b"half")
    store = open_store(str(tmp_path))
    assert list(store.list("")) == []
    assert leftover.exists()
    store.put_bytes(b"x")
    assert list(leftover.parent.iterdir()) == []


def test_links_and_foreign_files_are_not_listed_as_objects(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.replace("runs/1/a", b"a")
    (tmp_path / "runs/1/link").symlink_to(tmp_path / "runs")
    (tmp_path / "runs/1/dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "runs/1/pipe")
    assert [entry.name for entry in store.list("runs")] == ["runs/1/a"]


def test_a_change_time_cannot_be_set_back(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.replace("runs/1/a", b"aaaa")
    before = store.stat("runs/1/a")
    path = tmp_path / "runs/1/a"
    times = path.stat()
    path.write_bytes(b"bbbb")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = store.stat("runs/1/a")
    assert isinstance(before, Entry)
    assert isinstance(after, Entry)
    assert before.stamp != after.stamp


def test_a_file_has_no_stamp_until_a_later_change_would_show(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"four")
    status = path.stat()
    changed, settled = status.st_ctime_ns, int(SETTLE_SECONDS * 1e9)
    assert stamp_of(status, now=changed) is None
    assert stamp_of(status, now=changed + settled) is None
    assert stamp_of(status, now=changed - 10**12) is None  # the file server's clock is ahead
    assert stamp_of(status, now=changed + settled + 1) == f"{changed}-{status.st_ino}-4"
