"""Transfers that are cut, lied about, stopped or side by side; what a failed pull leaves behind."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.puller import MODULE, ONE, Client, Counting, files, module_of, new_cache
from tests.unit.shop import Shop, open_shop
from tests.web_server import Answer, Cut, Lie, Web, running_web
from tidemill.client.parallel import Stop, Stopped, run_all
from tidemill.digest import Digest
from tidemill.errors import BlobDamaged, StoreError
from tidemill.store.contract import BlobMissing
from tidemill.store.https import HttpsStore
from tidemill.store.layout import blob_name


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return open_shop(tmp_path)


@pytest.fixture
def web(shop: Shop) -> Iterator[Web]:
    with running_web(shop.root) as server:
        yield server


@pytest.fixture
def client(shop: Shop, tmp_path: Path) -> Client:
    return Client(tmp_path, Counting(shop.root))


class Failing(Counting):
    """Gives one blob up to a byte, and then fails, until it is mended."""

    broken = True
    at = 100

    def __init__(self, root: Path, *, digest: str) -> None:
        super().__init__(root)
        self._broken_digest = digest

    def stream_blob(self, digest: Digest, *, offset: int = 0) -> Iterator[bytes]:
        chunks = super().stream_blob(digest, offset=offset)
        if digest != self._broken_digest or not self.broken:
            return chunks
        return self._some(b"".join(chunks))

    def _some(self, data: bytes) -> Iterator[bytes]:
        yield data[: self.at]
        raise StoreError("the cable is out")


def test_a_transfer_that_failed_is_gone_on_with_by_the_next_pull(
    shop: Shop, tmp_path: Path
) -> None:
    one = module_of(shop)
    client = Client(tmp_path, Failing(shop.root, digest=one.digest))
    with pytest.raises(StoreError) as caught:
        client("stories", jobs=1)
    assert caught.value.message == f"{ONE} vmfb: the cable is out"
    assert not (tmp_path / "out").exists(), "with a cache, nothing is changed before all is here"
    fetched = len(client.store.blobs)
    client.store.broken = False
    client.store.asked.clear()
    again = Client(tmp_path, client.store)  # another process: only the folders are the same
    again("stories", jobs=1)
    assert f"blob {one.digest} 100" in client.store.blobs
    assert len(client.store.blobs) == 5 - fetched + 1, "what had come whole did not come again"
    assert (tmp_path / "out" / MODULE).read_bytes() == shop.blob(one).read_bytes()


def test_a_web_transfer_that_failed_is_gone_on_with_by_the_next_pull(
    web: Web, shop: Shop, tmp_path: Path
) -> None:
    one, busy = module_of(shop), Answer(status=503)
    name = blob_name(one.digest)
    web.script(name, Cut(after=1000), *[busy] * 5, Cut(after=500))
    client = Client(tmp_path, HttpsStore(web.url, pause=lambda _: None))
    with pytest.raises(StoreError, match="gave up after 6 attempts"):
        client(ONE, kinds=["vmfb"])
    client(ONE, kinds=["vmfb"])
    starts = [start for method, path, start in web.asked if (method, path) == ("GET", name)]
    assert starts == [0, *[1000] * 6, 1500]
    assert (tmp_path / "out" / MODULE).read_bytes() == shop.blob(one).read_bytes()


def test_a_rest_with_wrong_bytes_is_thrown_away_and_the_blob_comes_whole(
    web: Web, shop: Shop, tmp_path: Path
) -> None:
    one = module_of(shop)
    client = Client(tmp_path, HttpsStore(web.url, pause=lambda _: None))
    assert client.cache is not None
    part = client.cache.take_part(Digest(one.digest))
    part.write(b"of some other blob")
    part.keep()
    client(ONE, kinds=["vmfb"])
    starts = [start for method, path, start in web.asked if path == blob_name(one.digest)]
    assert starts == [18, 0]


def test_a_lie_is_told_from_a_damaged_blob_and_neither_is_pulled(
    web: Web, shop: Shop, tmp_path: Path
) -> None:
    one = module_of(shop)
    client = Client(tmp_path, HttpsStore(web.url, pause=lambda _: None))
    web.script(blob_name(one.digest), Lie())
    client(ONE, kinds=["vmfb"])
    assert (tmp_path / "out" / MODULE).read_bytes() == shop.blob(one).read_bytes()
    client.cache = new_cache(tmp_path / "other")
    web.script(blob_name(one.digest), Lie(), forever=True)
    with pytest.raises(BlobDamaged) as caught:
        client("stories", to="third")
    assert caught.value.message == (
        f"{ONE} vmfb: blob {one.digest[:12]}… in {web.url} is damaged: its bytes have another"
        " sha256"
    )
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize("size", [10, 10_000])
def test_a_blob_of_another_size_is_never_pulled(client: Client, shop: Shop, size: int) -> None:
    one = module_of(shop)
    shop.blob(one).write_bytes(b"x" * size)
    with pytest.raises(BlobDamaged) as caught:
        client("stories")
    assert caught.value.message == (
        f"{ONE} vmfb: blob {one.digest[:12]}… in {client.store.url} is damaged:"
        f" it has {size} bytes, not {one.size}"
    )
    shop.blob(one).unlink()
    with pytest.raises(BlobMissing):
        client("stories")


def test_a_failed_pull_leaves_an_older_one_as_it_was(client: Client, shop: Shop) -> None:
    client("stories", "minilm/*/f32")
    out = client.folder / "out"
    before = {file: (out / file).read_bytes() for file in files(out)}
    one = shop.add("stories/decode/f32/gfx942", "vmfb")
    shop.artifacts = [kept for kept in shop.artifacts if kept.file != MODULE]
    shop.publish()
    shop.blob(one).unlink()
    with pytest.raises(BlobMissing):
        client("stories", "minilm/*/f32")
    assert {file: (out / file).read_bytes() for file in files(out)} == before
    assert not (out / "stories/decode/f32/gfx942").exists()


def test_a_record_that_is_no_longer_true_is_taken_away_even_if_the_pull_fails(
    client: Client, shop: Shop
) -> None:
    client("stories")
    (client.folder / "out" / MODULE).unlink()
    client.cache = new_cache(client.folder / "other")
    shop.blob(module_of(shop)).unlink()
    with pytest.raises(BlobMissing):
        client("stories")
    assert "tidemill-pull.json" not in files(client.folder / "out")


class Meeting(Counting):
    """Gives no blob before four are asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._together = threading.Barrier(4)

    def stream_blob(self, digest: Digest, *, offset: int = 0) -> Iterator[bytes]:
        self._together.wait(timeout=30)
        return super().stream_blob(digest, offset=offset)


