"""What export, pack and reference share: the request's fields as an exporter's ``Spec``."""

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.base import Dimension, Exporter, InputSpec, Spec
from tidemill.steps.work.protocol import Request


def spec_of(request: Request) -> Spec:
    """The request as a Spec. Raises WorkError on a missing field or an undeclared dimension."""
    fields = request.fields
    try:
        spec = Spec(
            dtype=fields["dtype"],
            options=dict(fields["options"]),
            inputs=tuple(_input(raw) for raw in fields["inputs"]),
            dynamic={
                name: Dimension(min=bounds["min"], max=bounds["max"])
                for name, bounds in fields["dynamic"].items()
            },
            config=request.files("config"),
            weights=request.files("weights"),
            synthetic=fields["synthetic"],
            pickle_allowed=bool(fields["pickle"]),
            quantised=request.files("quantised"),
            packed=request.files("parameters"),
        )
    except KeyError as error:
        raise WorkError(
            FailureClass.EXPORT,
            f"the request of step {request.step} has no field {error}",
            hint="this is a fault of tidemill: the graph and the working half disagree",
        ) from error
    _check_dimensions(spec)
    return spec


def exporter_of(request: Request) -> Exporter:
    """The exporter that the request names, imported now. Raises WorkError if there is none."""
    # Not through the table of exporters: it would be part of every key, so that one exporter more
    # would make everything of all others anew. Its modules have the exporters' names.
    name = f"tidemill.exporters.{request.fields['exporter']}"
    if importlib.util.find_spec(name) is None:
        raise WorkError(
            FailureClass.EXPORT,
            f"there is no exporter {request.fields['exporter']!r}",
            hint="correct `exporter` in the manifest",
        )
    exporter: Exporter = importlib.import_module(name).EXPORTER
    return exporter


def _input(raw: Mapping[str, Any]) -> InputSpec:
    return InputSpec(name=raw["name"], dtype=raw["dtype"], shape=tuple(raw["shape"]))


def _check_dimensions(spec: Spec) -> None:
    used = {size for item in spec.inputs for size in item.shape if isinstance(size, str)}
    undeclared, idle = sorted(used - spec.dynamic.keys()), sorted(spec.dynamic.keys() - used)
    if undeclared:
        raise WorkError(
            FailureClass.EXPORT,
            f"inputs use dynamic dimensions without bounds: {', '.join(undeclared)}",
            hint="declare min and max of each under `dynamic` in the manifest",
        )
    if idle:
        raise WorkError(
            FailureClass.EXPORT,
            f"no input uses the dynamic dimensions: {', '.join(idle)}",
            hint="remove them from `dynamic` in the manifest",
        )
