"""The client where the ordinary way is closed: what file systems, stores and folders may lack."""

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.shop import Shop, open_shop
from tidemill.client import Cache, pull, resolve
from tidemill.client.copying import copy_to
from tidemill.client.remember import RememberingStore
from tidemill.client.samples import read_samples
from tidemill.client.suite import Suite
from tidemill.client.trusting import default_folder, open_trust
from tidemill.digest import Digest
from tidemill.errors import StoreError, UsageError
from tidemill.store.contract import BlobMissing, Store
from tidemill.store.layout import blob_name
from tidemill.store.stream import StreamingStore

CPU = "stories/decode/f32/cpu"
MODULE = f"{CPU}/model.vmfb"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return open_shop(tmp_path)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", limit_bytes=1 << 30)


class Whole:
    """A store that gives blobs whole or not at all, as the contract asks for and no more."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        if name == "stream_blob":
            raise AttributeError(name)
        return getattr(self._store, name)


def test_a_store_that_cannot_go_on_with_a_blob_gives_it_whole(
    shop: Shop, cache: Cache, tmp_path: Path
) -> None:
    whole: Any = Whole(shop.store)
    assert not isinstance(whole, StreamingStore)
    report = pull(whole, ["stories"], to=tmp_path / "out", channel="smoke", cache=cache)
    assert len(report.copied) == 5
    assert list((cache.root / "parts").iterdir()) == []
    assert pull(whole, ["stories"], to=tmp_path / "b", channel="smoke", cache=cache).copied
    shop.blob(report.copied[0]).unlink()
    fresh = Cache(tmp_path / "fresh", limit_bytes=1 << 30)
    with pytest.raises(BlobMissing):
        pull(whole, ["stories"], to=tmp_path / "c", channel="smoke", cache=fresh)


def cannot(*_: object) -> int:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


def half(source: int, target: int, count: int) -> int:
    """A file system that says that it is done after half."""
    if os.lseek(source, 0, os.SEEK_CUR):
        return 0
    return os.write(target, os.read(source, min(count, 5)))


@pytest.mark.parametrize("kernel", [cannot, half, None], ids=["cannot", "half", "old"])
def test_what_the_kernel_does_not_copy_we_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: Callable[..., int] | None
) -> None:
    if kernel:
        monkeypatch.setattr(os, "copy_file_range", kernel)
    else:
        monkeypatch.delattr(os, "copy_file_range")
    (tmp_path / "source").write_bytes(b"ten bytes.")
    with (tmp_path / "source").open("rb") as source:
        source.read(3)
        copy_to(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"ten bytes."


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    (tmp_path / "source").write_bytes(b"ten bytes.")
    with (tmp_path / "source").open("rb") as source, pytest.raises(OSError, match="No space"):
        copy_to(source, tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def suite_of(shop: Shop, cache: Cache) -> Suite:
    """The suite of a release without references, which our shop has only by name."""
    shop.artifacts = [one for one in shop.artifacts if one.kind != "reference"]
    shop.publish()
    return Suite(store=shop.store, resolved=resolve(shop.store, channel="smoke"), cache=cache)


def test_without_links_a_suite_gets_copies(
    shop: Shop, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = suite_of(shop, cache)
    monkeypatch.setattr(os, "link", cannot)
    handed = suite.artifacts(CPU)
    assert handed.vmfb is not None
    assert handed.vmfb.stat().st_nlink == 1
    assert handed.vmfb.read_bytes() == f"{CPU} vmfb".encode() * 100
    with pytest.raises(UsageError) as caught:
        _ = handed.expected
    assert caught.value.message == f"the reference of {CPU} has 0 samples"
    suite.close()
    assert not handed.vmfb.exists()


def test_without_room_in_the_cache_a_suite_gets_its_files_straight(
    shop: Shop, tmp_path: Path
) -> None:
    suite = suite_of(shop, Cache(tmp_path / "small", limit_bytes=10))
    handed = suite.artifacts(CPU)
    assert handed.vmfb is not None
    assert handed.vmfb.read_bytes() == f"{CPU} vmfb".encode() * 100
    suite.close()


def test_files_of_suites_that_were_killed_are_taken_away(shop: Shop, cache: Cache) -> None:
    suite = suite_of(shop, cache)
    suite.artifacts(CPU)
    (mine,) = (cache.root / "sessions").iterdir()
    parts = mine.name.split(".")
    dead = mine.with_name(".".join([*parts[:4], "1", *parts[5:]]))
    dead.mkdir()
    (dead / "model.vmfb").write_bytes(b"")
    suite.close()
    suite.artifacts(CPU)
    assert not dead.exists()
    suite.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": 2, "samples": []}', "it has format 2; this tidemill reads 1"),
        ('{"format": 1}', "the reference cannot be read: "),
        ("", "the reference cannot be read: "),
    ],
)
def test_a_reference_that_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "reference.json").write_text(text, encoding="utf-8")
    with pytest.raises(StoreError) as caught:
        read_samples(tmp_path)
    assert caught.value.message.startswith(f"{tmp_path / 'reference.json'}: {message}")


def test_what_a_store_no_longer_lists_is_forgotten(shop: Shop, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    online = RememberingStore(shop.store, memory)
    entries = [entry.name for entry in online.list("channels/smoke")]
    for name in entries:
        assert online.read(name) == shop.store.read(name)
    offline = RememberingStore(shop.store, memory, offline=True)
    assert sorted(entry.name for entry in offline.list("channels")) == sorted(entries)
    for name in entries:
        shop.store.remove(name)
    assert list(online.list("channels")) == []
    with pytest.raises(StoreError, match="was never read on this machine"):
        list(offline.list("channels"))


def test_a_damaged_memory_is_no_memory(shop: Shop, tmp_path: Path) -> None:
    release = f"releases/{shop.publish()}.json"
    online = RememberingStore(shop.store, tmp_path / "memory")
    right = online.read(release)
    (file,) = (path for path in (tmp_path / "memory").rglob("*.json"))
    file.write_bytes(file.read_bytes().replace(b"minilm", b"milimn"))
    offline = RememberingStore(shop.store, tmp_path / "memory", offline=True)
    with pytest.raises(StoreError, match="was never read on this machine"):
        offline.read(release)
    assert online.read(release) == right
    path = shop.root / release
    path.write_bytes(path.read_bytes()[:-9])
    other = RememberingStore(shop.store, tmp_path / "other")
    assert other.read(release) == path.read_bytes()
    assert list((tmp_path / "other").rglob("*.json")) == [], "it is not that release"


def test_a_reader_reads_blobs_and_writes_nothing(shop: Shop, tmp_path: Path) -> None:
    one = shop.artifacts[0]
    digest, memory = Digest(one.digest), tmp_path / "memory"
    online = RememberingStore(shop.store, memory)
    assert len(online.read_blob(digest)) == online.check_blob(digest) == one.size
    assert online.fetch_blob(digest, tmp_path / "blob") == one.size
    assert online.stat(blob_name(digest)) == shop.store.stat(blob_name(digest))
    offline = RememberingStore(shop.store, memory, offline=True)
    attempts: list[Callable[[], object]] = [
        lambda: offline.read_blob(digest),
        lambda: offline.check_blob(digest),
        lambda: offline.fetch_blob(digest, tmp_path / "other"),
        lambda: offline.stat(blob_name(digest)),
    ]
    for attempt in attempts:
        with pytest.raises(StoreError, match="offline: "):
            attempt()
    with pytest.raises(StoreError, match="is read-only here: cannot write releases/x"):
        online.create("releases/x", b"")


@pytest.mark.parametrize(
    ("environ", "platform", "folder"),
    [
        ({"HOME": "/h", "XDG_STATE_HOME": "/s"}, "linux", "/s/tidemill/trust"),
        ({"HOME": "/h", "XDG_STATE_HOME": "s"}, "linux", "/h/.local/state/tidemill/trust"),
        ({"HOME": "/h"}, "darwin", "/h/Library/Application Support/tidemill/trust"),
        ({}, "linux", None),
    ],
)
def test_the_platform_says_where_trust_lies(
    environ: Mapping[str, str], platform: str, folder: str | None
) -> None:
    assert default_folder(environ, platform=platform) == (Path(folder) if folder else None)


def test_without_a_home_trust_has_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TIDEMILL_TRUST", "HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError) as caught:
        open_trust(lambda _: None)
    assert "TIDEMILL_TRUST=FOLDER" in caught.value.hint
