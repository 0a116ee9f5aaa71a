"""What a producer signs, and what it never does: planted heads, lost keys, failing key services."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner, Signature, Signer

from tests.faults.store_helpers import release_named
from tests.signing import SIGNER, public_pem, signer_number
from tests.unit.scene import OTHER, Scene, change_key, scene
from tests.web_server import Answer, running_web
from tidemill.channels import follow, head, history, latest, put_release
from tidemill.client import resolve
from tidemill.errors import BlobDamaged, ExitCode, StoreError, UsageError
from tidemill.moves import move, resign, rollback
from tidemill.records import Artifact, Release
from tidemill.store import open_store
from tidemill.store.layout import channel_name, provenance_name, root_name
from tidemill.trust.authority import NotOurs, rotate
from tidemill.trust.documents import NotSigned, sign_entry
from tidemill.trust.follow import ChannelRefused
from tidemill.trust.keys import (
    CannotSign,
    adopt,
    key_file,
    local_signer,
    next_signer,
    signer_of,
)
from tidemill.trust.provenance import (
    Making,
    find_statement,
    put_statement,
    read_statement,
    statement_of,
)

__all__ = ["scene"]


# Heads that nobody with the key has written.


def test_a_planted_head_is_never_signed_anew(scene: Scene) -> None:
    entry = head(scene.store, "nightly")
    assert entry is not None
    theirs = put_release(scene.store, release_named("theirs"))
    planted = msgspec.structs.replace(entry, sequence=3, release=theirs)
    scene.plant(3, sign_entry(planted, length=entry.length, days=9, signers=[OTHER]))
    with pytest.raises(NotSigned) as refused:
        resign(scene.store, "nightly", signer=SIGNER, reason="x")
    assert "promote" in refused.value.hint
    assert latest(scene.store, "nightly") == 3


def test_another_channels_head_is_never_signed_anew(scene: Scene) -> None:
    scene.move("x", channel="smoke")
    scene.plant(3, scene.document(1, channel="smoke"))
    with pytest.raises(BlobDamaged):
        resign(scene.store, "nightly", signer=SIGNER, reason="x")
    assert latest(scene.store, "smoke") == 1


# Several hosts of one run.


def test_the_same_release_by_another_host_is_no_lost_race(scene: Scene) -> None:
    at = latest(scene.store, "nightly")
    release = put_release(scene.store, release_named("c"))
    told: dict[str, Any] = {"release": release, "expecting": at, "reason": "c", "signer": SIGNER}
    first = move(scene.store, "nightly", run="host-a", **told)
    second = move(scene.store, "nightly", run="host-b", **told)
    assert second == first
    assert latest(scene.store, "nightly") == first.sequence


# Another key.


def test_between_signing_anew_and_the_new_root_readers_miss_nothing(scene: Scene) -> None:
    scene.follow()
    resign(scene.store, "nightly", signer=SIGNER, successor=OTHER, reason="new key")
    during = scene.follow()
    rotate(scene.store, old=SIGNER, new=OTHER)
    assert scene.follow() == during


def test_what_the_old_key_signed_can_be_gone_back_to(scene: Scene) -> None:
    change_key(scene)
    assert [one.sequence for one in history(scene.store, "nightly")] == [3, 2, 1]
    back = rollback(scene.store, "nightly", run="r", reason="x", signer=OTHER)
    assert (back.sequence, back.release) == (4, put_release(scene.store, release_named("a")))
    assert scene.follow() == back


def test_a_root_by_somebody_else_at_the_same_time_is_no_success(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = signer_number(3)
    create = scene.store.create

    def late(name: str, data: bytes) -> bool:
        if name == root_name(2):
            monkeypatch.undo()
            rotate(scene.store, old=SIGNER, new=third)
        return create(name, data)

    monkeypatch.setattr(scene.store, "create", late)
    with pytest.raises(NotOurs, match="by somebody else meanwhile"):
        rotate(scene.store, old=SIGNER, new=OTHER)


def test_the_next_key_is_the_same_until_it_is_adopted(tmp_path: Path) -> None:
    own = local_signer(tmp_path).public_key.keyid
    following = next_signer(tmp_path)
    assert next_signer(tmp_path).public_key.keyid == following.public_key.keyid
    adopt(tmp_path, following)
    assert local_signer(tmp_path).public_key.keyid == following.public_key.keyid
    (retired,) = key_file(tmp_path).parent.glob("retired-*.pem")
    assert retired.name == f"retired-{own[:12]}.pem"
    assert retired.stat().st_mode & 0o077 == 0
    assert next_signer(tmp_path).public_key.keyid != following.public_key.keyid


# Statements.


def stated(scene: Scene, signer: CryptoSigner) -> tuple[str, str]:
    """The digests of a release and of the statement about it that is kept."""
    release = release_named("c")
    digest = put_release(scene.store, release)
    making = Making(run="r", builder="urn:x", started_at="", finished_at="", materials=())
    made = statement_of(release, digest, making)
    return digest, put_statement(scene.store, digest, made, signer=signer)


def test_a_statement_holds_when_the_key_is_another(scene: Scene) -> None:
    release, statement = stated(scene, SIGNER)
    change_key(scene)
    assert find_statement(scene.store, release) == statement
    assert read_statement(scene.store, release, expected=statement)["subject"]
    assert stated(scene, OTHER) == (release, statement)


def test_a_damaged_statement_gives_way(scene: Scene) -> None:
    release, statement = stated(scene, SIGNER)
    scene.store.replace(provenance_name(release), b"{}")
    assert find_statement(scene.store, release) is None
    assert stated(scene, SIGNER) == (release, statement)
    assert read_statement(scene.store, release, expected=statement)


# Key services.


class Failing(CryptoSigner):
    """A key service whose token has expired."""

    def sign(self, payload: bytes) -> Signature:  # noqa: ARG002 - as every signer has it
        raise RuntimeError("ExpiredTokenException: the token has expired")


def test_a_key_service_that_fails_is_trouble_with_a_hint(scene: Scene) -> None:
    failing = Failing(SIGNER._private_key)
    entry = head(scene.store, "nightly")
    assert entry is not None
    attempts: list[Callable[[], object]] = [
        lambda: sign_entry(entry, length=1, days=1, signers=[failing]),
        lambda: stated(scene, failing),
        lambda: rotate(scene.store, old=failing, new=OTHER),
    ]
    for attempt in attempts:
        with pytest.raises(CannotSign) as refused:
            attempt()
        assert "the token has expired" in refused.value.message
        assert "tidemill release" in refused.value.hint
        assert refused.value.exit_code == ExitCode.STORE


# Readers that name no trust, and servers that are odd.


def test_a_library_pull_believes_no_more_than_a_command(scene: Scene) -> None:
    resolve(scene.store, channel="nightly")
    entry = head(scene.store, "nightly")
    assert entry is not None
    old = msgspec.structs.replace(entry, sequence=3)
    scene.plant(3, sign_entry(old, length=entry.length, days=-1, signers=[SIGNER]))
    with pytest.raises(ChannelRefused, match="has expired"):
        resolve(scene.store, channel="nightly")


@pytest.mark.parametrize("digest", ["/etc/passwd", "../../x", "A" * 64, "0" * 63])
def test_a_release_that_names_what_is_no_digest_is_refused(scene: Scene, digest: str) -> None:
    one = Artifact(address="m/c/v", kind="mlir", file="m/c/v/model.mlir", digest=digest, size=1,
                   key="k", status="validated")  # fmt: skip
    hostile = Release(pipeline="p", toolchain="t", tools={}, artifacts=(one,))
    release = put_release(scene.store, hostile)
    with pytest.raises(BlobDamaged, match="names blobs by what is no sha256"):
        resolve(scene.store, release=release)


@contextmanager
def web_pages() -> Iterator[str]:
    """The URL of a server that shows its first page for every name."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"<html>")

        do_HEAD = do_GET  # noqa: N815 - http.server's name

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/store"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_server_of_web_pages_is_told_from_a_store(scene: Scene) -> None:
    with web_pages() as url, pytest.raises(StoreError) as refused:
        follow(open_store(url), "nightly", trust=scene.reader)
    assert "answers for names that no store has" in refused.value.message
    assert "404" in refused.value.hint


