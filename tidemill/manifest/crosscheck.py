"""Checks between parts of a manifest, on the raw data: they run although a part is wrong."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from tidemill.exporters import EXPORTERS
from tidemill.manifest.benchmark_checks import benchmarked
from tidemill.manifest.handed import handed_over
from tidemill.manifest.options import chosen
from tidemill.manifest.paged import paged, quantize_files, same_text
from tidemill.manifest.part import Dtype
from tidemill.manifest.problems import Location, Problem, known_words, mapping
from tidemill.manifest.proxies import judged
from tidemill.manifest.sample_values import filled
from tidemill.manifest.yaml_source import Document
from tidemill.sources import parse_source

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

Finding = tuple[Location, str]


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def crosscheck(document: Document, *, targets: Mapping[str, object]) -> list[Problem]:
    """Every problem between the parts of one manifest file."""
    data = mapping(document.data)
    findings = [*_sources(data)]
    for name, raw in mapping(data.get("components")).items():
        at: Location = ("components", name)
        component = mapping(raw)
        findings += _files(data, component, at)
        findings += _synthetic(data, component, at)
        findings += _weights(component, at)
        findings += _shapes(component, at)
        for index, sample in enumerate(_items(component.get("samples"))):
            findings += _sample(component, mapping(sample), (*at, "samples", index))
        findings += _sample_names(component, at)
        findings += _targets(component, at, targets)
        findings += _dtypes(component, at)
        findings += chosen(component, at)
        findings += _logits(component, at)
        findings += _repeated(component, at)
        findings += benchmarked(component, at, targets=targets)
        findings += paged(component, at)
        findings += same_text(data, component, at)
        findings += judged(mapping(data.get("components")), name, targets=targets)
        findings += handed_over(mapping(data.get("components")), name)
    return [document.problem(location, message) for location, message in findings]


def _scheme(source: object) -> str:
    origin = mapping(source).get("from")
    try:
        return parse_source(origin).scheme if isinstance(origin, str) else ""
    except ValueError:
        return ""


def _sources(data: dict[str, Any]) -> Iterator[Finding]:
    for name, source in mapping(data.get("sources")).items():
        at: Location = ("sources", name)
        scheme, files = _scheme(source), mapping(mapping(source).get("files"))
        if scheme in ("pypi", "npm") and "sha256" not in source:
            yield at, f"a {scheme}: package needs the sha256 of its archive"
        if scheme in ("hf", "file", "synthetic") and "sha256" in source:
            yield (*at, "sha256"), f"a {scheme}: source has no archive; pin its files instead"
        if scheme and scheme != "synthetic" and "hub" in source:
            yield (*at, "hub"), "stands in place of a synthetic: source only"
        if scheme == "synthetic" and files:
            yield (*at, "files"), "a synthetic: source makes values, it has no files"
        if scheme and scheme != "synthetic" and not files:
            yield at, "names no files"
        for file in files:
            if file.endswith(PICKLE_SUFFIXES) and "pickle" not in mapping(source):
                yield (
                    (*at, "files", file),
                    "is a pickle, which can run code when loaded: prefer safetensors, or say why"
                    " it is trusted in 'pickle:' beside 'files:'",
                )


def _file_problem(data: dict[str, Any], reference: object) -> str:
    if not isinstance(reference, str):
        return ""
    source, _, file = reference.partition("/")
    sources = mapping(data.get("sources"))
    if source not in sources:
        return f"no source '{source}' {known_words(source, sources)}"
    hub = mapping(sources[source]).get("hub")
    if _scheme(sources[source]) == "synthetic" and not hub:
        return "" if not file else f"source '{source}' is synthetic: write '{source}' alone"
    files = mapping(mapping(hub or sources[source]).get("files"))
    if file not in files:
        return f"source '{source}' has no file '{file}' {known_words(file, files)}"
    return ""


def _references(component: dict[str, Any], at: Location) -> Iterator[tuple[str, Location, str]]:
    """Every (role, location, text) at which a component names a file."""
    yield from quantize_files(component, at)
    for role in ("config", "weights"):
        for index, reference in enumerate(_items(component.get(role))):
            if isinstance(reference, str):
                yield role, (*at, role, index), reference
    for index, sample in enumerate(_items(component.get("samples"))):
        where: Location = (*at, "samples", index)
        reference = mapping(mapping(sample).get("text")).get("tokenizer")
        if isinstance(reference, str):
            yield "tokenizer", (*where, "text", "tokenizer"), reference
        for name, value in mapping(mapping(sample).get("inputs")).items():
            if isinstance(file := mapping(value).get("file"), str):
                yield "sound", (*where, "inputs", name, "file"), file
        vocabulary = mapping(mapping(sample).get("greedy")).get("vocabulary")
        if isinstance(vocabulary, str):
            yield "vocabulary", (*where, "greedy", "vocabulary"), vocabulary


def _files(data: dict[str, Any], component: dict[str, Any], at: Location) -> Iterator[Finding]:
    sources: dict[tuple[str, str], str] = {}
    for role, where, reference in _references(component, at):
        source, _, file = reference.partition("/")
        if message := _file_problem(data, reference):
            yield where, message
        elif _scheme(mapping(data.get("sources")).get(source)) == "synthetic":
            if role != "weights":
                yield where, f"source '{source}' is synthetic: it has no files"
        # A step finds its files by role and name, so one name cannot come from two sources.
        elif sources.setdefault((role, file), source) != source:
            first = sources[role, file]
            yield where, f"'{file}' comes from '{first}' already: give one of them another name"


def _synthetic(data: dict[str, Any], component: dict[str, Any], at: Location) -> Iterator[Finding]:
    weights = [text for text in _items(component.get("weights")) if isinstance(text, str)]
    sources = mapping(data.get("sources"))
    used = {text.partition("/")[0] for text in weights}
    from_hub = all("hub" in mapping(sources.get(name)) for name in used)
    schemes = [_scheme(sources.get(name)) for name in used]
    if "synthetic" in schemes and (len(used) > 1 or (len(weights) > 1 and not from_hub)):
        yield (*at, "weights"), "a synthetic source makes all values: name it alone"


def _weights(component: dict[str, Any], at: Location) -> Iterator[Finding]:
    info = EXPORTERS.get(str(component.get("exporter")))
    named = bool(component.get("weights"))
    if info and info.parameters and not named:
        yield at, f"names no weights, and exporter '{component['exporter']}' has parameters"
    if info and not info.parameters and named:
        yield (*at, "weights"), f"exporter '{component['exporter']}' has no parameters"


def _shapes(component: dict[str, Any], at: Location) -> Iterator[Finding]:
    dimensions = mapping(component.get("dimensions"))
    symbols = {*dimensions, *mapping(component.get("matrix"))}
    for name, part in mapping(component.get("inputs")).items():
        for index, size in enumerate(_items(mapping(part).get("shape"))):
            where = (*at, "inputs", name, "shape", index)
            if isinstance(size, str) and size not in symbols:
                yield where, f"'{size}' is neither a dimension nor a matrix axis of this component"
            if isinstance(size, int) and size < 1:
                yield where, f"{size} is no size: it must be at least 1"
    for name in sorted(set(dimensions) & set(mapping(component.get("matrix")))):
        yield (*at, "dimensions", name), f"'{name}' is a matrix axis too: it cannot be both"
    for name, bounds in dimensions.items():
        low, high = mapping(bounds).get("min"), mapping(bounds).get("max")
        if isinstance(low, int) and isinstance(high, int) and low > high:
            yield (*at, "dimensions", name), f"min {low} is above max {high}"


def _sample_names(component: dict[str, Any], at: Location) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, sample in enumerate(_items(component.get("samples"))):
        name = str(mapping(sample).get("name"))
        if name in seen:
            yield (*at, "samples", index, "name"), f"duplicate name '{name}'"
        seen.add(name)


def _sample(component: dict[str, Any], sample: dict[str, Any], at: Location) -> Iterator[Finding]:
    inputs, made = mapping(component.get("inputs")), mapping(sample.get("inputs"))
    for missing in sorted(set(inputs) - set(made)):
        yield at, f"says nothing about input '{missing}'"
    for extra in sorted(set(made) - set(inputs)):
        yield (*at, "inputs", extra), "is no input of this component"
    for name, value in made.items():
        if mapping(value).get("kind") == "text" and "text" not in sample:
            yield (*at, "inputs", name), "is made from text, but the sample has none"
    yield from filled(component, sample, at)
    dimensions, sizes = mapping(component.get("dimensions")), mapping(sample.get("dims"))
    for missing in sorted(set(dimensions) - set(sizes)):
        yield at, f"gives no size for dimension '{missing}'"
    for extra in sorted(set(sizes) - set(dimensions)):
        yield (*at, "dims", extra), "is no dimension of this component"
    for name in sorted(set(sizes) & set(dimensions)):
        bounds = mapping(dimensions[name])
        low: Any = bounds.get("min")
        high, size = bounds.get("max"), sizes[name]
        whole = all(type(number) is int for number in (low, high, size))
        if whole and low <= high and not low <= size <= high:
            yield (*at, "dims", name), f"{size} is not within {low} to {high}"


def _targets(
    component: dict[str, Any], at: Location, targets: Mapping[str, object]
) -> Iterator[Finding]:
    for index, name in enumerate(_items(component.get("targets"))):
        if isinstance(name, str) and name not in targets:
            yield (*at, "targets", index), f"unknown target '{name}' {known_words(name, targets)}"
    for name in mapping(component.get("flags")):
        if name != "all" and name not in targets:
            known = known_words(name, ("all", *targets))
            yield (*at, "flags", name), f"unknown target '{name}' {known}"


def _dtypes(component: dict[str, Any], at: Location) -> Iterator[Finding]:
    info = EXPORTERS.get(str(component.get("exporter")))
    for index, dtype in enumerate(_items(component.get("dtypes"))):
        if info and dtype in get_args(Dtype) and dtype not in info.dtypes:
            able = ", ".join(sorted(info.dtypes))
            yield (
                (*at, "dtypes", index),
                f"exporter '{component['exporter']}' cannot make '{dtype}' (it makes: {able})",
            )


def _repeated(component: dict[str, Any], at: Location) -> Iterator[Finding]:
    """The same point of the matrix twice would be one artifact with two recipes."""
    places: list[Location] = [("dtypes",), ("targets",)]
    places += [("matrix", axis) for axis in mapping(component.get("matrix"))]
    for place in places:
        values: object = component
        for part in place:
            values = mapping(values).get(str(part))
        seen: list[object] = []
        for index, value in enumerate(_items(values)):
            if value in seen:
                yield (*at, *place, index), f"duplicate name '{value}'"
            seen.append(value)


def _logits(component: dict[str, Any], at: Location) -> Iterator[Finding]:
    outputs = _items(component.get("outputs"))
    known = [str(name) for name in outputs]
    for index, name in enumerate(_items(mapping(component.get("numerics")).get("logits"))):
        if outputs and name not in outputs:
            where = (*at, "numerics", "logits", index)
            yield where, f"'{name}' is no output of this component (known: {', '.join(known)})"
