"""Working half of ``pack``: a model's weights to one IREE parameter archive.

Exporters of language models write the model's ``tokenizer.json`` beside it.
"""

from pathlib import Path

from tidemill.steps.work.protocol import OUT, Made, Request, Response
from tidemill.steps.work.spec import exporter_of, spec_of

NAME, TOKENIZER = "model.irpa", "tokenizer.json"


def run(request: Request) -> Response:
    """Write ``out/model.irpa``. Raises WorkError as the exporter does."""
    exporter, spec = exporter_of(request), spec_of(request)
    folder = Path(OUT)
    folder.mkdir(exist_ok=True)
    facts = exporter.pack(spec, folder / NAME)
    made = [Made(name=NAME, kind="irpa")]
    if (folder / TOKENIZER).exists():
        made.append(Made(name=TOKENIZER, kind="tokenizer"))
    return Response(made=tuple(made), facts=facts)
