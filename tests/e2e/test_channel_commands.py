"""Channels through the command line: who holds them, who signs them, where a release comes from."""

import json
import os
from pathlib import Path

import pytest
from google.protobuf import json_format  # type: ignore[import-untyped]
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage

from tests.signing import SIGNER, public_pem, signer_number
from tests.workbench import Workbench
from tidemill.store import open_store
from tidemill.trust.authority import rotate
from tidemill.trust.keys import local_signer, next_signer

pytestmark = pytest.mark.toolchain


def heads(bench: Workbench) -> list[tuple[int, str, str]]:
    """(sequence, reason, why it is pinned) of a channel's entries, newest first."""
    entries = bench.call("channel", "list", "small", "--json").json
    return [(entry["sequence"], entry["reason"], entry["pinned"]) for entry in entries]


def test_the_workspace_has_a_key_of_its_own_that_nobody_else_can_read(built: Workbench) -> None:
    key = built.root / ".tidemill/keys/channels.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE KEY" in key.read_text(encoding="ascii")


def test_a_pinned_channel_stays_and_the_run_is_good(built: Workbench) -> None:
    told = built.call("channel", "pin", "small", "--reason", "a demo is on").out
    assert "pinned: a demo is on" in told
    built.onnx("tiny", seed=9, width=16)
    done = built.run()
    assert done.json["channel"] == ""
    (problem,) = done.json["problems"]
    assert problem.startswith("channel 'small' is pinned at sequence 2: a demo is on")
    assert heads(built) == [(2, "a demo is on", "a demo is on"), (1, "pipeline small", "")]
    built.call("channel", "unpin", "small", "--reason", "the demo is over")
    assert built.run().json["channel"] == "small"
    assert [sequence for sequence, _, _ in heads(built)] == [4, 3, 2, 1]


def test_signing_anew_and_another_key_are_followed_by_readers(
    built: Workbench, tmp_path: Path
) -> None:
    pull = ("pull", "tiny", "--channel", "small", "--to", str(tmp_path / "out"), "--no-cache")
    first = built.call(*pull)
    assert "on first use" in first.err
    assert "small 2 " in built.call("channel", "sign").out
    before = (built.root / ".tidemill/keys/channels.pem").read_bytes()
    told = built.call("channel", "rotate-key").out
    assert "small 3 " in told
    assert (built.root / ".tidemill/keys/channels.pem").read_bytes() != before
    again = built.call(*pull)
    assert "(sequence 3)" in again.out
    assert "on first use" not in again.err
    assert built.run().built == set()


def test_a_producer_without_the_key_is_told_so_and_moves_nothing(built: Workbench) -> None:
    other = Workbench(
        root=built.root,
        store=built.store,
        extra={**built.extra, "TIDEMILL_SIGNING_KEY": SIGNER.private_bytes.decode()},
    )
    other.onnx("tiny", seed=9, width=16)
    done = other.run(expect=5)
    (problem,) = done.json["problems"]
    assert "are signed with key" in problem
    assert "give the right key" in problem
    assert [sequence for sequence, _, _ in heads(built)] == [1]
    refused = other.call("channel", "sign", expect=5)
    assert "are signed with key" in refused.err


def test_a_key_service_is_named_by_uri_and_public_key(built: Workbench, tmp_path: Path) -> None:
    signer = signer_number(7)
    (tmp_path / "private.pem").write_bytes(signer.private_bytes)
    (tmp_path / "public.pem").write_bytes(public_pem(7))
    (tmp_path / "other.pem").write_bytes(public_pem(8))
    (tmp_path / "none.pem").write_text("no key", encoding="ascii")
    uri = f"file2:{tmp_path / 'private.pem'}"
    for public, expect, words in (
        ("", 2, "does not name the file with its public half"),
        ("none.pem", 2, "cannot be used"),
        ("other.pem", 2, "private key does not match public key"),
        ("public.pem", 5, "are signed with key"),
    ):
        extra = {
            "TIDEMILL_SIGNER": uri,
            "TIDEMILL_SIGNER_PUBLIC": str(tmp_path / public) if public else "",
        }
        bench = Workbench(root=built.root, store=built.store, extra=extra)
        assert words in bench.call("channel", "sign", expect=expect).err
    fresh = {"TIDEMILL_STORE": str(tmp_path / "store"), **extra}
    bench = Workbench(root=built.root, store=tmp_path / "store", extra=fresh)
    assert bench.run().json["channel"] == "small"


def test_a_release_says_where_it_comes_from(built: Workbench) -> None:
    statement = built.call("channel", "provenance", "small").json
    message = json_format.ParseDict(statement, StatementMessage())
    Statement.copy_from_pb(message).validate()
    predicate = json_format.ParseDict(statement["predicate"], Provenance())
    assert predicate.build_definition.external_parameters["pipeline"] == "small"
    named = {item.name: item for item in predicate.build_definition.resolved_dependencies}
    assert any(name.startswith("tiny/") and name.endswith("/model.onnx") for name in named)
    assert named["toolchains/default.lock"].digest["sha256"]
    subjects = {item["name"]: item["digest"]["sha256"] for item in statement["subject"]}
    artifacts = built.call("ls", "--channel", "small", "--json").json
    assert {item["file"]: item["digest"] for item in artifacts if item["digest"]}.items() <= (
        subjects.items()
    )


