"""The content cache: what it believes, what it drops, and what goes when it is full."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tidemill.client import stamps
from tidemill.client.cache import Cache
from tidemill.client.cache_place import default_folder, open_cache, parse_size
from tidemill.digest import Digest, digest_bytes
from tidemill.errors import StoreError, UsageError
from tidemill.store.scratch import temporary_name, writer_of


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", limit_bytes=1000)


def put(cache: Cache, data: bytes) -> Digest:
    digest = digest_bytes(data)
    with cache.room_for(digest, size=len(data)) as fits:
        assert fits
        path = cache.scratch(digest)
        path.write_bytes(data)
        cache.admit(path, digest).close()
    return digest


def has_room(cache: Cache, name: bytes, *, size: int) -> bool:
    with cache.room_for(digest_bytes(name), size=size) as fits:
        return fits


def got(cache: Cache, digest: str, size: int = 100) -> bytes | None:
    stream = cache.open(digest, size=size)
    if stream is None:
        return None
    with stream:
        return stream.read()


def blob(cache: Cache, digest: str) -> Path:
    return cache.root / "blobs" / digest[:2] / digest


def use_anew(cache: Cache) -> Cache:
    """Another process's view of the same folder."""
    return Cache(cache.root, limit_bytes=cache.limit_bytes)


def damage(path: Path, *, quietly: bool = False) -> None:
    """Other bytes of the same size; ``quietly`` with the old time of modification."""
    status = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"!" * status.st_size)
    if quietly:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_what_was_admitted_is_there_and_cannot_be_written(cache: Cache) -> None:
    digest = put(cache, b"x" * 100)
    assert got(use_anew(cache), digest) == b"x" * 100
    assert blob(cache, digest).stat().st_mode & 0o222 == 0
    assert list((cache.root / "parts").iterdir()) == []
    assert got(cache, digest_bytes(b"other")) is None


def test_a_damaged_blob_is_dropped(cache: Cache) -> None:
    digest = put(cache, b"x" * 100)
    damage(blob(cache, digest))
    assert got(cache, digest) is None
    assert not blob(cache, digest).exists()
    short = put(cache, b"y" * 100)
    assert got(cache, short, size=101) is None
    assert not blob(cache, short).exists()


