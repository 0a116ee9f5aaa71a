"""The noise floor of an output: how far torch in the artifact's dtype is from the reference.

A program that narrows its own activations rounds in steps: a value beside the middle of two falls
to either side, by a sum that differs in its last place, and moves results by far more than
rounding does otherwise. One run of torch says whether a value fell, not how far results may lie
apart. Such a program is ``Stepped``: it gives the same result with other roundings. The worst of
all draws and all samples is the noise of an output then. It also gives what it would compute if
it narrowed nothing, which every contract for it has to refuse (``contract.self_check``).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tidemill.steps.work.dtypes import Array, load_array
from tidemill.steps.work.metrics import compare, distance

Json = dict[str, Any]
#: What counts as worse; all else that is told is of the first run.
_WORSE = {"max_abs": max, "rel_l2": max, "top1": min}


@runtime_checkable
class Stepped(Protocol):
    """A program that narrows its activations, so that its results hang on how sums are rounded."""

    def draws(self, arrays: Sequence[Array]) -> Iterator[list[Array]]:
        """Its results again and again, each time with other roundings; an end comes by itself."""
        ...

    def unnarrowed(self, arrays: Sequence[Array]) -> list[Array]:
        """What the program would give if its activations stayed as they are."""
        ...


def add_noise(results: Sequence[Array], entry: Json, *, folder: Path) -> None:
    """Count ``results`` of a run as noise of the outputs of ``entry``, if it is the worst yet."""
    for result, output in zip(results, entry["outputs"], strict=True):
        expected = load_array(folder / output["file"], dtype=output["stored"])
        metrics = compare(result, expected, dtype=output["dtypes"][0], logits=result.ndim > 1)
        noise = metrics.to_json()
        output["noise"] = worst(output["noise"], noise) if output["noise"] else noise


def add_steps(program: Stepped, arrays: Sequence[Array], entry: Json, *, folder: Path) -> None:
    """Count all draws as noise, and note how far the program is from one that narrows nothing."""
    for results in program.draws(arrays):
        add_noise(results, entry, folder=folder)
    for result, output in zip(program.unnarrowed(arrays), entry["outputs"], strict=True):
        expected = load_array(folder / output["file"], dtype=output["stored"])
        far = distance(result, expected)
        output["unnarrowed"] = {"max_abs": far.max_abs, "rel_l2": far.rel_l2}


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
