"""One cache, several processes, no room for all of it, and one that is killed in between."""

import subprocess
import sys
import time
from pathlib import Path

from tests.unit.shop import Shop, open_shop
from tidemill.client import Cache
from tidemill.digest import digest_file

ROOT = Path(__file__).parents[2]
BLOB_BYTES = 200_000
LIMIT = 5 * BLOB_BYTES // 2


def stocked(folder: Path) -> Shop:
    """A shop with ten bigger artifacts beside the small ones."""
    shop = open_shop(folder)
    for number in range(10):
        data = bytes([number]) * BLOB_BYTES
        digest = shop.store.put_bytes(data)
        shop.add(f"big/part{number}/f32/cpu", "vmfb", digest=digest, size=BLOB_BYTES)
    shop.publish()
    return shop


def start(shop: Shop, folder: Path, *, rounds: int) -> "subprocess.Popen[bytes]":
    cache = folder.parent / "cache"
    arguments = [shop.root, cache, LIMIT, folder, rounds]
    command = [sys.executable, "-m", "tests.faults.cache_user", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT)


def test_processes_that_share_and_empty_a_cache_all_get_right_bytes(tmp_path: Path) -> None:
    shop = stocked(tmp_path)
    users = [start(shop, tmp_path / f"user{number}", rounds=6) for number in range(3)]
    victim = start(shop, tmp_path / "victim", rounds=1000)
    while not (tmp_path / "victim/1").exists():
        assert victim.poll() is None
        time.sleep(0.005)
    victim.kill()
    victim.wait()
    assert [user.wait() for user in users] == [0, 0, 0]
    wanted = {one.file: one.digest for one in shop.artifacts}
    for number in range(3):
        for folder in (tmp_path / f"user{number}").iterdir():
            assert {file: digest_file(folder / file) for file in wanted} == wanted
            assert (folder / "tidemill-pull.json").is_file()
    kept = [path for path in (tmp_path / "cache/blobs").rglob("*") if path.is_file()]
    assert all(digest_file(path) == path.name for path in kept)
    # The next user finds what the killed one left, and brings the cache back to its limit.
    after = Cache(tmp_path / "cache", limit_bytes=LIMIT)
    with after.room_for("f" * 64, size=BLOB_BYTES) as fits:
        assert fits
    kept = [path for path in (tmp_path / "cache/blobs").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in kept) <= LIMIT - BLOB_BYTES
