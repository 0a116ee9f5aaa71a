"""Element types by name, and arrays of them on disk. numpy only.

bfloat16 has no numpy type. Here its values travel as float32 arrays whose values are bfloat16
numbers, together with the name ``bf16``; on disk they are ``.npy`` files of two-byte raw elements
(``|V2``), which ``iree-run-module --input=@file.npy`` reads as bf16.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Name → the numpy type that holds its values in memory.
HOLDERS: dict[str, np.dtype[Any]] = {
    "f64": np.dtype(np.float64),
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "bf16": np.dtype(np.float32),
    "i64": np.dtype(np.int64),
    "i32": np.dtype(np.int32),
    "i16": np.dtype(np.int16),
    "i8": np.dtype(np.int8),
    "u64": np.dtype(np.uint64),
    "u32": np.dtype(np.uint32),
    "u16": np.dtype(np.uint16),
    "u8": np.dtype(np.uint8),
    "bool": np.dtype(np.bool_),
}
_NAMES = {holder: name for name, holder in HOLDERS.items() if name != "bf16"}
_RAW_BF16 = np.dtype("V2")

#: Distance from 1 to the next number of the type.
EPSILON = {"f64": 2.0**-52, "f32": 2.0**-23, "f16": 2.0**-10, "bf16": 2.0**-7}


def name_of(array: Array) -> str:
    """The name of an array's element type. Raises ValueError if it has none."""
    name = _NAMES.get(array.dtype.newbyteorder("="))
    if name is None:
        raise ValueError(f"element type {array.dtype} has no name here")
    return name


def is_float(array: Array) -> bool:
    """Whether the elements are floating-point numbers."""
    return bool(np.issubdtype(array.dtype, np.floating))


def bf16_bits(values: Array) -> NDArray[np.uint16]:
    """Bit patterns of ``values`` rounded to bfloat16, ties to even, through float32."""
    with np.errstate(over="ignore"):
        wide = np.ascontiguousarray(values, dtype=np.float32)
    bits = wide.view(np.uint32).astype(np.uint64).reshape(np.shape(values))
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    nan = np.isnan(wide).reshape(np.shape(values))
    return np.where(nan, 0x7FC0, rounded).astype(np.uint16)


def from_bf16_bits(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The float32 values of bfloat16 bit patterns; exact."""
    wide = np.ascontiguousarray(bits).astype(np.uint32) << 16
    return wide.view(np.float32).reshape(np.shape(bits))


def round_to(values: Array, dtype: str) -> Array:
    """``values`` as the nearest numbers of type ``dtype``, in the numpy type that holds them."""
    if dtype == "bf16":
        return from_bf16_bits(bf16_bits(values))
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(values).astype(HOLDERS[dtype])


def save_array(path: Path, array: Array, *, dtype: str) -> None:
    """Write ``array`` as a ``.npy`` file of element type ``dtype``, rounding if it must."""
    stored = bf16_bits(array).view(_RAW_BF16) if dtype == "bf16" else round_to(array, dtype)
    np.save(path, stored, allow_pickle=False)


def load_array(path: Path, *, dtype: str) -> Array:
    """Read what ``save_array`` wrote. Raises ValueError when the file holds another type."""
    stored: Array = np.load(path, allow_pickle=False)
    if dtype == "bf16" and stored.dtype == _RAW_BF16:
        return from_bf16_bits(stored.view(np.uint16))
    if dtype == "bf16" or stored.dtype != HOLDERS[dtype]:
        raise ValueError(f"{path.name} holds {stored.dtype}, not {dtype}")
    return stored


def possible_names(array: Array, variant: str) -> list[str]:
    """The element types that an artifact of dtype ``variant`` may give where torch gives ``array``.

    Exporters hand bfloat16 results over as float32. Where every value is a bfloat16 number, both
    names are possible; a single other value proves float32.
    """
    name = name_of(array)
    if variant != "bf16" or name != "f32":
        return [name]
    same = np.array_equal(round_to(array, "bf16"), array, equal_nan=True)
    return ["bf16", "f32"] if same else ["f32"]