def test_a_blob_with_its_stamp_is_not_hashed_until_the_machine_boots(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = put(cache, b"x" * 100)
    damage(blob(cache, digest), quietly=True)
    assert got(cache, digest) == b"!" * 100, "it was not hashed"
    monkeypatch.setattr(stamps, "_boot", lambda: "another boot")
    assert got(cache, digest) is None


def test_a_touched_blob_is_hashed_and_believed_again(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = put(cache, b"x" * 100)
    os.utime(blob(cache, digest))
    assert got(cache, digest) == b"x" * 100
    damage(blob(cache, digest), quietly=True)
    assert got(cache, digest) == b"!" * 100, "its new stamp was remembered"


def test_what_was_used_longest_ago_goes_first(cache: Cache) -> None:
    digests = [put(cache, bytes([number]) * 300) for number in range(3)]
    for age, digest in enumerate(digests):
        stamp = cache.root / "stamps" / digest[:2] / digest
        os.utime(stamp, (1000 - age, 1000 - age))
    other = use_anew(cache)
    assert got(other, digests[1], size=300) is not None
    put(other, b"n" * 400)
    left = [blob(cache, digest).exists() for digest in digests]
    assert left == [True, True, False], "the third was the oldest, the second has just been used"
    assert not (cache.root / "stamps" / digests[2][:2] / digests[2]).exists()


def test_parts_count_and_go_like_blobs(cache: Cache) -> None:
    part = cache.take_part(digest_bytes(b"whole"))
    part.write(b"p" * 700)
    part.keep()
    (rest,) = (cache.root / "parts").iterdir()
    os.utime(rest, (1000, 1000))
    digest = put(use_anew(cache), b"x" * 400)
    assert not rest.exists()
    assert blob(cache, digest).exists()


def test_what_is_in_use_here_is_never_evicted(cache: Cache) -> None:
    first = put(cache, b"x" * 600)
    assert not has_room(cache, b"y", size=500)
    assert not has_room(cache, b"z", size=1001)
    assert blob(cache, first).exists()
    other = use_anew(cache)
    other.use([first])
    assert not has_room(other, b"y", size=500)
    assert has_room(use_anew(cache), b"y", size=500)
    assert not blob(cache, first).exists()


def test_nothing_is_evicted_for_what_will_not_fit_anyway(cache: Cache) -> None:
    digests = [put(cache, bytes([number]) * 300) for number in range(3)]
    other = use_anew(cache)
    assert not has_room(other, b"larger than the cache", size=1001)
    other = use_anew(cache)
    other.use(digests[:1])
    assert not has_room(other, b"no room beside what is in use", size=701)
    assert all(blob(cache, digest).exists() for digest in digests)


def test_room_is_kept_for_what_is_coming(cache: Cache) -> None:
    with cache.room_for(digest_bytes(b"coming"), size=700) as fits:
        assert fits
        assert not has_room(cache, b"y", size=400)
        assert has_room(cache, b"y", size=300)
    assert has_room(cache, b"y", size=400)


def test_who_has_a_blob_open_or_linked_keeps_its_bytes(cache: Cache, tmp_path: Path) -> None:
    digest = put(cache, b"x" * 600)
    stream = cache.open(digest, size=600)
    assert stream is not None
    with stream:
        assert cache.link(digest, stream, tmp_path / "link")
        assert has_room(use_anew(cache), b"y", size=900)
        assert not blob(cache, digest).exists()
        assert not cache.link(digest, stream, tmp_path / "later")
        assert stream.read() == b"x" * 600
    assert (tmp_path / "link").read_bytes() == b"x" * 600


def test_a_link_to_somebody_elses_copy_is_not_made(cache: Cache, tmp_path: Path) -> None:
    digest = put(cache, b"x" * 100)
    stream = cache.open(digest, size=100)
    assert stream is not None
    with stream:
        blob(cache, digest).unlink()
        blob(cache, digest).write_bytes(b"!" * 100)
        assert not cache.link(digest, stream, tmp_path / "link")
    assert not (tmp_path / "link").exists()


def test_a_part_is_gone_on_with_by_one_taker_only(cache: Cache) -> None:
    digest = digest_bytes(b"half and half")
    part = cache.take_part(digest)
    part.write(b"half ")
    part.keep()
    first, second = cache.take_part(digest), use_anew(cache).take_part(digest)
    assert (first.size, second.size) == (5, 0)
    first.write(b"and half")
    assert first.is_right(digest)
    first.close()
    second.drop()
    cache.admit(first.path, digest).close()
    assert got(cache, digest, size=13) == b"half and half"
    empty = cache.take_part(digest)
    empty.keep()
    assert list((cache.root / "parts").iterdir()) == []


def test_parts_of_processes_that_were_killed_are_gone_on_with(cache: Cache) -> None:
    me = writer_of(temporary_name())
    assert me is not None
    digest, folder = digest_bytes(b"whole"), cache.root / "parts"
    folder.mkdir(parents=True)
    dead = me.file_name("x").replace(f".{me.started}.", ".1.")
    (folder / f"{dead}-{digest}").write_bytes(b"who")
    (folder / dead).write_bytes(b"nobody knows of what")
    mine = folder / f"{temporary_name()}-{digest}"
    mine.write_bytes(b"wh")
    part = cache.take_part(digest)
    assert part.size == 3
    part.drop()
    assert mine.exists()
    assert not (folder / dead).exists()


@pytest.mark.parametrize(
    ("environ", "platform", "folder"),
    [
        ({"HOME": "/h", "XDG_CACHE_HOME": "/c"}, "linux", "/c/tidemill"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "relative"}, "linux", "/h/.cache/tidemill"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/c"}, "darwin", "/h/Library/Caches/tidemill"),
        ({}, "linux", None),
        ({}, "darwin", None),
    ],
)
def test_the_platform_says_where_caches_lie(
    environ: Mapping[str, str], platform: str, folder: str | None
) -> None:
    assert default_folder(environ, platform=platform) == (Path(folder) if folder else None)


def test_the_environment_says_where_the_cache_lies_and_how_big_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMILL_CACHE", str(tmp_path / "named"))
    monkeypatch.setenv("TIDEMILL_CACHE_SIZE", "1.5 KiB")
    found = open_cache()
    assert found is not None
    assert (found.root, found.limit_bytes) == (tmp_path / "named", 1536)
    assert (found.root / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172")
    given = open_cache(tmp_path / "given")
    assert given is not None
    assert given.root == tmp_path / "given"
    monkeypatch.delenv("TIDEMILL_CACHE_SIZE")
    default = open_cache()
    assert default is not None
    assert default.limit_bytes == 20 * 2**30


def test_a_named_cache_that_cannot_be_is_an_error_and_the_users_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("TIDEMILL_CACHE", str(tmp_path / "file"))
    with pytest.raises(StoreError) as caught:
        open_cache()
    assert caught.value.message == (f"{tmp_path / 'file'}: cannot keep a cache there: file exists")
    monkeypatch.delenv("TIDEMILL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert open_cache() is None


@pytest.mark.parametrize(
    ("text", "size"),
    [("7", 7), ("7 B", 7), ("2k", 2048), ("1MiB", 2**20), ("0.5 GB", 2**29), ("1T", 2**40)],
)
def test_sizes_are_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "big", "-1", "1X", "G"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_size(text)
    assert caught.value.message == f"TIDEMILL_CACHE_SIZE={text!r} is not a size"
