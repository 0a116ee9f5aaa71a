"""The failure bundle: what is in it, and that equal contents give equal bytes."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tidemill.bundle import MAX_INPUT_BYTES, make_bundle, reproduce_command, unpack

KEY = "a" * 64
PARTS = {"tools": {"iree-base-compiler": "3.13.0"}, "inputs": {"mlir": {"model.mlir": "b" * 64}}}
COMMAND = ["iree-compile", "in/mlir/model.mlir", "--opt=O3", "-o", "out/model.vmfb"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in/mlir").mkdir(parents=True)
    (tmp_path / "in/mlir/model.mlir").write_bytes(b"module {}")
    (tmp_path / "in/weights").mkdir()
    (tmp_path / "request.json").write_text('{"step": "compile"}')
    (tmp_path / "out").mkdir()
    (tmp_path / "out/model.vmfb").write_bytes(b"half a file")
    return tmp_path


def bundle(folder: Path) -> bytes:
    return make_bundle(key=KEY, parts=PARTS, command=COMMAND, log=b"error: bad\n", folder=folder)


def contents(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        return {
            member.name: stream.read()
            for member in archive
            if (stream := archive.extractfile(member))
        }


def test_a_bundle_holds_what_reproduces_the_action(folder: Path) -> None:
    files = contents(bundle(folder))
    assert sorted(files) == [
        "README.txt",
        "action.json",
        "command.txt",
        "in/mlir/model.mlir",
        "log.txt",
        "request.json",
    ]
    assert json.loads(files["action.json"]) == {"key": KEY, "parts": PARTS, "command": COMMAND}
    assert files["command.txt"] == b"iree-compile in/mlir/model.mlir --opt=O3 -o out/model.vmfb\n"
    assert files["log.txt"] == b"error: bad\n"
    assert files["in/mlir/model.mlir"] == b"module {}"
    assert f"tidemill repro {KEY}" in files["README.txt"].decode()
    assert reproduce_command(KEY) == f"tidemill repro {KEY}"


def test_a_big_input_is_named_by_digest_only(folder: Path) -> None:
    with (folder / "in/weights/model.safetensors").open("wb") as stream:
        stream.truncate(MAX_INPUT_BYTES + 1)
    with (folder / "in/weights/small").open("wb") as stream:
        stream.truncate(MAX_INPUT_BYTES)
    names = set(contents(bundle(folder)))
    assert "in/weights/small" in names
    assert "in/weights/model.safetensors" not in names


def test_equal_contents_give_equal_bytes(folder: Path, tmp_path: Path) -> None:
    first = bundle(folder)
    (folder / "in/mlir/model.mlir").touch()
    (folder / "in/mlir/model.mlir").chmod(0o600)
    assert bundle(folder) == first
    (folder / "in/mlir/model.mlir").write_bytes(b"module { }")
    assert bundle(folder) != first


def test_an_action_without_a_request_or_inputs_has_a_bundle_too(tmp_path: Path) -> None:
    assert sorted(contents(bundle(tmp_path))) == [
        "README.txt",
        "action.json",
        "command.txt",
        "log.txt",
    ]


def test_the_command_names_a_toolchain_that_is_not_the_default() -> None:
    assert reproduce_command(KEY) == f"tidemill repro {KEY}"
    assert reproduce_command(KEY, toolchain="llm") == f"tidemill repro {KEY} --toolchain llm"


def test_members_belong_to_nobody_and_carry_no_time(folder: Path) -> None:
    assert bundle(folder)[4:8] == bytes(4)  # RFC 1952: MTIME, 0 when there is none
    with tarfile.open(fileobj=io.BytesIO(bundle(folder)), mode="r:gz") as archive:
        for member in archive:
            mode = 0o755 if member.isdir() else 0o644
            assert (member.uid, member.gid, member.mtime, member.mode) == (0, 0, 0, mode)
            assert (member.uname, member.gname) == ("", "")


def test_a_bundle_is_unpacked_as_it_was_packed(folder: Path, tmp_path: Path) -> None:
    data = bundle(folder)
    names = unpack(data, tmp_path / "new")
    assert {name: (tmp_path / "new" / name).read_bytes() for name in names} == contents(data)


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:200], lambda data: data[9:]], ids=["cut", "other"]
)
def test_a_damaged_bundle_says_so(
    folder: Path, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(ValueError, match="the bundle is damaged"):
        unpack(spoil(bundle(folder)), tmp_path / "new")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../escaped", tarfile.REGTYPE),
        ("/escaped", tarfile.REGTYPE),
        ("in/link", tarfile.SYMTYPE),
        ("in/link", tarfile.LNKTYPE),
        ("in/pipe", tarfile.FIFOTYPE),
    ],
)
def test_of_a_bundle_with_anything_but_files_nothing_is_written(
    tmp_path: Path, name: str, kind: bytes
) -> None:
    hostile = io.BytesIO()
    with tarfile.open(fileobj=hostile, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("log.txt"), io.BytesIO())
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "log.txt"
        archive.addfile(member, io.BytesIO())
    with pytest.raises(ValueError, match="the bundle is damaged"):
        unpack(hostile.getvalue(), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
