"""The onnx package's own backend tests, made in this process by the installed version of it.

Their inputs come from a seed of that package, so two processes make the same bytes.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

from tidemill.errors import FailureClass, WorkError

_STANDARD = "ai.onnx"
_EXPANDED = "_expanded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test: a model, the inputs it is called with, and what must come out.

    A value is a numpy array, or whatever else the test holds (a list for a sequence, None for an
    optional that is absent). ``rtol`` and ``atol`` are the test's own, as numpy's ``isclose`` takes
    them.
    """

    name: str
    group: str
    model: ModelProto
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    rtol: float
    atol: float


def cases(kind: str) -> list[Case]:
    """Every test of a kind (``node``), by name. Raises WorkError when there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its authors divide by zero on purpose
        found = [_case(one) for one in load_model_tests(kind=kind)]
    if not found:
        raise WorkError(
            FailureClass.EXPORT,
            f"the installed onnx package has no backend tests of kind {kind!r}",
            hint="correct `kind` in manifests/conformance, or pin another version of onnx",
        )
    return sorted(found, key=lambda case: case.name)


def _case(test: Any) -> Case:
    ((inputs, outputs),) = test.data_sets  # a node test has one
    return Case(
        name=test.name,
        group=_group(test.name, test.model),
        model=test.model,
        inputs=tuple(map(_value, inputs)),
        outputs=tuple(map(_value, outputs)),
        rtol=test.rtol,
        atol=test.atol,
    )


def _group(name: str, model: ModelProto) -> str:
    """The domain of its operators; the expanded ones are those written in other operators."""
    domains = sorted({node.domain for node in model.graph.node} - {"", _STANDARD})
    domain = domains[0] if domains else _STANDARD
    return f"{domain} (expanded)" if _EXPANDED in name else domain


def _value(value: Any) -> Any:
    """Tensors and numpy's scalars as arrays; all else as it is."""
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value
