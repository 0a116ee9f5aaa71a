"""Lock files: what they say, that they say it twice alike, and that ``--locked`` keeps to them."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.shop import Shop, open_shop
from tests.unit.test_client_cli import call
from tidemill.client import Cache, Lock, lock_of, pull, read_lock, write_lock
from tidemill.errors import StoreError, UsageError
from tidemill.records import encode
from tidemill.store.layout import release_name

CPU = "stories/decode/f32/cpu"
MODULE = f"{CPU}/model.vmfb"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return open_shop(tmp_path)


def locked(shop: Shop, *patterns: str, to: Path, kinds: tuple[str, ...] = ()) -> Lock:
    """The lock of a pull from the head of the channel."""
    report = pull(shop.store, patterns, to=to, channel="smoke", kinds=kinds)
    return lock_of(
        report.resolved, report.copied, store=shop.store.url, patterns=patterns, kinds=kinds
    )


def move_on(shop: Shop) -> None:
    """Publish a release with another module of the same name."""
    at = next(n for n, one in enumerate(shop.artifacts) if one.file == MODULE)
    data = b"another module"
    shop.artifacts[at] = msgspec.structs.replace(
        shop.artifacts[at], digest=shop.store.put_bytes(data), size=len(data)
    )
    shop.publish()


def test_a_lock_file_says_what_was_pulled_and_twice_the_same(shop: Shop, tmp_path: Path) -> None:
    pull = ("pull", "--channel", "smoke", "--store", "store", "--lock", "suite/tide.lock")
    done = call(tmp_path, *pull, CPU, "stories", "--kind", "vmfb", "--to", "out")
    release = shop.publish()
    assert f"locked: suite/tide.lock: release {release[:12]}\n" in done.stderr
    file = tmp_path / "suite/tide.lock"
    one = next(one for one in shop.artifacts if one.file == MODULE)
    assert json.loads(file.read_bytes()) == {
        "artifacts": [
            {
                "address": CPU,
                "digest": one.digest,
                "file": MODULE,
                "kind": "vmfb",
                "size": one.size,
            }
        ],
        "channel": "smoke",
        "format": 1,
        "kinds": ["vmfb"],
        "patterns": ["stories", CPU],
        "release": release,
        "sequence": 1,
        "store": shop.store.url,
    }
    before = file.stat()
    again = call(tmp_path, *pull, "stories", CPU, "--kind", "vmfb", "--to", "other")
    assert "locked" not in again.stderr
    assert file.stat().st_mtime_ns == before.st_mtime_ns, "it was not written"


def test_what_is_locked_is_pulled_though_the_channel_has_moved_on(
    shop: Shop, tmp_path: Path
) -> None:
    pull = ("pull", "--store", "store", "--lock", "tidemill.lock")
    call(tmp_path, *pull, "stories", "--channel", "smoke", "--to", "out")
    move_on(shop)
    right = (tmp_path / "out" / MODULE).read_bytes()
    held = (tmp_path / "tidemill.lock").read_bytes()
    done = call(tmp_path, "pull", "--locked", "--to", "locked", "--json")
    assert len(json.loads(done.stdout)["copied"]) == 5
    assert (tmp_path / "locked" / MODULE).read_bytes() == right
    record = json.loads((tmp_path / "locked/tidemill-pull.json").read_bytes())
    assert (record["channel"], record["sequence"]) == ("smoke", 1)
    part = call(tmp_path, *pull, "--locked", CPU, "--kind", "vmfb", "--to", "part", "--json")
    assert [one["file"] for one in json.loads(part.stdout)["copied"]] == [MODULE]
    assert (tmp_path / "tidemill.lock").read_bytes() == held
    call(tmp_path, *pull, "stories", "--channel", "smoke", "--to", "out")
    assert (tmp_path / "tidemill.lock").read_bytes() != held, "without --locked it moves on"


def test_nothing_new_for_a_lock_asks_the_store_nothing(shop: Shop, tmp_path: Path) -> None:
    lock = locked(shop, "stories", to=tmp_path / "first")
    cache = Cache(tmp_path / "cache", limit_bytes=1 << 30)
    first = pull(shop.store, [], to=tmp_path / "out", locked=lock, cache=cache)
    shop.root.rename(tmp_path / "unplugged")
    again = pull(shop.store, [], to=tmp_path / "out", locked=lock, cache=cache)
    assert again.kept == first.copied


def test_what_does_not_fit_the_lock_is_refused(shop: Shop, tmp_path: Path) -> None:
    lock = locked(shop, CPU, to=tmp_path / "first", kinds=("vmfb", "mlir"))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"channel": "nightly"}, "the lock is for channel smoke, not nightly"),
        ({"release": "a" * 64}, f"the lock is for release {lock.release}, not {'a' * 64}"),
    ]
    for options, message in cases:
        with pytest.raises(UsageError) as caught:
            pull(shop.store, [], to=tmp_path / "out", locked=lock, **options)
        assert caught.value.message == message
    with pytest.raises(UsageError) as caught:
        pull(shop.store, ["minilm/*/f32/cpu"], to=tmp_path / "out", locked=lock, kinds=["vmfb"])
    assert (caught.value.message, caught.value.hint) == (
        "the lock does not have minilm/encoder/f32/cpu/model.vmfb, which is asked for",
        f"it is for {CPU}; pull without --locked to write it anew",
    )
    with pytest.raises(UsageError) as caught:
        pull(shop.store, ["stories"], to=tmp_path / "out", locked=lock, kinds=["irpa", "verdict"])
    assert caught.value.message == (
        "the lock does not have stories/decode/f32/cpu/model.verdict and 1 more, which is asked for"
    )


def test_a_lock_that_was_edited_is_refused(shop: Shop, tmp_path: Path) -> None:
    lock = locked(shop, "stories", to=tmp_path / "first")
    fewer = msgspec.structs.replace(lock, artifacts=lock.artifacts[1:])
    with pytest.raises(UsageError, match="the lock does not have stories/decode/f32/cpu"):
        pull(shop.store, [], to=tmp_path / "out", locked=fewer)
    narrower = msgspec.structs.replace(lock, kinds=("vmfb",))
    with pytest.raises(UsageError) as caught:
        pull(shop.store, [], to=tmp_path / "out", locked=narrower)
    assert caught.value.message == (
        f"the lock has 5 files, but its release {lock.release[:12]}… gives 1 for it"
    )
    swapped = msgspec.structs.replace(lock.artifacts[0], digest="a" * 64)
    edited = msgspec.structs.replace(lock, artifacts=(swapped, *lock.artifacts[1:]))
    with pytest.raises(UsageError, match="the lock does not have"):
        pull(shop.store, [], to=tmp_path / "out", locked=edited)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("cached", [False, True])
def test_what_the_store_has_dropped_is_said_with_the_lock(
    shop: Shop, tmp_path: Path, cached: bool
) -> None:
    cache = Cache(tmp_path / "cache", limit_bytes=1 << 30) if cached else None
    lock = locked(shop, CPU, to=tmp_path / "first", kinds=("vmfb",))
    one = next(one for one in shop.artifacts if one.file == MODULE)
    shop.blob(one).unlink()
    ends = f", and the lock wants it (release {lock.release[:12]}…)"
    hint = "the store has dropped it, or is another one; pull without --locked to move on"
    with pytest.raises(StoreError) as caught:
        pull(shop.store, [], to=tmp_path / "out", locked=lock, cache=cache)
    assert (caught.value.message, caught.value.hint) == (
        f"{CPU} vmfb: blob {one.digest[:12]}… is missing in {shop.store.url}{ends}",
        hint,
    )
    (shop.root / release_name(lock.release)).unlink()
    other = Cache(tmp_path / "other", limit_bytes=1 << 30) if cached else None
    with pytest.raises(StoreError) as caught:
        pull(shop.store, [], to=tmp_path / "out", locked=lock, cache=other)
    assert (caught.value.message, caught.value.hint) == (
        f"release {lock.release[:12]}… is missing in {shop.store.url}{ends}",
        hint,
    )


def test_trouble_with_the_store_is_not_blamed_on_the_lock(shop: Shop, tmp_path: Path) -> None:
    lock = locked(shop, CPU, to=tmp_path / "first")
    path = shop.root / release_name(lock.release)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(StoreError) as caught:
        pull(shop.store, [], to=tmp_path / "out", locked=lock)
    assert caught.value.message == (
        f"release {lock.release[:12]}… in {shop.store.url} is damaged: its bytes have another"
        " sha256"
    )


def test_a_lock_that_cannot_be_used_is_named(shop: Shop, tmp_path: Path) -> None:
    lock = locked(shop, CPU, to=tmp_path / "first")
    file = tmp_path / "tidemill.lock"
    assert write_lock(file, lock)
    assert read_lock(file) == lock
    assert not write_lock(file, lock)
    cases = [
        (b"no json", "it is not a lock file: "),
        (b'{"format": 1}', "it is not a lock file: "),
        (b'{"format": 99}', "it has format 99; this tidemill reads up to 1"),
        (encode(msgspec.structs.replace(lock, release="short")), "it is not a lock file: 'short'"),
        (b"\xff{}", "it is not a lock file: "),
    ]
    for data, message in cases:
        file.write_bytes(data)
        with pytest.raises(UsageError) as caught:
            read_lock(file)
        assert caught.value.message.startswith(f"{file}: {message}")
    done = call(tmp_path, "pull", "--locked", "--lock", "absent", "--to", "out", expect=2)
    assert done.stderr == (
        "error: there is no lock file absent\n  write it: pull once without --locked\n"
    )


def test_an_incomplete_pull_locks_nothing_unless_that_is_allowed(
    shop: Shop, tmp_path: Path
) -> None:
    shop.add("stories/decode/f32/gfx90a", "vmfb", status="missing", digest="", size=0)
    shop.publish()
    pull = ("pull", "stories", "--channel", "smoke", "--store", "store", "--lock", "tide.lock")
    call(tmp_path, *pull, "--to", "out", expect=3)
    assert not (tmp_path / "tide.lock").exists()
    call(tmp_path, *pull, "--to", "out", "--allow-missing")
    assert len(read_lock(tmp_path / "tide.lock").artifacts) == 5
    again = ("pull", "--locked", "--lock", "tide.lock", "--to", "out")
    call(tmp_path, *again, expect=3)
    call(tmp_path, *again, "--allow-missing")
