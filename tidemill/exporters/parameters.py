"""Where parameters come from: one tensor at a time, in pieces, never a whole file in memory.

A source knows the shapes of its tensors and yields the values of one as flat pieces of at most
PIECE elements. ``match`` decides, purely, which source tensor fills which parameter.
"""

import fnmatch
import json
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open

from tidemill.errors import FailureClass, WorkError

PIECE = 1 << 20
Shape = tuple[int, ...]

#: Element types of the safetensors format (its documentation, "Format").
SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class ParameterSource(Protocol):
    """Named tensors that are read in pieces."""

    def shapes(self) -> Mapping[str, Shape]:
        """Every tensor of the source and its shape."""
        ...

    def pieces(self, name: str) -> Iterator[torch.Tensor]:
        """The elements of one tensor in row-major order, flat, at most PIECE at a time."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """A parameter that the program needs; ``aliases`` are other names of the same tensor."""

    name: str
    shape: Shape
    dtype: torch.dtype
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    path: Path
    offset: int
    shape: Shape
    dtype: torch.dtype


class SafetensorsSource:
    """The tensors of one or more safetensors files, read with plain file reads.

    The files are not mapped: mapped pages count as resident memory and would grow with the model.
    Raises WorkError on a file that is no sound safetensors file and on a tensor that two files
    hold.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._stored: dict[str, _Stored] = {}
        for label, path in files.items():
            for name, stored in _safetensors_table(path, label=label).items():
                if name in self._stored:
                    raise _fault(f"{label}: tensor {name} is also in another weights file")
                self._stored[name] = stored

    def shapes(self) -> Mapping[str, Shape]:
        """Every tensor and its shape."""
        return {name: stored.shape for name, stored in self._stored.items()}

    def pieces(self, name: str) -> Iterator[torch.Tensor]:
        """The elements of one tensor."""
        stored = self._stored[name]
        yield from read_pieces(
            stored.path, offset=stored.offset, count=_volume(stored.shape), dtype=stored.dtype
        )


class PickleSource:
    """The tensors of a torch state dict, loaded with ``weights_only=True``.

    Zip files are mapped; files in torch's format from before 1.6 are held in memory, whole.
    """

    def __init__(self, path: Path, *, label: str, allowed: bool) -> None:
        if not allowed:
            raise WorkError(
                FailureClass.EXPORT,
                f"{label} is a pickle file, and the manifest does not allow it",
                hint="use safetensors, or give a reason under `pickle` in the manifest",
            )
        try:
            loaded = torch.load(
                path, weights_only=True, mmap=zipfile.is_zipfile(path), map_location="cpu"
            )
        except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            raise _fault(f"{label} is not a readable torch state dict: {_first(error)}") from error
        if not isinstance(loaded, Mapping) or not all(
            isinstance(value, torch.Tensor) for value in loaded.values()
        ):
            raise _fault(f"{label} does not hold a state dict (a mapping from names to tensors)")
        self._tensors: dict[str, torch.Tensor] = dict(loaded)

    def shapes(self) -> Mapping[str, Shape]:
        """Every tensor and its shape."""
        return {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}

    def pieces(self, name: str) -> Iterator[torch.Tensor]:
        """The elements of one tensor."""
        yield from self._tensors[name].detach().reshape(-1).split(PIECE)


def open_weights(files: Mapping[str, Path], *, pickle_allowed: bool) -> ParameterSource:
    """The source for weight files by their names' endings. Raises WorkError on any other file."""
    if not files:
        raise _fault("no weights file is declared", hint="declare `weights` or `synthetic`")
    if all(label.endswith(".safetensors") for label in files):
        return SafetensorsSource(files)
    if len(files) == 1:
        ((label, path),) = files.items()
        if label.endswith((".pth", ".pt", ".bin")):
            return PickleSource(path, label=label, allowed=pickle_allowed)
    raise _fault(f"do not know how to read weights from {', '.join(sorted(files))}")


def read_pieces(
    path: Path, *, offset: int, count: int, dtype: torch.dtype
) -> Iterator[torch.Tensor]:
    """``count`` little-endian elements of ``path`` from byte ``offset`` on, as flat pieces."""
    with path.open("rb") as stream:
        stream.seek(offset)
        while count:
            part = min(count, PIECE)
            data = bytearray(part * dtype.itemsize)
            if stream.readinto(data) != len(data):
                raise _fault(f"{path.name} ends early: {len(data)} more bytes were declared")
            yield torch.frombuffer(data, dtype=dtype)
            count -= part


def match(
    needed: Sequence[Needed], available: Mapping[str, Shape], *, ignored: Sequence[str]
) -> dict[str, str]:
    """Which source tensor fills which parameter, by name or alias.

    ``ignored`` are patterns of source tensors that no parameter needs. Raises one WorkError that
    lists every missing, mis-shaped and unexpected tensor.
    """
    problems: list[str] = []
    chosen: dict[str, str] = {}
    known: set[str] = set()
    for item in needed:
        names = (item.name, *item.aliases)
        known.update(names)
        found = next((name for name in names if name in available), None)
        if found is None:
            problems.append(f"missing: {item.name} {list(item.shape)}")
        elif available[found] != item.shape:
            shape = list(available[found])
            problems.append(f"wrong shape: {found} is {shape}, the model needs {list(item.shape)}")
        else:
            chosen[item.name] = found
    problems += [
        f"unexpected: {name} {list(shape)}"
        for name, shape in available.items()
        if name not in known and not any(fnmatch.fnmatchcase(name, rule) for rule in ignored)
    ]
    if problems:
        raise _fault(
            f"the weights do not fit the model ({len(problems)} problems):\n" + "\n".join(problems),
            hint="check that configuration and weights are of one model; `options.ignore` lists"
            " patterns of tensors that are not needed",
        )
    return chosen


def _safetensors_table(path: Path, *, label: str) -> dict[str, _Stored]:
    """Where each tensor lies. ``safe_open`` checks the header against the file's size first."""
    try:
        with safe_open(path, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise _fault(f"{label} is not a readable safetensors file: {_first(error)}") from error
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    odd = sorted({row["dtype"] for row in header.values()} - SAFETENSORS_DTYPES.keys())
    if odd:
        raise _fault(f"{label} holds element types that are not supported: {', '.join(odd)}")
    return {
        name: _Stored(
            path=path,
            offset=8 + length + row["data_offsets"][0],
            shape=tuple(row["shape"]),
            dtype=SAFETENSORS_DTYPES[row["dtype"]],
        )
        for name, row in header.items()
    }


def _volume(shape: Shape) -> int:
    return torch.Size(shape).numel()


def _first(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _fault(message: str, *, hint: str = "") -> WorkError:
    return WorkError(FailureClass.EXPORT, message, hint=hint)
