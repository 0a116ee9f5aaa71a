"""The reference of a variant as a suite sees it: named inputs and expected outputs, as files.

Reads the ``reference.json`` that the reference step writes. numpy is loaded when an array is asked
for, and not before.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec

from tidemill.errors import StoreError

if TYPE_CHECKING:
    import numpy as np

INDEX = "reference.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Tensor:
    """One array of a sample: a ``.npy`` file, which ``iree-run-module --input=@PATH`` reads.

    ``dtype`` is the element type in it: f64, f32, f16, bf16, i64 …
    """

    name: str
    path: Path
    dtype: str
    shape: tuple[int, ...]

    def __fspath__(self) -> str:
        return str(self.path)

    def numpy(self) -> "np.ndarray[Any, Any]":
        """The array. bfloat16, which numpy has not, comes as float32 of the same values."""
        import numpy as np  # noqa: PLC0415 - who only passes paths on needs none

        stored: np.ndarray[Any, Any] = np.load(self.path, allow_pickle=False)
        if self.dtype != "bf16":
            return stored
        # The upper half of a float32, as two raw bytes.
        return (stored.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


@dataclass(frozen=True, slots=True)
class Sample:
    """One set of inputs, and what torch gives for it, in the order of the program's signature."""

    name: str
    inputs: tuple[Tensor, ...]
    expected: tuple[Tensor, ...]


class _Array(msgspec.Struct):
    name: str
    file: str
    shape: tuple[int, ...]
    dtype: str = ""
    stored: str = ""


class _Sample(msgspec.Struct):
    name: str
    inputs: tuple[_Array, ...]
    outputs: tuple[_Array, ...]


class _Index(msgspec.Struct):
    format: int
    samples: tuple[_Sample, ...]


def read_samples(folder: Path) -> tuple[Sample, ...]:
    """The samples of the reference in ``folder``. Raises StoreError when it cannot be read."""
    path = folder / INDEX
    try:
        index = msgspec.json.decode(path.read_bytes(), type=_Index)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: the reference cannot be read: {error}") from error
    if index.format != FORMAT:
        raise StoreError(
            f"{path}: it has format {index.format}; this tidemill reads {FORMAT}",
            hint="upgrade tidemill",
        )
    return tuple(
        Sample(
            sample.name,
            tuple(_tensor(one, folder) for one in sample.inputs),
            tuple(_tensor(one, folder) for one in sample.outputs),
        )
        for sample in index.samples
    )


def _tensor(one: _Array, folder: Path) -> Tensor:
    file = PurePosixPath(one.file)
    if file.is_absolute() or ".." in file.parts or not file.parts:
        raise StoreError(
            f"{folder / INDEX}: {one.name} is in the file {one.file!r}, which is not beside it",
            hint="do not use this release; tell those who made it",
        )
    return Tensor(one.name, folder / file, one.dtype or one.stored, one.shape)
