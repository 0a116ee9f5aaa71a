"""Which files are whole: safetensors, ONNX and torch files, cut, shifted and overlapping."""

import importlib
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fetching import declared, failure, fetch
from tidemill.errors import WorkError
from tidemill.sources.inspect import (
    UnsoundError,
    check_file,
    check_onnx,
    check_safetensors,
    check_torch,
)

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
REASON = "the package has no safetensors"


def safetensors(header: object, data: bytes, *, padding: int = 0) -> bytes:
    text = (header if isinstance(header, bytes) else json.dumps(header).encode()) + b" " * padding
    return len(text).to_bytes(8, "little") + text + data


def model(shapes: list[list[int]], *, padding: int = 0) -> bytes:
    """A right file with one U8 tensor a shape."""
    header, data = {}, b""
    for number, shape in enumerate(shapes):
        size = 1
        for extent in shape:
            size *= extent
        header[f"t{number}"] = {
            "dtype": "U8",
            "shape": shape,
            "data_offsets": [len(data), len(data) + size],
        }
        data += bytes([number % 251]) * size
    return safetensors(header, data, padding=padding)


MODELS = st.builds(
    model,
    st.lists(st.lists(st.integers(0, 5), max_size=3), max_size=5),
    padding=st.integers(0, 7),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def verdict(path: Path, body: bytes) -> str:
    """The message of the refusal, "" when the file is taken."""
    path.write_bytes(body)
    try:
        check_safetensors(path)
    except UnsoundError as error:
        return str(error)
    return ""


@given(body=MODELS)
def test_right_files_are_taken(body: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert verdict(tmp_path_factory.getbasetemp() / "right", body) == ""


@given(body=MODELS, data=st.data())
def test_a_cut_or_longer_file_is_refused(
    body: bytes, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut"
    keep = data.draw(st.integers(0, len(body) - 1))
    assert verdict(path, body[:keep]) != ""
    assert verdict(path, body + b"\0") != ""


@given(body=MODELS, data=st.data())
def test_a_changed_header_length_is_refused(
    body: bytes, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bit = data.draw(st.integers(0, 63))
    length = int.from_bytes(body[:8], "little") ^ (1 << bit)
    changed = length.to_bytes(8, "little") + body[8:]
    assert verdict(tmp_path_factory.getbasetemp() / "length", changed) != ""


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        (
            {"a": F32, "b": {**F32, "data_offsets": [4, 12]}},
            12,
            "safetensors: tensor b begins at 4, expected 8",
        ),
        (
            {"a": F32, "b": {**F32, "data_offsets": [12, 20]}},
            20,
            "safetensors: tensor b begins at 12, expected 8",
        ),
        ({"a": F32, "b": F32}, 8, "safetensors: tensor b begins at 0, expected 8"),
        ({"a": F32}, 9, "safetensors: tensors need 8 bytes, the file has 9"),
        (
            {"a": {**F32, "shape": [3]}},
            8,
            "safetensors: tensor a of F32 [3] does not fill bytes 0 to 8",
        ),
        (
            {"a": {**F32, "data_offsets": [8, 0]}},
            8,
            "safetensors: tensor a of F32 [2] does not fill bytes 8 to 0",
        ),
        (
            {"a": {**F32, "shape": [-2]}},
            8,
            "safetensors: tensor a has a malformed shape or offsets",
        ),
        (
            {"a": {**F32, "data_offsets": [False, 8]}},
            8,
            "safetensors: tensor a has a malformed shape or offsets",
        ),
        ({"a": {**F32, "dtype": "F31"}}, 8, "safetensors: tensor a has the unknown dtype F31"),
        ({"a": {**F32, "dtype": []}}, 8, "safetensors: tensor a has the unknown dtype []"),
        (
            {"a": {"dtype": "F32", "shape": [2]}},
            8,
            "safetensors: tensor a needs dtype, shape and data_offsets",
        ),
        (
            {"__metadata__": {"a": 1}},
            0,
            "safetensors: __metadata__ is not a map of text to text",
        ),
        (b'{"a": 1, "a": 1}', 0, "safetensors: a key occurs twice in the header"),
        (b"[]", 0, "not safetensors: the header does not begin with {"),
        (
            b"{",
            0,
            "safetensors: the header is not JSON: Expecting property name enclosed in "
            "double quotes: line 1 column 2 (char 1)",
        ),
    ],
)
def test_a_wrong_header_is_refused(path: Path, header: object, data: int, message: str) -> None:
    assert verdict(path, safetensors(header, bytes(data))) == message


def test_a_deep_header_is_refused(path: Path) -> None:
    body = safetensors(b'{"a":' + b"[" * 200_000, b"")
    assert verdict(path, body).startswith("safetensors: the header is not JSON: ")


@pytest.mark.toolchain
@given(body=MODELS.filter(lambda body: len(body) > 10), data=st.data())
def test_what_the_safetensors_library_refuses_is_refused(
    body: bytes, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    library: Any = importlib.import_module("safetensors")
    at = data.draw(st.integers(0, len(body) - 1))
    changed = body[:at] + bytes([data.draw(st.integers(0, 255))]) + body[at + 1 :]
    ours = verdict(tmp_path_factory.getbasetemp() / "changed", changed)
    try:
        library.deserialize(changed)
    except library.SafetensorError as error:
        assert ours != "", f"the library says: {error}"  # noqa: PT017  both ways are right


def onnx_bytes(*fields: tuple[int, bytes]) -> bytes:
    """Top-level fields of wire type 2 after ir_version = 8."""
    body = b"\x08\x08"
    for number, content in fields:
        body += bytes([number << 3 | 2, len(content) & 0x7F | 0x80, len(content) >> 7]) + content
    return body


ONNX = onnx_bytes((2, b"pytorch"), (7, b"g" * 300), (8, b"\x10\x11"))


def test_a_whole_onnx_file_is_taken(path: Path) -> None:
    path.write_bytes(ONNX)
    check_onnx(path)
    path.write_bytes(ONNX + b"\x00")  # the same check does look at the bytes
    with pytest.raises(UnsoundError):
        check_onnx(path)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not ONNX: the file is empty"),
        (ONNX[:-1], f"ONNX: a field ends at byte {len(ONNX)}, the file has {len(ONNX) - 1}"),
        (ONNX[:13], "ONNX: the file ends inside a number"),
        (onnx_bytes((2, b"pytorch")), "not ONNX: there is no graph in it"),
        (b"<html>", "not ONNX: unknown wire type 4 at byte 1"),
        (b"\xff" * 11, "not ONNX: a number of more than ten bytes at byte 10"),
    ],
)
def test_a_damaged_onnx_file_is_refused(path: Path, body: bytes, message: str) -> None:
    path.write_bytes(body)
    with pytest.raises(UnsoundError) as caught:
        check_onnx(path)
    assert str(caught.value) == message


def torch_zip() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps({"w": 1}, protocol=2))
        archive.writestr("m/data/0", bytes(1000))
    return target.getvalue()


LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickle.dumps(1001, protocol=2)


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "M.PTH", "a/model.ckpt", "x.pkl"])
def test_pickle_based_names_need_a_reason(path: Path, name: str) -> None:
    path.write_bytes(torch_zip())
    with pytest.raises(WorkError) as caught:
        check_file(path, name=name)
    assert caught.value.message == (
        f"file {name}: pickle-based files can run code when they are loaded"
    )
    assert caught.value.hint == (
        "use a safetensors file, or allow this one with `pickle: <reason>`"
    )
    check_file(path, name=name, pickle_reason=REASON)


@pytest.mark.parametrize("body", [torch_zip(), LEGACY])
def test_a_torch_file_under_another_name_needs_a_reason_too(path: Path, body: bytes) -> None:
    path.write_bytes(body)
    with pytest.raises(WorkError, match="can run code"):
        check_file(path, name="weights.data")
    check_file(path, name="weights.data", pickle_reason=REASON)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (torch_zip()[:-5], "torch: the zip is not whole: File is not a zip file"),
        (torch_zip().replace(bytes(1000), b"\1" * 1000), "torch: damaged member m/data/0"),
        (b"", "neither a torch zip nor a pickle stream"),
        (b"<!DOCTYPE html>", "neither a torch zip nor a pickle stream"),
    ],
)
def test_a_damaged_torch_file_is_refused(path: Path, body: bytes, message: str) -> None:
    path.write_bytes(body)
    with pytest.raises(UnsoundError) as caught:
        check_torch(path)
    assert str(caught.value) == message


def test_a_zip_without_a_pickle_is_no_torch_file(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(UnsoundError, match="holds no data"):
        check_torch(path)


def test_a_truncated_file_with_the_right_digest_never_arrives(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = model([[3, 4]])[:-1]
    source, work = tmp_path / "model", tmp_path / "work"
    source.mkdir()
    work.mkdir()
    (source / "m.safetensors").write_bytes(body)
    monkeypatch.chdir(work)
    error = failure(f"file:{source}", declared({"m.safetensors": body}))
    assert error.message == (
        "file m.safetensors: safetensors: tensors need 12 bytes, the file has 11"
    )
    assert error.hint == "the digest is the declared one, so the pinned file itself is damaged"


def test_an_allowed_pickle_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = torch_zip()
    (tmp_path / "m.pt").write_bytes(body)
    monkeypatch.chdir(tmp_path)
    fetch(f"file:{tmp_path}", declared({"m.pt": body}), pickle=REASON)
    assert Path("out/m.pt").read_bytes() == body
