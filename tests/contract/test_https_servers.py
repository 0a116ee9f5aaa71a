"""Web servers as they are: redirects, connections, proxies, certificates, and URLs of stores."""

import os
import subprocess
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.test_store_contract import BIG, RECORD, put
from tests.web_server import Answer, Cut, Web, running_web
from tidemill.digest import digest_bytes
from tidemill.errors import StoreError, UsageError
from tidemill.store import open_store
from tidemill.store.https import HttpsStore, plain_url
from tidemill.store.layout import blob_name

DIGEST = digest_bytes(BIG)
BLOB = blob_name(DIGEST)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with running_web(tmp_path / "store") as server:
        yield server


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def reader(web: Web, pauses: list[float], tmp_path: Path) -> HttpsStore:
    """Reads a store that has BIG, and waits for nothing."""
    put(open_store(str(web.root)), BIG, folder=tmp_path)
    return HttpsStore(web.url, pause=pauses.append)


def fetched(reader: HttpsStore, folder: Path) -> bytes:
    reader.fetch_blob(DIGEST, folder / "target")
    return (folder / "target").read_bytes()


def test_redirects_are_followed_but_not_in_circles_nor_out_of_the_web(
    web: Web, reader: HttpsStore, tmp_path: Path
) -> None:
    web.script(BLOB, Answer(status=302, headers={"Location": f"/elsewhere/{DIGEST}"}))
    (web.root / "elsewhere").mkdir()
    (web.root / "elsewhere" / DIGEST).write_bytes(BIG)
    assert fetched(reader, tmp_path) == BIG
    assert [path for _, path, _ in web.asked] == [BLOB, f"elsewhere/{DIGEST}"]
    web.script(RECORD, Answer(status=301, headers={"Location": f"/{RECORD}"}), forever=True)
    with pytest.raises(StoreError) as caught:
        reader.read(RECORD)
    assert caught.value.message == f"{web.url}/{RECORD}: more than 5 redirects"
    web.script(RECORD, Answer(status=307, headers={"Location": "file:///etc/passwd"}))
    with pytest.raises(StoreError) as caught:
        reader.read(RECORD)
    assert caught.value.message == (
        f"{web.url}/{RECORD} redirects from http to file, which is not followed"
    )


def test_one_connection_serves_many_requests_and_its_end_goes_unnoticed(
    web: Web, reader: HttpsStore, pauses: list[float]
) -> None:
    open_store(str(web.root)).replace(RECORD, b"a document")
    for _ in range(3):
        assert reader.read(RECORD) == b"a document"
        assert reader.stat(RECORD) is not None
        assert reader.read(f"{RECORD}.absent") is None
    assert web.connections == 1
    web.script(RECORD, Cut(after=100))  # the whole of it; then the server hangs up
    for _ in range(2):
        assert reader.read(RECORD) == b"a document"
    assert (web.connections, pauses) == (2, [])


def test_a_child_process_does_not_share_connections(web: Web, reader: HttpsStore) -> None:
    open_store(str(web.root)).replace(RECORD, b"a document")
    assert reader.read(RECORD) == b"a document"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the server's thread does not matter to the child
        child = os.fork()
    if child == 0:
        os._exit(0 if reader.read(RECORD) == b"a document" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert reader.read(RECORD) == b"a document"
    assert web.connections == 2


def test_no_server_is_said_so(pauses: list[float]) -> None:
    nobody = HttpsStore("http://127.0.0.1:1", pause=pauses.append)
    with pytest.raises(StoreError) as caught:
        nobody.read(RECORD)
    assert caught.value.message.startswith(
        f"http://127.0.0.1:1: cannot read {RECORD}: gave up after 6 attempts: "
    )
    assert "refused" in caught.value.message


def test_without_etags_an_old_file_has_a_stamp_and_a_new_one_has_none(
    web: Web, reader: HttpsStore
) -> None:
    web.etags = False

    def stamps() -> set[str]:
        found = [reader.stat(BLOB) for _ in range(2)]
        return {entry.stamp for entry in found if entry}

    assert len(stamps()) == 2
    os.utime(web.root / BLOB, (time.time() - 60, time.time() - 60))
    assert len(stamps()) == 1


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("HTTPS://Example.ORG:443/a/B/", "https://example.org/a/B"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://example.org:80//", "http://example.org"),
    ],
)
def test_a_url_has_one_spelling(url: str, plain: str) -> None:
    assert plain_url(url) == plain
    assert open_store(url).url == plain


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://user:word@example.org/x", "https://…@…: no password belongs into the URL"),
        ("https://example.org/x?y=1", "https://example.org/x?y=1 is not the URL of a store"),
        ("https:///x", "https:///x is not the URL of a store"),
        ("https://example.org:99999", "https://example.org:99999: Port out of range"),
    ],
)
def test_a_url_that_is_no_stores_is_refused(url: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(url)
    assert caught.value.message.startswith(message)
    assert "word@" not in caught.value.message


def test_a_proxy_of_the_environment_is_used(
    web: Web, reader: HttpsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", web.url.replace("http://", "http://me:my%20word@"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    far = HttpsStore("http://store.invalid/")
    assert far.check_blob(DIGEST) == len(BIG)
    assert web.seen[-1].headers["Host"] == "store.invalid"
    assert web.seen[-1].headers["Proxy-Authorization"] == "Basic bWU6bXkgd29yZA=="
    assert reader.check_blob(DIGEST) == len(BIG)
    assert "Proxy-Authorization" not in web.seen[-1].headers


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
        "-keyout", str(file), "-out", str(file.with_suffix(".crt")),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + file.with_suffix(".crt").read_bytes())
    return file


def test_https_is_spoken_with_servers_that_are_trusted_only(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(open_store(str(tmp_path / "store")), BIG, folder=tmp_path)
    with running_web(tmp_path / "store", certificate=certificate) as web:
        with pytest.raises(StoreError) as caught:
            HttpsStore(web.url).check_blob(DIGEST)
        assert caught.value.message == (
            f"{web.url}/{BLOB}: the server's certificate is not trusted: self-signed certificate"
        )
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        trusting = HttpsStore(web.url)
        assert trusting.check_blob(DIGEST) == len(BIG)
        web.script(BLOB, Answer(status=302, headers={"Location": "http://127.0.0.1:1/x"}))
        with pytest.raises(StoreError) as caught:
            trusting.check_blob(DIGEST)
        assert caught.value.message == (
            f"{web.url}/{BLOB} redirects from https to http, which is not followed"
        )
