"""What a paged language model's samples and files have to be; checks on raw data, pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from tidemill.exporters import EXPORTERS
from tidemill.manifest.problems import Location, mapping

EXPORTER = "sharktank_llm"
#: What readers of an artifact are told that holds for no others.
EQUAL_ROWS = "rows of equal length"
_RAGGED = (
    "no sample has rows of different lengths, so that a wrong attention mask would pass"
    " (attention_kernel 'sharktank' masks every row as the first): add one, or set"
    " options.equal_lengths, which readers of the artifact then have to keep to"
)


def paged(component: dict[str, Any], at: Location) -> Iterator[tuple[Location, str]]:
    """Problems of a component's ``quantize``, and of a paged component's samples."""
    exporter = str(component.get("exporter"))
    info = EXPORTERS.get(exporter)
    if "quantize" in component and info and not info.quantizes:
        able = ", ".join(sorted(name for name, one in EXPORTERS.items() if one.quantizes))
        yield (
            (*at, "quantize"),
            f"exporter '{exporter}' takes no quantised dataset (those that do: {able})",
        )
    if exporter != EXPORTER:
        return
    options, ragged = mapping(component.get("options")), False
    equal = promises_equal(options)
    samples = component.get("samples")
    for index, sample in enumerate(samples if isinstance(samples, list) else []):
        lengths = mapping(mapping(mapping(sample).get("inputs")).get("lengths"))
        where = (*at, "samples", index, "inputs", "lengths")
        if lengths.get("kind") != "values" or not isinstance(lengths.get("values"), list):
            yield where, "says no lengths: a paged model needs them as listed values"
            continue
        different = len({str(one) for one in lengths["values"]}) > 1
        ragged |= different
        if different and equal:
            yield where, "are not all equal, as options.equal_lengths promises"
    if samples and not ragged and not equal:
        yield (*at, "samples"), _RAGGED


def promises_equal(options: Mapping[str, Any]) -> bool:
    """Whether a component is made for batches whose rows are all of one length."""
    return options.get("equal_lengths") is True


def quantize_files(component: dict[str, Any], at: Location) -> Iterator[tuple[str, Location, str]]:
    """Every (role, location, text) at which ``quantize`` names a file."""
    part = mapping(component.get("quantize"))
    tokenizer = part.get("tokenizer")
    for index, name in enumerate(tokenizer if isinstance(tokenizer, list) else []):
        if isinstance(name, str):
            yield "tokenizer", (*at, "quantize", "tokenizer", index), name
    for role in ("calibration", "evaluation"):
        text = mapping(part.get(role)).get("text")
        if isinstance(text, str):
            yield role, (*at, "quantize", role, "text"), text
