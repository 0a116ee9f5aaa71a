"""The client: what it refuses to pull, and how it says so."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.shop import Shop, open_shop
from tidemill.client import pull
from tidemill.errors import BlobDamaged, StoreError, ToolError, UsageError


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return open_shop(tmp_path)


def test_a_glob_that_matches_nothing_names_the_closest(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        pull(shop.store, ["minilm/encdr/f16/cpu"], to=tmp_path / "out", channel="smoke")
    assert caught.value.message == (
        "nothing in channel 'smoke' (sequence 1) matches 'minilm/encdr/f16/cpu'"
    )
    assert caught.value.hint == (
        "the closest of its 7 addresses: minilm/encoder/f16/cpu, minilm/encoder/f32/cpu, "
        "minilm/encoder/f16, minilm/encoder/f16/gfx942"
    )
    assert not (tmp_path / "out").exists()


def test_what_is_not_there_is_said_with_what_is(shop: Shop, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str, str]] = [
        (
            {"channel": "nightly"},
            f"{shop.store.url} has no channel 'nightly'",
            "its channels are: smoke",
        ),
        (
            {"channel": "smoke", "kinds": ["vmbf"]},
            "channel 'smoke' (sequence 1) has no artifact of kind 'vmbf'",
            "its kinds are: irpa, mlir, reference, verdict, vmfb",
        ),
        ({}, "name a channel or a release", "one of them, not both"),
        ({"release": "12"}, "'12' is not the digest of a release", "give 64 digits"),
    ]
    for arguments, message, hint in cases:
        with pytest.raises(UsageError) as caught:
            pull(shop.store, ["*"], to=tmp_path / "out", **arguments)
        assert (caught.value.message, caught.value.hint) == (message, hint)
    with pytest.raises(UsageError) as caught:
        pull(shop.store, [], to=tmp_path / "out", channel="smoke")
    assert caught.value.message == "no address is given"


def test_artifacts_without_bytes_are_refused_with_their_reason(shop: Shop, tmp_path: Path) -> None:
    empty = {"digest": "", "size": 0, "file": ""}
    shop.add("minilm/encoder/f16/gfx90a", "vmfb", status="missing", reason="no compile", **empty)
    shop.publish()
    report = pull(shop.store, ["minilm/*/f16"], to=tmp_path / "out", channel="smoke")
    assert [(one.address, one.status, one.reason) for one in report.refused] == [
        ("minilm/encoder/f16/gfx90a", "missing", "no compile")
    ]
    assert len(report.copied) == 6
    with pytest.raises(ToolError) as caught:
        pull(shop.store, ["*/*/*/gfx90a"], to=tmp_path / "other", channel="smoke")
    assert caught.value.message == (
        "channel 'smoke' (sequence 2) cannot give what is asked for: "
        "minilm/encoder/f16/gfx90a vmfb is missing (no compile)"
    )
    assert not (tmp_path / "other").exists()


def test_require_validated_refuses_the_whole_pull(shop: Shop, tmp_path: Path) -> None:
    def ask(pattern: str) -> int:
        out = tmp_path / "out"
        report = pull(shop.store, [pattern], to=out, channel="smoke", require_validated=True)
        return len(report.copied)

    with pytest.raises(UsageError) as caught:
        ask("minilm")
    assert caught.value.message == (
        "channel 'smoke' (sequence 1) cannot give what is asked for: "
        "minilm/encoder/f16/gfx942 vmfb is unvalidated (no such host)"
    )
    assert not (tmp_path / "out").exists()
    assert ask("minilm/*/*/cpu") == 10


@pytest.mark.parametrize("kind", ["mlir", "irpa", "reference"])
@pytest.mark.parametrize("status", ["unvalidated", "proxy", "carried"])
def test_require_validated_holds_for_what_a_target_brings(
    shop: Shop, tmp_path: Path, kind: str, status: str
) -> None:
    def ask(*kinds: str) -> int:
        arguments: dict[str, Any] = {"channel": "smoke", "kinds": kinds, "require_validated": True}
        return len(pull(shop.store, ["stories/*/*/cpu"], to=tmp_path / "out", **arguments).copied)

    shop.artifacts = [
        msgspec.structs.replace(one, status=status, reason="so it is")
        if (one.address, one.kind) == ("stories/decode/f32", kind)
        else one
        for one in shop.artifacts
    ]
    shop.publish()
    with pytest.raises(UsageError) as caught:
        ask()
    assert caught.value.message == (
        "channel 'smoke' (sequence 2) cannot give what is asked for: "
        f"stories/decode/f32 {kind} is {status} (so it is)"
    )
    assert not (tmp_path / "out").exists()
    assert ask("vmfb", "verdict") == 2


@pytest.mark.parametrize(
    "file",
    [
        "../x",
        "/etc/x",
        "a/../../x",
        "",
        ".",
        "a\\b",
        "tidemill-pull.json",
        "a\nb",
        "./tidemill-pull.json",
    ],
)
def test_a_release_cannot_write_outside_the_folder(shop: Shop, tmp_path: Path, file: str) -> None:
    shop.add("evil/x/f16/cpu", "vmfb", file=file)
    shop.publish()
    with pytest.raises(StoreError) as caught:
        pull(shop.store, ["evil"], to=tmp_path / "out", channel="smoke")
    assert caught.value.message == (
        f"channel 'smoke' (sequence 2) names the file {file!r}, which may not be written"
    )
    assert not (tmp_path / "out").exists()


def test_two_artifacts_cannot_share_a_file(shop: Shop, tmp_path: Path) -> None:
    for kind in ("vmfb", "verdict"):
        shop.add("twin/x/f16/cpu", kind, file="twin/one")
    shop.publish()
    with pytest.raises(StoreError) as caught:
        pull(shop.store, ["twin"], to=tmp_path / "out", channel="smoke")
    assert caught.value.message == (
        "channel 'smoke' (sequence 2) has two artifacts with the same file"
    )


@pytest.mark.parametrize("cut", [0, 10])
def test_a_missing_or_short_blob_stops_a_pull_before_it_writes(
    shop: Shop, tmp_path: Path, cut: int
) -> None:
    one = shop.artifacts[3]
    blob = shop.blob(one)
    if cut:
        blob.write_bytes(blob.read_bytes()[:cut])
    else:
        blob.unlink()
    with pytest.raises(StoreError) as caught:
        pull(shop.store, ["minilm"], to=tmp_path / "out", channel="smoke")
    found = f"has {cut} bytes, not {one.size}" if cut else "is missing"
    assert caught.value.message == (
        f"minilm/encoder/f16/cpu vmfb: blob {one.digest[:12]}… {found} in {shop.store.url}"
    )
    assert not (tmp_path / "out").exists()


def test_a_damaged_blob_is_never_pulled_and_leaves_no_record(shop: Shop, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pull(shop.store, ["minilm"], to=out, channel="smoke")
    one = shop.artifacts[3]
    shop.blob(one).write_bytes(b"!" * one.size)
    (out / one.file).unlink()
    with pytest.raises(BlobDamaged) as caught:
        pull(shop.store, ["minilm"], to=out, channel="smoke")
    assert caught.value.message == (
        f"minilm/encoder/f16/cpu vmfb: blob {one.digest[:12]}… in {shop.store.url} is damaged: "
        "its bytes have another sha256"
    )
    assert not (out / one.file).exists()
    assert not (out / "tidemill-pull.json").exists()


def test_trouble_with_the_pull_folder_names_it(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"a file")
    with pytest.raises(StoreError) as caught:
        pull(shop.store, ["stories"], to=tmp_path / "out", channel="smoke")
    assert (
        caught.value.message == f"{tmp_path / 'out'}: cannot write what is pulled: not a directory"
    )