def test_files_come_in_parallel(shop: Shop, tmp_path: Path) -> None:
    client = Client(tmp_path, Meeting(shop.root))
    kinds = ["mlir", "irpa", "reference", "vmfb"]
    assert len(client(ONE, kinds=kinds, jobs=4).copied) == 4


def test_the_first_error_stops_the_other_transfers() -> None:
    stop, began, ended = Stop(), threading.Event(), list[str]()

    def endless() -> None:
        began.set()
        try:
            while True:
                stop.check()
        except Stopped:
            ended.append("endless")
            raise

    def fails() -> None:
        began.wait()
        raise StoreError("no")

    jobs: list[Callable[[], None]] = [endless, fails, lambda: ended.append("never")]
    with pytest.raises(StoreError, match="no"):
        run_all(jobs, threads=2, stop=stop)
    assert ended == ["endless"]


class Stalling(Counting):
    """Gives one blob's first bytes and then nothing; another blob fails once that has begun."""

    def __init__(self, root: Path, *, stalls: str) -> None:
        super().__init__(root)
        self._stalls = stalls
        self._began = threading.Event()

    def stream_blob(self, digest: Digest, *, offset: int = 0) -> Iterator[bytes]:
        if digest != self._stalls:
            self._began.wait()
            raise StoreError("the cable is out")
        yield next(super().stream_blob(digest, offset=offset))[:100]
        self._began.set()
        while True:
            yield b""


def test_a_stopped_transfer_keeps_what_has_come(shop: Shop, tmp_path: Path) -> None:
    other = next(one for one in shop.artifacts if one.file == "stories/decode/f32/model.mlir")
    client = Client(tmp_path, Stalling(shop.root, stalls=other.digest))
    with pytest.raises(StoreError, match="the cable is out"):
        client(ONE, kinds=["vmfb", "mlir"], jobs=2)
    assert client.cache is not None
    parts = {path.name: path.stat().st_size for path in (client.cache.root / "parts").iterdir()}
    assert parts == {f"{other.digest}.part": 100}
