"""Working half of ``export``: a model's source to MLIR text, parameters external.

An exporter whose program has to be driven writes ``config.json`` beside it, for the driver.
"""

from pathlib import Path

from tidemill.steps.work.protocol import OUT, Made, Request, Response
from tidemill.steps.work.spec import exporter_of, spec_of

NAME, CONFIG = "model.mlir", "config.json"


def run(request: Request) -> Response:
    """Write ``out/model.mlir``. Raises WorkError as the exporter does."""
    exporter, spec = exporter_of(request), spec_of(request)
    folder = Path(OUT)
    folder.mkdir(exist_ok=True)
    facts = exporter.export(spec, folder / NAME)
    made = [Made(name=NAME, kind="mlir")]
    if (folder / CONFIG).exists():
        made.append(Made(name=CONFIG, kind="config"))
    return Response(made=tuple(made), facts=facts)
