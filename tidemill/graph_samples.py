"""Inputs and samples of a component as fields, and what samples are made from. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.manifest.model import ComponentPart, SamplePart


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """``fields`` are what is hashed: files by their names inside their roles.

    ``files`` maps role → SOURCE/FILE of each; ``outputs`` are COMPONENT/SAMPLE/OUTPUT of what
    other components' references give.
    """

    fields: list[dict[str, Any]]
    files: dict[str, list[str]]
    outputs: list[str]


def shapes_of(component: ComponentPart, axis: Mapping[str, int]) -> list[dict[str, Any]]:
    """The inputs of ``component`` at one point of its matrix."""
    return [
        {
            "name": name,
            "dtype": part.dtype,
            "shape": [
                axis.get(size, size) if isinstance(size, str) else size for size in part.shape
            ],
        }
        for name, part in component.inputs.items()
    ]


def described(component: ComponentPart, dtype: str) -> Described:
    """The samples of ``component`` for one dtype."""
    files: dict[str, list[str]] = {}
    for part in component.samples:
        for role, reference in _files(part, dtype):
            if reference not in files.setdefault(role, []):
                files[role].append(reference)
    given = [value.of for part in component.samples for value in part.inputs.values() if value.of]
    fields = [_fields(part, dtype) for part in component.samples]
    return Described(fields=fields, files=files, outputs=list(dict.fromkeys(given)))


def output_file(component: ComponentPart, sample: str, output: str) -> str:
    """The file in which a component's reference keeps one output of one sample."""
    return f"{sample}.expected{component.outputs.index(output)}.npy"


def _files(part: SamplePart, dtype: str) -> Iterator[tuple[str, str]]:
    if part.text:
        yield "tokenizer", part.text.tokenizer
    for value in part.inputs.values():
        if value.file:
            yield "sound", value.file
    if part.greedy and dtype in part.greedy.dtypes and part.greedy.vocabulary:
        yield "vocabulary", part.greedy.vocabulary


def _fields(part: SamplePart, dtype: str) -> dict[str, Any]:
    sample = part.model_dump(by_alias=True, exclude_none=True, exclude={"greedy"})
    sample.setdefault("text", None)
    if part.text:
        sample["text"]["tokenizer"] = _inside(part.text.tokenizer)
        sample["text"]["texts"] = list(part.text.texts)
    for name, value in part.inputs.items():
        if value.file:
            sample["inputs"][name]["file"] = _inside(value.file)
    greedy = part.greedy if part.greedy and dtype in part.greedy.dtypes else None
    sample["greedy"] = {"tokens": greedy.tokens} if greedy else None
    if greedy and greedy.vocabulary:
        sample["greedy"]["vocabulary"] = _inside(greedy.vocabulary)
    return sample


def _inside(reference: str) -> str:
    return reference.partition("/")[2]
