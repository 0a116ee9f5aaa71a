"""Inputs of samples that are what the reference of another component gives: ``kind: output``."""

from collections.abc import Iterator, Mapping
from typing import Any

from tidemill.manifest.problems import Location, mapping

_FORM = "write it as COMPONENT/SAMPLE/OUTPUT"


def handed_over(components: Mapping[str, Any], name: str) -> Iterator[tuple[Location, str]]:
    """The problems of what component ``name`` of a manifest's raw ``components`` takes so."""
    component = mapping(components[name])
    # Only what stands above can be taken, so that no circle can be declared.
    above = dict(list(components.items())[: list(components).index(name)])
    for index, sample in enumerate(_listed(component.get("samples"))):
        for given, value in mapping(mapping(sample).get("inputs")).items():
            of = mapping(value).get("of")
            if isinstance(of, str):
                at: Location = ("components", name, "samples", index, "inputs", given, "of")
                yield from ((at, words) for words in _problems(of, component, above))


def _problems(of: str, component: Mapping[str, Any], above: Mapping[str, Any]) -> Iterator[str]:
    if len(parts := of.split("/")) != len(("component", "sample", "output")):
        yield f"'{of}' does not name an output: {_FORM}"
        return
    name, sample, output = parts
    if name not in above:
        known = ", ".join(sorted(above)) or "none"
        yield f"no component '{name}' stands above this one (there: {known})"
        return
    other = mapping(above[name])
    samples = [mapping(one).get("name") for one in _listed(other.get("samples"))]
    for what, wanted, known_names in (
        ("sample", sample, samples),
        ("output", output, _listed(other.get("outputs"))),
    ):
        if wanted not in known_names:
            there = ", ".join(str(one) for one in known_names) or "none"
            yield f"'{name}' has no {what} '{wanted}' (it has: {there})"
    if "proxy" in other:
        yield f"'{name}' is validated by a proxy: it has no reference of its own"
    made = _listed(other.get("dtypes"))
    if lacking := [str(one) for one in _listed(component.get("dtypes")) if one not in made]:
        yield f"'{name}' lacks the dtypes {', '.join(lacking)}"
    for axis, sizes in mapping(other.get("matrix")).items():
        if isinstance(sizes, list) and len(sizes) != 1:
            yield f"'{name}' has {len(sizes)} sizes of '{axis}': which of them is meant?"


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