def test_a_bucket_that_may_not_be_listed_says_403_for_what_is_not_there(scene: Scene) -> None:
    with running_web(Path(scene.store.url.removeprefix("file://"))) as web:
        denied = Answer(status=403)
        for name in (channel_name("nightly", 3), root_name(2)):
            web.script(name, denied, forever=True)
        entry = follow(open_store(web.url), "nightly", trust=scene.reader)
        assert entry is not None
        assert entry.sequence == 2
        web.script(channel_name("other", 1), denied, forever=True)
        with pytest.raises(StoreError, match="403"):
            follow(open_store(web.url), "other", trust=scene.reader)


def test_a_root_that_a_person_names_is_trusted_instead_of_the_first_one(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "1.root.json"
    theirs.write_bytes(scene.store.read(root_name(1)) or b"")
    monkeypatch.setenv("TIDEMILL_ROOT", str(theirs))
    assert resolve(scene.store, channel="nightly").sequence == 2
    other = open_store(str(tmp_path / "other"))
    release = put_release(other, release_named("z"))
    move(other, "nightly", release=release, expecting=0, run="r", reason="", signer=OTHER)
    with pytest.raises(ChannelRefused, match="not signed by a key that this machine trusts"):
        resolve(other, channel="nightly")


class Astray(CryptoSigner):
    """A key service that signs with another key than it was asked to."""

    def sign(self, payload: bytes) -> Signature:
        return OTHER.sign(payload)


def test_a_key_service_that_signs_with_another_key_signs_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    astray = Astray(SIGNER._private_key)
    monkeypatch.setattr(Signer, "from_priv_key_uri", lambda _uri, _key: astray)
    (tmp_path / "public.pem").write_bytes(public_pem(1))
    named = {
        "TIDEMILL_SIGNER": "awskms:key",
        "TIDEMILL_SIGNER_PUBLIC": str(tmp_path / "public.pem"),
    }
    with pytest.raises(UsageError, match="does not fit the public key in"):
        signer_of(tmp_path, named)
