"""A language model's two functions → MLIR through torch.export and iree-turbine, in one module."""

from pathlib import Path
from typing import Any

import torch
from iree.turbine import aot
from iree.turbine.aot import ExternalTensorTrait
from torch import nn
from torch._dynamo.exc import UserError
from torch.export import Dim, ExportedProgram

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.architecture import needed
from tidemill.exporters.base import Spec
from tidemill.exporters.cached_program import Decode, Prefill
from tidemill.exporters.cached_spec import cache_of, dimensions
from tidemill.exporters.legalise import TABLE
from tidemill.exporters.mlir import SCOPE
from tidemill.exporters.trace import DTYPES

#: Sizes of the examples: unlike each other, and unlike what a model may have itself.
BATCH, LENGTH = 3, 13
aten = torch.ops.aten
#: Kept whole: taken apart, from -O1 on their reshapes have sizes that the compiler cannot follow.
#: Attention of wide heads is taken apart all the same (legalise).
WHOLE = (
    aten.linear.default,
    aten.matmul.default,
    aten.addmm.default,
    aten.scaled_dot_product_attention.default,
)


def write_functions(model: nn.Module, spec: Spec, *, target: Path) -> None:
    """Trace ``prefill`` and ``decode`` of ``model`` and write them as one module.

    Raises WorkError (export) when torch.export refuses the declared shapes.
    """
    for item in needed(model, unused=()):
        ExternalTensorTrait(external_scope=SCOPE, external_name=item.name).set(item.tensor)
    cache = _empty_cache(model, spec)
    rows, tokens = dimensions(spec)
    batch = Dim("batch", min=rows.min, max=rows.max)
    length = Dim("length", min=tokens.min, max=tokens.max)
    ids, one = torch.zeros(BATCH, LENGTH, dtype=torch.int64), torch.zeros(BATCH, dtype=torch.int64)
    whole = _traced(
        Prefill(model), (ids, *cache), shapes=({0: batch, 1: length}, {1: batch}, {1: batch})
    )
    step = _traced(
        Decode(model),
        (ids[:, :1].clone(), one, *cache),
        shapes=({0: batch}, {0: batch}, {1: batch}, {1: batch}),
    )

    class LanguageModel(aot.CompiledModule):
        prefill = whole
        decode = step

    aot.export(LanguageModel).save_mlir(target)


def _traced(
    module: nn.Module, arguments: tuple[torch.Tensor, ...], *, shapes: tuple[Any, ...]
) -> ExportedProgram:
    try:
        with torch.no_grad():
            return torch.export.export(
                module, arguments, dynamic_shapes=shapes, strict=False
            ).run_decompositions(_decompositions())
    except UserError as error:
        raise WorkError(
            FailureClass.EXPORT,
            f"torch.export refuses the model: {error}",
            hint="a refused bound of a dynamic dimension is corrected under `dimensions`",
        ) from error


def _decompositions() -> dict[Any, Any]:
    """The table of torch itself without what is kept whole, and our legalisations on top."""
    table = torch.export.default_decompositions()
    for operator in WHOLE:
        table.pop(operator, None)
    return {**table, **{entry.operator: entry.becomes for entry in TABLE}}


def _empty_cache(model: nn.Module, spec: Spec) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of the examples; contiguous, or torch.export fixes their strides.

    Tracing looks at sizes only: memory that nobody touches is not there (an 8 B Llama: 1.6 GB).
    """
    sizes = cache_of(model, spec)
    shape = (sizes["layers"], BATCH, sizes["heads"], sizes["positions"], sizes["width"])
    dtype = DTYPES[spec.dtype]
    return torch.empty(shape, dtype=dtype), torch.empty(shape, dtype=dtype)
