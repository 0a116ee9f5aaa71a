"""Pulls through a cache: what is asked of the store, what comes from the cache, and offline."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.puller import MODULE, ONE, Client, Counting, files, module_of, new_cache
from tests.unit.shop import Shop, open_shop
from tests.unit.test_client_cli import call
from tests.web_server import Web, running_web
from tidemill import moves
from tidemill.errors import StoreError, UsageError
from tidemill.store import open_store
from tidemill.store.folder import FolderStore
from tidemill.trust.follow import ChannelRefused


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


def test_nothing_new_is_one_request(client: Client, shop: Shop) -> None:
    first = client("minilm", "stories")
    assert len(client.store.blobs) == len(first.copied) == len(set(client.store.blobs))
    client.store.asked.clear()
    second = client("minilm", "stories")
    assert client.store.asked == ["list channels/smoke"]
    assert (second.copied, second.kept) == ((), first.copied)
    shop.add("stories/decode/f32/gfx942", "vmfb")
    shop.publish()
    client.store.asked.clear()
    assert len(client("minilm", "stories").copied) == 1
    assert len(client.store.blobs) == 1
    assert not any(line.startswith("stat blobs") for line in client.store.asked)


def test_nothing_new_is_one_request_to_a_web_server(web: Web, tmp_path: Path) -> None:
    client = Client(tmp_path, open_store(web.url))
    first = client("stories")
    assert len(first.copied) == 5
    assert len(web.asked) > 5
    assert client("stories").kept == first.copied
    assert web.asked == [("HEAD", "channels/smoke/00000002.json", 0)]


def test_a_channel_that_a_web_server_does_not_have_is_named(web: Web, tmp_path: Path) -> None:
    client = Client(tmp_path, open_store(web.url))
    with pytest.raises(UsageError) as caught:
        client("stories", channel="nightly")
    assert (caught.value.message, caught.value.hint) == (
        f"{web.url} has no channel 'nightly'",
        "see whether that is the URL of a store, and how its channels are called",
    )


def test_another_folder_is_filled_from_the_cache(client: Client) -> None:
    first = client("stories")
    client.store.asked.clear()
    second = client("stories", to="elsewhere")
    assert second.copied == first.copied
    assert client.store.asked == ["list channels/smoke"]
    assert files(client.folder / "out") == files(client.folder / "elsewhere")


def test_a_pulled_file_is_a_copy_that_may_be_edited(client: Client) -> None:
    client("stories")
    path = client.folder / "out" / MODULE
    right = path.read_bytes()
    with path.open("r+b") as stream:
        stream.write(b"mine")
    again = client("stories")
    assert [one.file for one in again.copied] == [MODULE]
    assert path.read_bytes() == right
    assert len(client.store.blobs) == 5


def test_a_damaged_blob_in_the_cache_is_fetched_again(client: Client) -> None:
    (one,) = client(ONE, kinds=["vmfb"]).copied
    assert client.cache is not None
    cached = client.cache.root / "blobs" / one.digest[:2] / one.digest
    cached.chmod(0o644)
    cached.write_bytes(b"!" * one.size)
    client(ONE, kinds=["vmfb"], to="elsewhere")
    assert (client.folder / "elsewhere" / MODULE).read_bytes() == cached.read_bytes() != b"!"
    assert len(client.store.blobs) == 2


def test_one_blob_of_two_files_is_fetched_once(client: Client, shop: Shop) -> None:
    one = next(one for one in shop.artifacts if one.file == MODULE)
    shop.add("twin/decode/f32/cpu", "vmfb", digest=one.digest, size=one.size)
    shop.publish()
    client("*/decode/*/cpu", kinds=["vmfb"])
    out = client.folder / "out"
    assert (out / MODULE).read_bytes() == (out / "twin/decode/f32/cpu/model.vmfb").read_bytes()
    assert len(client.store.blobs) == 1


def test_a_blob_that_the_cache_has_no_room_for_comes_straight(shop: Shop, tmp_path: Path) -> None:
    client = Client(tmp_path, Counting(shop.root))
    one = module_of(shop)
    client.cache = new_cache(tmp_path, limit_bytes=one.size - 1)
    report = client("stories")
    assert len(report.copied) == 5
    assert (tmp_path / "out" / MODULE).read_bytes() == shop.blob(one).read_bytes()
    cached = [path for path in (tmp_path / "cache/blobs").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in cached) < one.size


def test_offline_serves_what_was_seen_last(client: Client, shop: Shop) -> None:
    first = client("stories")
    shop.root.rename(client.folder / "unplugged")
    client.store = FolderStore(shop.root)
    kept = client("stories", offline=True)
    assert (kept.kept, kept.copied) == (first.copied, ())
    copied = client(ONE, to="elsewhere", offline=True, kinds=["vmfb"])
    assert [one.file for one in copied.copied] == [MODULE]
    assert copied.resolved.sequence == 1
    by_release = client(
        ONE, to="third", offline=True, channel="", release=first.resolved.digest, kinds=["vmfb"]
    )
    assert [one.file for one in by_release.copied] == [MODULE]


def test_offline_asks_nothing_and_names_what_is_missing(client: Client) -> None:
    client(ONE, kinds=["vmfb"])
    client.store.asked.clear()
    with pytest.raises(StoreError) as caught:
        client("stories", offline=True)
    assert caught.value.message == (
        "offline: 4 of the files are not in the cache: stories/decode/f32/cpu/model.verdict,"
        " stories/decode/f32/model.irpa, stories/decode/f32/model.mlir,"
        " stories/decode/f32/model.reference"
    )
    assert client.store.asked == []
    for options, what in (
        ({"channel": "nightly"}, "channels/nightly"),
        ({"channel": "", "release": "a" * 64}, f"releases/{'a' * 64}.json"),
    ):
        with pytest.raises(StoreError) as caught:
            client("stories", offline=True, **options)
        assert caught.value.message == (
            f"offline: {what} of {client.store.url} was never read on this machine"
        )
    with pytest.raises(UsageError) as refused:
        client("stories", offline=True, cache=None)
    assert refused.value.message == "offline, and there is no cache to pull from"
    assert client.store.asked == []


def test_what_the_cache_has_no_room_for_is_pulled_and_named(
    client: Client, monkeypatch: pytest.MonkeyPatch, shop: Shop, tmp_path: Path
) -> None:
    assert client(ONE).uncached == ()
    client.cache = new_cache(tmp_path / "small", limit_bytes=module_of(shop).size - 1)
    report = client(ONE, kinds=["vmfb"], to="second")
    assert [one.file for one in report.uncached] == [MODULE]
    assert files(tmp_path / "second") == [MODULE, "tidemill-pull.json"]
    monkeypatch.setenv("TIDEMILL_CACHE_SIZE", "1")
    pull = ("pull", ONE, "--kind", "vmfb", "--channel", "smoke", "--store", shop.store.url)
    assert call(tmp_path, *pull, "--to", "third").stdout.splitlines()[1:] == [
        f"not cached: {MODULE}: the cache has no room for it (see TIDEMILL_CACHE_SIZE)"
    ]


def test_offline_a_cache_is_enough_where_trust_was_lost(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client(ONE)
    client.store.asked.clear()
    monkeypatch.setenv("TIDEMILL_TRUST", str(tmp_path / "new"))
    assert client(ONE, offline=True).resolved.sequence == 1
    assert client.store.asked == []


def test_offline_a_cache_is_enough_that_was_begun_after_the_channel_was_seen(
    client: Client, tmp_path: Path
) -> None:
    client(ONE)
    younger = Client(tmp_path / "younger", client.store)
    younger(ONE, to="elsewhere")
    assert younger(ONE, to="elsewhere", offline=True).resolved.sequence == 1


def test_offline_an_expired_channel_is_said_to_have_expired(
    client: Client, monkeypatch: pytest.MonkeyPatch, shop: Shop, tmp_path: Path
) -> None:
    client(ONE)
    monkeypatch.setattr(moves, "DAYS", -1)
    shop.add("another/x/f32/cpu", "vmfb")
    shop.publish()
    with pytest.raises(ChannelRefused):
        client(ONE)
    client.store.asked.clear()
    for trust in ("as it is", "new"):
        if trust == "new":
            monkeypatch.setenv("TIDEMILL_TRUST", str(tmp_path / trust))
        with pytest.raises(ChannelRefused) as caught:
            client(ONE, offline=True)
        assert "is refused: what is there has expired (nobody has signed" in caught.value.message
        assert "if you are --offline, ask the store" in caught.value.hint
    assert client.store.asked == []


def test_bytes_are_told_as_they_come(client: Client) -> None:
    expected: list[int] = []
    came: list[int] = []
    report = client("stories", start=expected.append, moved=came.append)
    assert expected == [report.copied_bytes] == [sum(came)]
    client("stories", start=expected.append, moved=came.append)
    assert expected[1:] == [0]
    assert sum(came) == report.copied_bytes
