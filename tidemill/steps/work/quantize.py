"""Working half of ``quantize``: a checkpoint and calibration text to a narrowed dataset.

``dataset.irpa`` is what Brevitas exports for sharktank. ``quantization.json`` says what it measured
on the evaluation text, with the float model and with the narrowed one, and how it was called.
"""

import json
import math
from pathlib import Path
from typing import Any

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.brevitas_llm import quantise
from tidemill.steps.work.protocol import OUT, Made, Request, Response
from tidemill.steps.work.spec import spec_of

DATASET, REPORT = "dataset.irpa", "quantization.json"


def run(request: Request) -> Response:
    """Write both files below ``out/``. Raises WorkError."""
    folder = Path(OUT)
    folder.mkdir(exist_ok=True)
    facts = quantise(
        spec_of(request),
        request.fields["quantize"],
        files={role: request.files(role) for role in ("tokenizer", "calibration", "evaluation")},
        target=folder / DATASET,
    )
    _require_numbers(facts["perplexity"])
    text = json.dumps(facts, indent=1, sort_keys=True, allow_nan=False)
    (folder / REPORT).write_text(text + "\n", encoding="utf-8")
    return Response(
        made=(Made(name=DATASET, kind="quantised"), Made(name=REPORT, kind="quantised")),
        facts=facts,
    )


def _require_numbers(perplexity: dict[str, Any]) -> None:
    wrong = [name for name, value in perplexity.items() if not math.isfinite(value)]
    if wrong:
        raise WorkError(
            FailureClass.NUMERICS,
            f"the perplexity of the {' and the '.join(wrong)} model is not a number",
            hint="the checkpoint gives NaN or infinity on the evaluation text, or the scales do:"
            " see the log",
        )
