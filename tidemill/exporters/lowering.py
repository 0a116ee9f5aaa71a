"""Torch program → MLIR through torch.export and iree-turbine. Imported by the export step alone."""

from pathlib import Path

import torch
from iree.turbine import aot
from iree.turbine.aot import ExternalTensorTrait
from torch._dynamo.exc import UserError

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.architecture import Architecture, needed
from tidemill.exporters.base import Spec
from tidemill.exporters.legalise import decompositions
from tidemill.exporters.mlir import SCOPE
from tidemill.exporters.trace import dynamic_shapes, example_arguments


def write_mlir(model: Architecture, spec: Spec, *, target: Path) -> None:
    """Trace ``model.program`` with the inputs of ``spec`` and write its MLIR, function ``main``.

    Raises WorkError (export) when torch.export refuses the declared shapes.
    """
    _mark_external(model)
    try:
        with torch.no_grad():
            exported = torch.export.export(
                model.program,
                example_arguments(spec),
                dynamic_shapes=dynamic_shapes(spec),
                strict=False,
            ).run_decompositions(decompositions())
    except UserError as error:
        raise WorkError(
            FailureClass.EXPORT,
            f"torch.export refuses the model: {error}",
            hint="a refused bound of a dynamic dimension is corrected under `dynamic`",
        ) from error
    aot.export(exported, function_name="main").save_mlir(target)


def _mark_external(model: Architecture) -> None:
    """Mark every tensor that came without values, whatever the manifest calls unused.

    One that stays unmarked would enter the MLIR as a constant, with whatever its memory holds.
    """
    for module in (model.program, model.named):  # the checkpoint's names win
        for item in needed(module, unused=()):
            trait = ExternalTensorTrait(external_scope=SCOPE, external_name=item.name)
            trait.set(item.tensor)
