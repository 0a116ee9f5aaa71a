"""What an exporter is: one family of models, from source files to MLIR, parameters and a program.

Imported only in the child process of a step, under the toolchain's interpreter.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]
Program = Callable[[Sequence[Array]], list[Array]]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """One argument of the exported function.

    ``dtype`` is i64, i32, bool, f64, f32, f16, bf16, or ``float`` for the variant's own dtype.
    ``shape`` mixes sizes with names of dynamic dimensions.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """Bounds of a dynamic dimension, both included."""

    min: int
    max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Everything an exporter may read. ``config`` and ``weights`` map declared file names to paths.

    ``weights`` is empty where the step is weightless; ``synthetic`` is None or
    ``{"seed": int, "scale": float}``, which replaces weight files.
    """

    dtype: str
    options: Mapping[str, Any]
    inputs: tuple[InputSpec, ...]
    dynamic: Mapping[str, Dimension]
    config: Mapping[str, Path]
    weights: Mapping[str, Path] = field(default_factory=dict)
    synthetic: Mapping[str, Any] | None = None
    pickle_allowed: bool = False
    #: What other steps of the same variant made, where this one reads it.
    quantised: Mapping[str, Path] = field(default_factory=dict)
    packed: Mapping[str, Path] = field(default_factory=dict)


class Exporter(Protocol):
    """One model family. Every method raises WorkError with the failure's class and what to do."""

    def export(self, spec: Spec, target: Path) -> Mapping[str, Any]:
        """Write MLIR text with one public function ``main``; parameters external in ``model``.

        The bytes depend on ``spec`` alone: not on the folder, the host or the time. Returns facts.
        """
        ...

    def pack(self, spec: Spec, target: Path) -> Mapping[str, Any]:
        """Write the MLIR's external parameters, and no others, as IRPA; streamed. Gives facts."""
        ...

    def program(self, spec: Spec, precision: str) -> Program:
        """The source framework's own eager program with its float parameters in ``precision``.

        ``precision`` is f64, f32, f16 or bf16. Float inputs are cast by the program; outputs come
        back as numpy arrays (bf16 results as float32, values unchanged).
        """
        ...
