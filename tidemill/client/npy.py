"""Rewrites a ``.npy`` file as ``iree-run-module --expected_output`` wants it, without numpy.

A reference keeps floats in float64 or float32, since that is what a verdict compares with, and in
whatever order torch had them. IREE's tools compare only what has the element type of the result,
read no Fortran order, and take two-byte raw elements of a ``.npy`` file for bfloat16 only where it
is an input; so bfloat16 is written as bare elements, to be read as ``2x3xbf16=@FILE``.
"""

import ast
import math
import struct
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tidemill.errors import StoreError

#: Element type → how numpy names it, and which code the struct module has for it.
_NAMES = {"f64": "<f8", "f32": "<f4", "f16": "<f2"}
_TYPE_CODES = {"<f8": "d", "<f4": "f"}

_MAGIC = b"\x93NUMPY"
_ALIGNMENT = 64
_CHUNK_ITEMS = 1 << 18
#: From here on float16 has infinity only: half of the way to the next number that it lacks.
_F16_INFINITE = 65520.0


@dataclass(frozen=True, slots=True)
class _Header:
    """``width``: the bytes of an element."""

    descr: str
    width: int
    fortran: bool
    shape: tuple[int, ...]


def is_plain(path: Path) -> bool:
    """Whether IREE's tools read the array in ``path``. Raises StoreError and OSError."""
    with path.open("rb") as stream:
        return not _read_header(stream, path).fortran


def rewrite(source: Path, target: Path, *, dtype: str) -> None:
    """Write the array in ``source`` to the new file ``target``, in C order.

    Floats are rounded to ``dtype``, f64 to bf16: ties go to the even number, and what is too large
    becomes infinity. Other arrays keep their type. Raises StoreError when ``source`` cannot be
    read so, OSError for trouble with the disk.
    """
    with source.open("rb") as stream, target.open("xb") as out:
        header = _read_header(stream, source)
        code = _TYPE_CODES.get(header.descr)
        if dtype in _PACKED and code is None:
            raise _unusable(source, f"it holds {header.descr}, not float64 or float32")
        name = _NAMES.get(dtype, header.descr)
        if dtype != "bf16":
            out.write(_header(name, header.shape))
        size = math.prod(header.shape) if header.fortran else _CHUNK_ITEMS
        left = math.prod(header.shape) * header.width
        while data := stream.read(min(left, size * header.width)):
            left -= len(data)
            if len(data) % header.width:
                break
            if code is not None and dtype in _PACKED:
                values = struct.unpack(f"<{len(data) // header.width}{code}", data)
                data = _PACKED[dtype](values)
            out.write(_in_c_order(data, header.shape) if header.fortran else data)
        if left:
            raise _unusable(source, "it is cut short")


def _in_c_order(data: bytes, shape: Sequence[int]) -> bytes:
    places, stride = [0], 1
    for size in shape:
        places = [place + index * stride for place in places for index in range(size)]
        stride *= size
    width = len(data) // len(places)
    return b"".join(data[place * width : (place + 1) * width] for place in places)


def _read_header(stream: BinaryIO, path: Path) -> _Header:
    begin = stream.read(8)
    if len(begin) < 8 or not begin.startswith(_MAGIC):  # noqa: PLR2004 - magic and version
        raise _unusable(path, "it is no .npy file")
    length = stream.read(2 if begin[6] == 1 else 4)
    try:
        fields = ast.literal_eval(stream.read(int.from_bytes(length, "little")).decode())
        descr = str(fields["descr"])
        return _Header(descr, int(descr[2:]), fields["fortran_order"], tuple(fields["shape"]))
    except (ValueError, SyntaxError, LookupError, TypeError) as error:
        raise _unusable(path, "its header cannot be read") from error


def _header(descr: str, shape: tuple[int, ...]) -> bytes:
    # IREE's tools read exactly what numpy writes, with the comma that ends the last entry.
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    text += b" " * (-(len(_MAGIC) + 4 + len(text) + 1) % _ALIGNMENT) + b"\n"
    return _MAGIC + b"\x01\x00" + struct.pack("<H", len(text)) + text


def _f64(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


def _f32(values: Sequence[float]) -> bytes:
    narrow = array("f", values)
    return struct.pack(f"<{len(narrow)}f", *narrow)


def _f16(values: Sequence[float]) -> bytes:
    # struct refuses what it would have to round to infinity.
    fits = (v if -_F16_INFINITE < v < _F16_INFINITE else v * math.inf for v in values)
    return struct.pack(f"<{len(values)}e", *fits)


def _bf16(values: Sequence[float]) -> bytes:
    wide = array("I", array("f", values).tobytes())
    return struct.pack(f"<{len(values)}H", *map(_bf16_bits, wide))


def _bf16_bits(bits: int) -> int:
    """The upper half of a float32's bits, rounded as the reference's own files are."""
    if bits & 0x7FFFFFFF > 0x7F800000:  # noqa: PLR2004 - not a number
        return 0x7FC0
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16


def _unusable(path: Path, why: str) -> StoreError:
    return StoreError(
        f"{path.name}: the reference cannot be used: {why}",
        hint="make the reference again: run it with --force",
    )


_PACKED: dict[str, Callable[[Sequence[float]], bytes]] = {
    "f64": _f64,
    "f32": _f32,
    "f16": _f16,
    "bf16": _bf16,
}
