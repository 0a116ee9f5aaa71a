"""Releases, locks and references that name what is outside: nothing out there is touched."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.puller import Client, Counting, new_cache
from tests.unit.shop import Shop, open_shop
from tests.unit.test_client_cli import call
from tidemill.channels import put_release
from tidemill.client import read_lock
from tidemill.client.choose import resolve
from tidemill.client.samples import read_samples
from tidemill.client.suite import Suite
from tidemill.digest import Digest
from tidemill.errors import StoreError, UsageError
from tidemill.records import Release

ADDRESS = "evil/x/f16/cpu"
KEPT = b"what the user keeps"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    file = tmp_path / "home/notes.txt"
    file.parent.mkdir()
    file.write_bytes(KEPT)
    return file


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return open_shop(tmp_path)


def outside(victim: Path, cache: Path) -> dict[str, str]:
    """Digests that lead to ``victim`` from where the blobs of a cache lie."""
    up = "../" * len((cache / "blobs/..").parts)
    return {"absolute": str(victim), "relative": f"{up}{victim.relative_to('/')}"}


def publish(shop: Shop, digest: str) -> str:
    shop.add(ADDRESS, "vmfb", digest=digest, size=len(KEPT) + 1)
    release = Release(pipeline="smoke", toolchain="t", tools={}, artifacts=tuple(shop.artifacts))
    return put_release(shop.store, release)


@pytest.mark.parametrize("form", ["absolute", "relative"])
def test_a_hostile_release_removes_nothing_of_the_users(
    shop: Shop, victim: Path, tmp_path: Path, form: str
) -> None:
    client = Client(tmp_path, Counting(shop.root))
    assert client.cache is not None
    release = publish(shop, outside(victim, client.cache.root)[form])
    ways: tuple[dict[str, Any], ...] = ({}, {"offline": True}, {"cache": None})
    for options in ways:
        with pytest.raises(StoreError):
            client("evil", channel="", release=release, **options)
        assert victim.read_bytes() == KEPT
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["absolute", "relative"])
def test_a_hostile_release_is_refused_on_the_command_line(
    shop: Shop, victim: Path, tmp_path: Path, form: str
) -> None:
    cache = tmp_path / "cache"
    release = publish(shop, outside(victim, cache)[form])
    pull = ("pull", "evil", "--to", "out", "--store", "store", "--cache", str(cache))
    said = call(tmp_path, *pull, "--release", release, expect=5).stderr
    assert said.startswith("error: ")
    assert victim.read_bytes() == KEPT
    lock = {
        "store": shop.store.url,
        "channel": "",
        "sequence": 0,
        "release": release,
        "patterns": ["evil"],
        "kinds": [],
        "artifacts": [
            {
                "address": ADDRESS,
                "kind": "vmfb",
                "file": f"{ADDRESS}/model.vmfb",
                "digest": shop.artifacts[-1].digest,
                "size": shop.artifacts[-1].size,
            }
        ],
        "format": 1,
    }
    (tmp_path / "tidemill.lock").write_text(json.dumps(lock), encoding="utf-8")
    call(tmp_path, *pull, "--locked", expect=2)
    assert victim.read_bytes() == KEPT


@pytest.mark.parametrize(
    ("digest", "size"), [("/etc/x", 1), ("../../x", 1), ("", 1), ("a" * 64, -1), ("A" * 64, 1)]
)
def test_a_lock_names_digests_and_sizes_only(tmp_path: Path, digest: str, size: int) -> None:
    one = {"address": "a/b/c", "kind": "mlir", "file": "f", "digest": digest, "size": size}
    file = tmp_path / "tidemill.lock"
    text = {"store": "s", "channel": "", "sequence": 0, "release": "a" * 64, "patterns": ["a"]}
    file.write_text(json.dumps({**text, "kinds": [], "artifacts": [one], "format": 1}))
    with pytest.raises(UsageError) as caught:
        read_lock(file)
    assert caught.value.message == (
        f"{file}: it is not a lock file: 'f' has the digest {digest!r} and {size} bytes"
    )


@pytest.mark.parametrize("form", ["absolute", "relative"])
def test_a_cache_refuses_what_is_no_digest(victim: Path, tmp_path: Path, form: str) -> None:
    cache = new_cache(tmp_path)
    (cache.root / "blobs").mkdir(parents=True)
    digest = Digest(outside(victim, cache.root)[form])
    asked = (
        lambda: cache.holds(digest, size=1),
        lambda: cache.open(digest, size=1),
        lambda: cache.take_part(digest),
        lambda: cache.scratch(digest),
        lambda: cache.admit(victim, digest),
    )
    for ask in asked:
        with pytest.raises(StoreError) as caught:
            ask()
        assert caught.value.message == (
            f"{digest!r} is not a sha256 in lower-case hexadecimal digits"
        )
        assert victim.read_bytes() == KEPT


def test_a_suite_of_a_hostile_release_removes_nothing(
    shop: Shop, victim: Path, tmp_path: Path
) -> None:
    cache = new_cache(tmp_path)
    release = publish(shop, outside(victim, cache.root)["absolute"])

    def hand() -> None:
        found = resolve(shop.store, release=release)
        Suite(store=shop.store, resolved=found, cache=cache).artifacts(ADDRESS)

    with pytest.raises(StoreError):
        hand()
    assert victim.read_bytes() == KEPT


@pytest.mark.parametrize("file", ["/etc/hostname", "../x.npy", "a/../../x.npy", "", "."])
def test_a_reference_names_files_beside_it_only(tmp_path: Path, file: str) -> None:
    array = {"name": "ids", "file": file, "shape": [1], "dtype": "i64"}
    sample = {"name": "one", "inputs": [array], "outputs": []}
    index = tmp_path / "reference.json"
    index.write_bytes(msgspec.json.encode({"format": 1, "samples": [sample]}))
    with pytest.raises(StoreError) as caught:
        read_samples(tmp_path)
    assert caught.value.message == (f"{index}: ids is in the file {file!r}, which is not beside it")
