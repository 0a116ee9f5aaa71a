"""What MLIR text says about external parameters."""

import re
from collections.abc import Iterable
from pathlib import Path

from tidemill.errors import FailureClass, WorkError

SCOPE = "model"
#: iree-turbine writes the flow dialect's attribute, iree-import-onnx the stream dialect's.
PARAMETER = re.compile(rf'#(?:flow|stream)\.parameter\.named<"{SCOPE}"::"([^"]+)">')
SHOWN = 8


def parameters_of(mlir: Path) -> set[str]:
    """The keys of scope ``model`` that the module asks for."""
    with mlir.open(encoding="utf-8") as lines:
        return {name for line in lines for name in PARAMETER.findall(line)}


def require_parameters(mlir: Path, declared: Iterable[str]) -> None:
    """Raises WorkError unless ``mlir`` asks for exactly the ``declared`` parameters.

    ``pack`` never sees the MLIR, so this is where the two are held together.
    """
    asked, known = parameters_of(mlir), set(declared)
    idle, strange = sorted(known - asked), sorted(asked - known)
    if idle or strange:
        parts = [f"not used by the program: {_some(idle)}"] if idle else []
        parts += [f"not a parameter of the model: {_some(strange)}"] if strange else []
        raise WorkError(
            FailureClass.EXPORT,
            f"MLIR and parameters differ; {'; '.join(parts)}",
            hint="list what the program does not use under `options.unused` in the manifest",
        )


def _some(names: list[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
