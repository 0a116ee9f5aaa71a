"""What torch.export is given beside the module: example arguments and bounds."""

from typing import Any

import torch

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.base import InputSpec, Spec

DTYPES = {
    "i64": torch.int64,
    "i32": torch.int32,
    "bool": torch.bool,
    "f64": torch.float64,
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
}

#: torch.export takes a size of 0 or 1 for a constant, so no example may have it.
LEAST_EXAMPLE = 2
#: A size that is unlikely to equal a head count or another small constant of a model.
WANTED_EXAMPLE = 5


def input_dtype(item: InputSpec, *, dtype: str) -> torch.dtype:
    """The element type of an argument when the parameters are in ``dtype``.

    ``float`` follows the parameters; in an f64 program every float input does.
    """
    if item.dtype == "float" or (dtype == "f64" and DTYPES[item.dtype].is_floating_point):
        return DTYPES[dtype]
    return DTYPES[item.dtype]


def example_sizes(spec: Spec) -> dict[str, int]:
    """One size per dynamic dimension, inside its bounds, unlike every other size of the inputs.

    Equal sizes would make torch.export believe that two dimensions are one. Raises WorkError when
    the bounds leave no such size.
    """
    taken = {size for item in spec.inputs for size in item.shape if isinstance(size, int)}
    sizes: dict[str, int] = {}
    for name, bounds in sorted(spec.dynamic.items()):
        least = max(LEAST_EXAMPLE, bounds.min)
        wanted = max(least, min(WANTED_EXAMPLE, bounds.max))
        order = (*range(wanted, bounds.max + 1), *range(wanted - 1, least - 1, -1))
        size = next((size for size in order if size not in taken), None)
        if size is None:
            raise WorkError(
                FailureClass.EXPORT,
                f"dynamic dimension {name} ({bounds.min} to {bounds.max}) has no size that"
                " differs from 0, 1 and every other size of the inputs",
                hint="widen its bounds, or write the number into the shapes",
            )
        sizes[name] = size
        taken.add(size)
    return sizes


def example_arguments(spec: Spec) -> tuple[torch.Tensor, ...]:
    """Zeros of the declared types and shapes."""
    sizes = example_sizes(spec)
    return tuple(
        torch.zeros(
            [size if isinstance(size, int) else sizes[size] for size in item.shape],
            dtype=input_dtype(item, dtype=spec.dtype),
        )
        for item in spec.inputs
    )


def dynamic_shapes(spec: Spec) -> tuple[tuple[dict[int, Any], ...]]:
    """The bounds in the form that torch.export wants for a ``forward(*arrays)``."""
    dims = {
        name: torch.export.Dim(name, min=bounds.min, max=bounds.max)
        for name, bounds in spec.dynamic.items()
    }
    return (
        tuple(
            {place: dims[size] for place, size in enumerate(item.shape) if isinstance(size, str)}
            for item in spec.inputs
        ),
    )
