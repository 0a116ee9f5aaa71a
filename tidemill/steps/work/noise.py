"""The noise floor of an output: how far torch in the artifact's dtype is from the reference. Pure.

A program that narrows its own activations rounds in steps: a value beside the middle of two falls
to either side, by a sum that differs in its last place, and moves results by far more than
rounding does otherwise. One run of torch says whether a value fell, not how far results may lie
apart. Such a program has ``draws``: the same result with other roundings. The worst of all draws
and all samples is the noise of an output then.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from tidemill.steps.work.dtypes import Array

Json = dict[str, Any]
#: What counts as worse; all else that is told is of the first run.
_WORSE = {"max_abs": max, "rel_l2": max, "top1": min}


@runtime_checkable
class Drawn(Protocol):
    """A program whose results hang on how its sums are rounded."""

    def draws(self, arrays: Sequence[Array]) -> Iterator[list[Array]]:
        """Its results again and again, each time with other roundings; an end comes by itself."""
        ...


def worst(noise: Mapping[str, Any], other: Mapping[str, Any]) -> Json:
    """``noise`` with what is worse in ``other``. Both are metrics as JSON."""
    found = dict(noise)
    for name, choose in _WORSE.items():
        values = [one[name] for one in (noise, other) if one.get(name) is not None]
        if values:
            found[name] = choose(values)
    return found


def level(entries: Sequence[Json]) -> None:
    """Give every output the worst noise that it has in any sample. Changes ``entries``."""
    outputs = [output for entry in entries for output in entry["outputs"]]
    for name in {output["name"] for output in outputs}:
        same = [output for output in outputs if output["name"] == name]
        for output in same:
            for other in same:
                output["noise"] = worst(output["noise"], other["noise"])
