"""Working half of ``export``: a model's source to MLIR text, parameters external."""

from pathlib import Path

from tidemill.steps.work.protocol import OUT, Made, Request, Response
from tidemill.steps.work.spec import exporter_of, spec_of

NAME = "model.mlir"


def run(request: Request) -> Response:
    """Write ``out/model.mlir``. Raises WorkError as the exporter does."""
    exporter, spec = exporter_of(request), spec_of(request)
    folder = Path(OUT)
    folder.mkdir(exist_ok=True)
    facts = exporter.export(spec, folder / NAME)
    return Response(made=(Made(name=NAME, kind="mlir"),), facts=facts)
