"""A pull that is interrupted or killed while bytes come: nothing torn, and the rest comes later."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.proxy import STALLED, Faults, running_proxy
from tests.servers import S3Server
from tests.unit.shop import Shop, open_shop
from tests.web_server import Stall, Web, running_web
from tidemill.records import Artifact
from tidemill.store import open_store
from tidemill.store.layout import blob_name
from tidemill.store.s3_reading import WINDOW_BYTES
from tidemill.store.scratch import PREFIX

ROOT = Path(__file__).parents[2]
BIG = bytes(range(256)) * 12_000
CAME = (1 << 20) + 1000
#: Longer than an interrupted command takes anywhere, shorter than a client waits for a server.
JOIN_SECONDS = 40


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return open_shop(tmp_path)


@pytest.fixture
def big(shop: Shop) -> Artifact:
    digest = shop.store.put_bytes(BIG)
    one = shop.add("big/x/f32/cpu", "vmfb", digest=digest, size=len(BIG))
    shop.publish()
    return one


@pytest.fixture
def web(shop: Shop) -> Iterator[Web]:
    with running_web(shop.root) as server:
        yield server


@dataclass
class Stalling(Faults):
    """Every answer for a path but the first one stops in the middle."""

    paths: set[str] = field(default_factory=set)

    def next(self, method: str, path: str) -> str:
        """See Faults."""
        super().next(method, path)
        if method != "GET" or "/blobs/" not in path:
            return ""
        again = path in self.paths
        self.paths.add(path)
        self.met += [path] * again
        return STALLED if again else ""


def start(url: str, folder: Path) -> "subprocess.Popen[str]":
    pull = ["pull", "big", "stories", "--channel", "smoke", "--to", "out", "--store", url]
    return subprocess.Popen(
        [sys.executable, "-m", "tidemill", *pull],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def parts(cache: Path) -> list[Path]:
    return list((cache / "parts").glob("*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_next_pull_goes_on_where_one_that_was_ended_stopped(
    web: Web, big: Artifact, tmp_path: Path, number: signal.Signals
) -> None:
    cache, name = Path(os.environ["TIDEMILL_CACHE"]), blob_name(big.digest)
    web.script(name, Stall(after=CAME))
    with start(web.url, tmp_path) as process:
        while not any(path.stat().st_size == CAME for path in parts(cache)):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate()
    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in said
    assert all(path.name.startswith(PREFIX) for path in files(tmp_path / "out"))
    web.asked.clear()
    with start(web.url, tmp_path) as process:
        _, said = process.communicate()
    assert process.returncode == 0, said
    assert ("GET", name, CAME) in web.asked
    assert (tmp_path / "out" / big.file).read_bytes() == BIG
    assert not any(path.name.startswith(PREFIX) for path in files(tmp_path / "out"))
    assert parts(cache) == []


def test_an_interrupted_pull_from_s3_ends_though_the_server_is_silent(
    seaweedfs: S3Server, s3_url: str, tmp_path: Path
) -> None:
    shop = Shop(open_store(s3_url), tmp_path)
    data = BIG * (2 * WINDOW_BYTES // len(BIG) + 1)
    one = shop.add("big/x/f32/cpu", "vmfb", digest=shop.store.put_bytes(data), size=len(data))
    shop.add("stories/x/f32/cpu", "vmfb")
    shop.publish()
    with running_proxy(seaweedfs.endpoint) as proxy:
        stalling = proxy.faults = Stalling()
        url = s3_url.replace(seaweedfs.endpoint, proxy.endpoint)
        with start(url, tmp_path) as process:
            while not stalling.met:
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            try:
                _, said = process.communicate(timeout=JOIN_SECONDS)
            finally:
                process.kill()
        assert process.returncode == 130
        assert "Traceback" not in said
        assert not stalling.ended.is_set()
        proxy.faults = Faults()
        with start(url, tmp_path) as process:
            _, said = process.communicate()
    assert process.returncode == 0, said
    assert (tmp_path / "out" / one.file).read_bytes() == data
