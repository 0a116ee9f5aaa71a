"""Is a file whole, and is it a kind that we load? Asked after its digest, before any framework.

A digest says that the bytes are those of the manifest; it does not say that the manifest's author
had a whole file. Nothing here executes what it reads. Standard library only.

Safetensors: README of the safetensors project, section "Format". ONNX: onnx/onnx.proto with
the protocol buffer encoding, https://protobuf.dev/programming-guides/encoding. torch: the zip that
``torch.save`` has written since 1.6 holds ``<name>/data.pkl``; before, the file began with the
pickled number MAGIC_NUMBER of torch/serialization.py.
"""

import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from tidemill.sources.landing import fetch_error

PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl"})

HEADER_LIMIT = 100_000_000  # of the format: a longer header is refused by its own readers
DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip

_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_ZIP = b"PK\x03\x04"
_ONNX_GRAPH = 7  # ModelProto.graph
_WIRE_VARINT, _WIRE_64, _WIRE_BYTES, _WIRE_32 = 0, 1, 2, 5


class UnsoundError(ValueError):
    """The bytes are not a whole file of their kind; the message says why."""


def check_file(path: Path, *, name: str, pickle_reason: str = "") -> None:
    """Check one landed file by its suffix and its first bytes.

    Raises WorkError when it is not whole, or when it is pickle-based and ``pickle_reason`` is "".
    """
    suffix = Path(name).suffix.lower()
    if (suffix in PICKLE_SUFFIXES or looks_like_torch(path)) and not pickle_reason:
        raise fetch_error(
            f"file {name}: pickle-based files can run code when they are loaded",
            hint="use a safetensors file, or allow this one with `pickle: <reason>`",
        )
    try:
        if suffix == ".safetensors":
            check_safetensors(path)
        elif suffix == ".onnx":
            check_onnx(path)
        elif suffix in PICKLE_SUFFIXES:
            check_torch(path)
    except UnsoundError as error:
        raise fetch_error(
            f"file {name}: {error}",
            hint="the digest is the declared one, so the pinned file itself is damaged",
        ) from error


def check_safetensors(path: Path) -> None:
    """Raises UnsoundError unless header and offsets describe the file exactly, without a gap."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        prefix = stream.read(8)
        if len(prefix) < 8:  # noqa: PLR2004  the length of the prefix, as read
            raise UnsoundError(f"not safetensors: {size} bytes are too few for a header")
        length = int.from_bytes(prefix, "little")
        if length > min(HEADER_LIMIT, size - 8):
            raise UnsoundError(f"not safetensors: a header of {length} bytes in a file of {size}")
        header = _header(stream.read(length))
    spans = sorted(_span(name, entry) for name, entry in header.items() if name != "__metadata__")
    end = 0
    for begin, stop, name in spans:
        if begin != end:
            raise UnsoundError(f"safetensors: tensor {name} begins at {begin}, expected {end}")
        end = stop
    if end != size - 8 - length:
        raise UnsoundError(
            f"safetensors: tensors need {end} bytes, the file has {size - 8 - length}"
        )


def _header(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise UnsoundError("not safetensors: the header does not begin with {")
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except UnsoundError:
        raise
    except (ValueError, RecursionError) as error:
        raise UnsoundError(f"safetensors: the header is not JSON: {error}") from error
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise UnsoundError("safetensors: __metadata__ is not a map of text to text")
    return dict(header)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise UnsoundError("safetensors: a key occurs twice in the header")
    return result


def _span(name: str, entry: object) -> tuple[int, int, str]:
    """Where one tensor lies in the data: begin, end, name. Raises UnsoundError."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise UnsoundError(f"safetensors: tensor {name} needs dtype, shape and data_offsets")
    shape, offsets, dtype = entry["shape"], entry["data_offsets"], entry["dtype"]
    if not (_counts(shape) and _counts(offsets) and len(offsets) == 2):  # noqa: PLR2004  a pair
        raise UnsoundError(f"safetensors: tensor {name} has a malformed shape or offsets")
    bits = DTYPE_BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None:
        raise UnsoundError(f"safetensors: tensor {name} has the unknown dtype {dtype}")
    begin, end = offsets
    if math.prod(shape) * bits != (end - begin) * 8:
        raise UnsoundError(
            f"safetensors: tensor {name} of {dtype} {shape} does not fill bytes {begin} to {end}"
        )
    return begin, end, name


def _counts(values: object) -> bool:
    # type(), not isinstance(): true and false are integers in Python, not in JSON.
    return isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)


def check_onnx(path: Path) -> None:
    """Raises UnsoundError unless the top-level fields fill the file exactly and hold a graph.

    Only tags and lengths are read; this finds a cut or shifted file, the exporter finds the rest.
    """
    size = path.stat().st_size
    if size == 0:
        raise UnsoundError("not ONNX: the file is empty")
    seen = set()
    with path.open("rb") as stream:
        while stream.tell() < size:
            tag = _varint(stream)
            seen.add(tag >> 3)
            _skip_field(stream, wire=tag & 7, size=size)
    if _ONNX_GRAPH not in seen or 0 in seen:
        raise UnsoundError("not ONNX: there is no graph in it")


def _skip_field(stream: BinaryIO, *, wire: int, size: int) -> None:
    if wire == _WIRE_VARINT:
        _varint(stream)
        return
    if wire == _WIRE_BYTES:
        length = _varint(stream)
    elif wire in (_WIRE_64, _WIRE_32):
        length = 8 if wire == _WIRE_64 else 4
    else:
        raise UnsoundError(f"not ONNX: unknown wire type {wire} at byte {stream.tell()}")
    if stream.tell() + length > size:
        end = stream.tell() + length
        raise UnsoundError(f"ONNX: a field ends at byte {end}, the file has {size}")
    stream.seek(length, os.SEEK_CUR)


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            raise UnsoundError("ONNX: the file ends inside a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:  # noqa: PLR2004  the continuation bit of a varint
            return value
    raise UnsoundError(f"not ONNX: a number of more than ten bytes at byte {stream.tell()}")


def looks_like_torch(path: Path) -> bool:
    """Whether the first bytes, or the members of a zip, are those that ``torch.save`` writes."""
    with path.open("rb") as stream:
        head = stream.read(len(_TORCH_LEGACY))
    if not head.startswith(_ZIP):
        return head == _TORCH_LEGACY
    try:
        with zipfile.ZipFile(path) as archive:
            return _has_pickle(archive)
    except zipfile.BadZipFile:
        return False


def check_torch(path: Path) -> None:
    """Raises UnsoundError unless it is a whole torch zip, or begins as a pickle stream does."""
    with path.open("rb") as stream:
        head = stream.read(4)
    if head == _ZIP:
        try:
            with zipfile.ZipFile(path) as archive:
                if damaged := archive.testzip():
                    raise UnsoundError(f"torch: damaged member {damaged}")
                if not _has_pickle(archive):
                    raise UnsoundError("torch: the zip holds no data.pkl")
        except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
            raise UnsoundError(f"torch: the zip is not whole: {error}") from error
    # Protocols 2 to 5 begin with the PROTO opcode (pickletools); torch never wrote 0 or 1.
    elif not (head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")):
        raise UnsoundError("neither a torch zip nor a pickle stream")


def _has_pickle(archive: zipfile.ZipFile) -> bool:
    return any(name.split("/")[-1] == "data.pkl" for name in archive.namelist())
