"""What a released program takes and gives, as its MLIR says. Standard library only."""

import re
from dataclasses import dataclass
from pathlib import Path

from tidemill.errors import UsageError

#: The public function of every module that tidemill exports, on one line.
_MAIN = re.compile(r"func\.func @main\((?P<inputs>.*?)\) -> (?P<outputs>.*?)(?: attributes .*)?\{")
_TENSOR = re.compile(r"!torch\.vtensor<\[(?P<shape>[0-9?,]*)\],(?P<dtype>\w+)>")
_NAMES = {"si64": "i64", "si32": "i32", "i1": "bool"}

#: A dynamic dimension is None.
Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type (f32, f16, i64 …) and shape of one argument or result."""

    dtype: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Signature:
    """The arguments and results of a program, in order."""

    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]


def read_signature(mlir: Path) -> Signature:
    """The signature of ``main``. Raises UsageError when the file does not say it."""
    with mlir.open(encoding="utf-8") as lines:
        found = next((match for line in lines if (match := _MAIN.search(line))), None)
    if found is None:
        raise UsageError(
            f"{mlir}: has no function @main of torch tensors",
            hint="take a release that tidemill made from one of its exporters",
        )
    return Signature(_types(found["inputs"]), _types(found["outputs"]))


def _types(text: str) -> tuple[TensorType, ...]:
    return tuple(
        TensorType(
            _NAMES.get(match["dtype"], match["dtype"]),
            tuple(None if size == "?" else int(size) for size in match["shape"].split(",") if size),
        )
        for match in _TENSOR.finditer(text)
    )
