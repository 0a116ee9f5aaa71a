"""What a paged language model's samples and files have to be; checks on raw data, pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from tidemill.exporters import EXPORTERS
from tidemill.manifest.problems import Location, mapping

EXPORTER = "sharktank_llm"
_Finding = tuple[Location, str]
#: What readers of an artifact are told that holds for no others.
EQUAL_ROWS = "rows of equal length"
_FIRST_ROW = (
    "attention_kernel 'sharktank' masks every row as the first: what it makes of rows of different"
    " lengths is wrong, and a target without a device would be told nothing. Take kernel 'torch',"
    " or set options.equal_lengths and give samples whose rows are all of one length"
)
_NO_TOP1 = (
    "has no top1: limits of a model that rounds in steps are wide, so that its best tokens have to"
    " agree as well; say in what share of positions"
)
_SAME_TEXT = (
    "is the text that scales are found on, '{calibration}': a perplexity there says nothing of"
    " other texts; name another one, with a sha256 of its own"
)
_RAGGED = (
    "no sample has rows of different lengths, so that a wrong attention mask would pass"
    " (attention_kernel 'sharktank' masks every row as the first): add one, or set"
    " options.equal_lengths, which readers of the artifact then have to keep to"
)


def paged(component: dict[str, Any], at: Location) -> Iterator[_Finding]:
    """Problems of a component's ``quantize``, and of a paged component's samples."""
    exporter = str(component.get("exporter"))
    info = EXPORTERS.get(exporter)
    if "quantize" in component and info and not info.quantizes:
        able = ", ".join(sorted(name for name, one in EXPORTERS.items() if one.quantizes))
        yield (
            (*at, "quantize"),
            f"exporter '{exporter}' takes no quantised dataset (those that do: {able})",
        )
    if "quantize" in component and mapping(component.get("numerics")).get("top1") is None:
        yield (*at, "numerics"), _NO_TOP1
    if exporter == EXPORTER:
        yield from _masked(component, at)
        samples = component.get("samples")
        for index, sample in enumerate(samples if isinstance(samples, list) else []):
            yield from _sampled(component, mapping(sample), (*at, "samples", index))


def same_text(
    data: Mapping[str, Any], component: Mapping[str, Any], /, at: Location
) -> Iterator[_Finding]:
    """Whether a perplexity is taken of the text that scales are found on, under whatever name."""
    part = mapping(component.get("quantize"))
    evaluation, calibration = (
        mapping(part.get(role)).get("text") for role in ("evaluation", "calibration")
    )
    if evaluation is None or calibration is None:
        return
    digest = _digest(data, evaluation)
    if evaluation == calibration or (digest and digest == _digest(data, calibration)):
        message = _SAME_TEXT.format(calibration=calibration)
        yield (*at, "quantize", "evaluation", "text"), message


def _digest(data: Mapping[str, Any], reference: object) -> object:
    """The sha256 of a file that ``source/file`` names; None where the manifest says none."""
    source, _, file = str(reference).partition("/")
    files = mapping(mapping(mapping(data.get("sources")).get(source)).get("files"))
    return mapping(files.get(file)).get("sha256")


def _masked(component: Mapping[str, Any], at: Location) -> Iterator[_Finding]:
    """Whether a wrong attention mask would be seen."""
    options, samples = mapping(component.get("options")), component.get("samples")
    if promises_equal(options):
        return
    if options.get("attention_kernel") == "sharktank":
        yield (*at, "options", "attention_kernel"), _FIRST_ROW
    elif samples and isinstance(samples, list) and not any(map(_ragged, samples)):
        yield (*at, "samples"), _RAGGED


def _sampled(
    component: Mapping[str, Any], sample: Mapping[str, Any], at: Location
) -> Iterator[_Finding]:
    where, lengths = (*at, "inputs", "lengths"), _lengths(sample)
    if lengths is None:
        yield where, "says no lengths: a paged model needs them as listed values"
        return
    if promises_equal(mapping(component.get("options"))) and _ragged(sample):
        yield where, "are not all equal, as options.equal_lengths promises"
    longest = mapping(sample.get("dims")).get("seq")
    for one in lengths:
        if type(one) is type(longest) is int and not 1 <= one <= longest:
            yield where, f"{one} is not within 1 to {longest}, the sample's seq"


def _lengths(sample: object) -> list[Any] | None:
    part = mapping(mapping(mapping(sample).get("inputs")).get("lengths"))
    values = part.get("values")
    return values if part.get("kind") == "values" and isinstance(values, list) else None


def _ragged(sample: object) -> bool:
    return len({str(one) for one in _lengths(sample) or ()}) > 1


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
