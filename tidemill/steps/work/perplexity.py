"""What quantisation cost, as a part of the verdict: perplexity before and after. Pure but for IO.

Perplexities are of torch's float and narrowed models on the evaluation text, which no reference of
a narrowed model can say anything about: it is as bad as the model that it stands for.
"""

import json
from pathlib import Path
from typing import Any

from tidemill.errors import FailureClass, WorkError

Json = dict[str, Any]


def judged_quantisation(report: Path, *, rise: float) -> tuple[Json, list[str]]:
    """The verdict's part about a quantisation, and why it does not hold, from its ``report``.

    ``rise`` is the share by which perplexity may grow. Raises WorkError on an unusable report.
    """
    try:
        measured = json.loads(report.read_text(encoding="utf-8"))["perplexity"]
        before, after = float(measured["float"]), float(measured["narrowed"])
    except (KeyError, TypeError, ValueError) as error:
        raise WorkError(
            FailureClass.INFRASTRUCTURE,
            f"{report.name} does not say what quantisation cost: {error!r}",
            hint="quantise again: run it with --force",
        ) from error
    grown = after / before - 1
    part = {
        "perplexity": {"float": before, "narrowed": after},
        "rise": grown,
        "limit": rise,
    }
    if grown <= rise:
        return part, []
    words = f"perplexity grew from {before:.4g} to {after:.4g}, by {grown:.2%}"
    return part, [f"quantisation: {words}; {rise:.2%} is allowed"]
