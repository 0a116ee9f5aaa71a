"""Whether what came out of a test is what the test expects. Pure; numpy only.

Values are compared with numpy's ``isclose`` and the test's tolerances, NaN equal to NaN, as onnx's
own runner does (which widens those for bfloat16); element type and shape must agree.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def difference(
    actual: Sequence[Array], expected: Sequence[Array], *, rtol: float, atol: float
) -> str:
    """The first thing that is wrong, in one line; "" when nothing is."""
    if len(actual) != len(expected):
        return f"{len(actual)} outputs came, {len(expected)} are expected"
    for number, (came, wanted) in enumerate(zip(actual, expected, strict=True)):
        if words := _difference(came, wanted, rtol=rtol, atol=atol):
            return f"output {number} {words}"
    return ""


def _difference(came: Array, wanted: Array, *, rtol: float, atol: float) -> str:
    if came.dtype != wanted.dtype:
        return f"has element type {came.dtype}, expected {wanted.dtype}"
    if came.shape != wanted.shape:
        empty = "is empty: it " if came.size == 0 and wanted.size else ""
        return f"{empty}has shape {_shape(came)}, expected {_shape(wanted)}"
    near = _near(came, wanted, rtol=rtol, atol=atol)
    if near.all():
        return ""
    wrong = int(near.size - near.sum())
    return f"differs in {wrong} of {near.size} values{_worst(came, wanted, ~near)}"


def _near(came: Array, wanted: Array, *, rtol: float, atol: float) -> NDArray[np.bool_]:
    equal: NDArray[np.bool_] = np.asarray(came == wanted)
    if wanted.dtype == np.bool_:
        return equal
    with np.errstate(all="ignore"):
        close = np.isclose(_wide(came), _wide(wanted), rtol=rtol, atol=atol, equal_nan=True)
    # Not all of a 64-bit integer fits into a double, but equal is equal.
    return equal | close


def _worst(came: Array, wanted: Array, wrong: NDArray[np.bool_]) -> str:
    if wanted.dtype == np.bool_:
        return ""
    with np.errstate(all="ignore"):
        apart = np.abs(_wide(came)[wrong] - _wide(wanted)[wrong])
    finite = apart[np.isfinite(apart)]
    return f", by up to {finite.max():.1e}" if finite.size else ", none of them finite in both"


def _wide(array: Array) -> Array:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _shape(array: Array) -> str:
    return f"({','.join(map(str, array.shape))})"