def test_provenance_that_was_changed_is_not_believed(built: Workbench) -> None:
    (file,) = (built.store / "provenance").iterdir()
    file.write_bytes(file.read_bytes().replace(b"a", b"b", 1))
    told = built.call("channel", "provenance", "small", expect=5).err
    assert "is not what its channel has signed" in told


def test_what_is_not_known_of_a_channel_is_said(built: Workbench) -> None:
    for command in ("pin", "unpin"):
        told = built.call("channel", command, "no-such", "--reason", "x", expect=2).err
        assert "has no channel 'no-such'" in told
    assert "has no channel" in built.call("channel", "provenance", "no-such", expect=2).err
    assert os.fspath(built.store) in built.call("channel", "forget").out
    assert json.loads(built.call("channel", "list", "--json").out)[0]["channel"] == "small"


def test_a_rotation_that_was_broken_off_is_finished_by_the_same_command(built: Workbench) -> None:
    state, store = built.root / ".tidemill", open_store(str(built.store))
    begun = next_signer(state)
    rotate(store, old=local_signer(state), new=begun)  # and here the power fails
    assert "are signed with key" in built.call("channel", "sign", expect=5).err
    told = built.call("channel", "rotate-key", expect=5)
    assert f"are signed with {begun.public_key.keyid[:12]}… now" in told.out
    assert "channel small: entry 1 of channel 'small' is not signed" in told.err
    release = next(iter((built.store / "releases").iterdir())).stem
    built.call("channel", "promote", "small", release, "--reason", "it is the right one")
    assert built.run().built == set()
    statement = built.call("channel", "provenance", "small").json
    assert statement["subject"][0]["digest"]["sha256"] == release


def test_a_bad_channel_does_not_stand_in_the_others_way(built: Workbench) -> None:
    release = next(iter((built.store / "releases").iterdir())).stem
    built.call("channel", "promote", "also", release, "--reason", "x")
    (entry,) = (path for path in (built.store / "channels/also").iterdir() if path.stem.isdecimal())
    entry.write_bytes(b"{}")
    listed = built.call("channel", "list", expect=5)
    assert "small 1 " in listed.out
    assert "error: channel also: " in listed.err
    signed = built.call("channel", "sign", expect=5)
    assert "small 2 " in signed.out
    assert "error: channel also: " in signed.err


def test_what_is_mistyped_is_told(built: Workbench) -> None:
    told = built.call("channel", "list", "smal", expect=2).err
    assert "has no channel 'smal'" in told
    assert "its channels: small" in told
    lost = {"TIDEMILL_ROOT": "/no/such/file"}
    bench = Workbench(root=built.root, store=built.store, extra=lost)
    assert "/no/such/file is no file" in bench.call("ls", expect=2).err


def test_a_release_is_promoted_by_the_digits_that_people_see(built: Workbench) -> None:
    release = next(iter((built.store / "releases").iterdir())).stem
    for name in (release[:12], "small", "small@1"):
        built.call("channel", "promote", "also", name, "--reason", "x")
    (entry,) = built.call("channel", "list", "also", "--json").json
    assert entry["release"] == release


def test_a_key_that_was_changed_for_one_store_still_serves_the_others(
    built: Workbench, tmp_path: Path
) -> None:
    other = ("--store", str(tmp_path / "other"))
    built.run("small", *other)
    built.call("channel", "rotate-key")
    assert "small 2 " in built.call("channel", "sign", *other).out
    assert built.run("small", *other).built == set()
    assert "small 3 " in built.call("channel", "rotate-key", *other).out
    assert "small 4 " in built.call("channel", "sign", *other).out
    assert "small 3 " in built.call("channel", "sign").out


def test_a_key_from_the_environment_is_changed_for_one_that_is_given(
    built: Workbench, tmp_path: Path
) -> None:
    own = built.root / ".tidemill/keys/channels.pem"
    extra = {"TIDEMILL_SIGNING_KEY": own.read_text(encoding="ascii")}
    bench = Workbench(root=built.root, store=built.store, extra=extra)
    assert "name its file with --new-key" in bench.call("channel", "rotate-key", expect=2).err
    (tmp_path / "new.pem").write_bytes(SIGNER.private_bytes)
    told = bench.call("channel", "rotate-key", "--new-key", str(tmp_path / "new.pem"))
    assert "in TIDEMILL_SIGNING_KEY from now on" in told.err
    assert own.read_text(encoding="ascii") == extra["TIDEMILL_SIGNING_KEY"]
