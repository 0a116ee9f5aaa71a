"""What a component's benchmark names in other parts of the manifest, checked on the raw data."""

from collections.abc import Iterator, Mapping
from typing import Any

from tidemill.exporters import EXPORTERS, MAIN
from tidemill.manifest.benchmarks import FLOAT
from tidemill.manifest.problems import Location, mapping
from tidemill.sizes import CONFIG, factors, places

_Finding = tuple[Location, str]


def benchmarked(
    component: Mapping[str, Any], at: Location, *, targets: Mapping[str, object]
) -> Iterator[_Finding]:
    """The problems of the benchmark that a component asks for, if it asks for one."""
    raw = mapping(component.get("benchmark"))
    where: Location = (*at, "benchmark")
    for field, known in (
        ("targets", _items(component.get("targets")) or list(targets)),
        ("dtypes", _items(component.get("dtypes"))),
    ):
        for index, one in enumerate(_items(raw.get(field))):
            if isinstance(one, str) and one not in known:
                yield (*where, field, index), f"'{one}' is none of this component's {field}"
    seen: set[str] = set()
    for index, part in enumerate(_items(raw.get("functions"))):
        function, here = mapping(part), (*where, "functions", index)
        name = function.get("name")
        if isinstance(name, str) and name in seen:
            yield (*here, "name"), f"duplicate name '{name}'"
        seen.add(str(name))
        yield from _own_functions(component, function, here)
        yield from _sample(component, function, here)
        yield from _dims(component, function, here)
        yield from _sizes(component, function, here)


def _driven(component: Mapping[str, Any]) -> bool:
    """Whether the functions of its program take something else than its declared inputs."""
    info = EXPORTERS.get(str(component.get("exporter")))
    return info is not None and info.driver != MAIN


def _own_functions(
    component: Mapping[str, Any], function: Mapping[str, Any], here: Location
) -> Iterator[_Finding]:
    for way in ("sample", "dims"):
        if way in function and _driven(component):
            name = component["exporter"]
            yield (*here, way), f"the functions of exporter '{name}' take others: give 'inputs'"


def _sample(
    component: Mapping[str, Any], function: Mapping[str, Any], here: Location
) -> Iterator[_Finding]:
    name = function.get("sample")
    if isinstance(name, str) and name not in _samples(component):
        known = ", ".join(_samples(component)) or "none"
        yield (*here, "sample"), f"no sample '{name}' (known: {known})"


def _dims(
    component: Mapping[str, Any], function: Mapping[str, Any], here: Location
) -> Iterator[_Finding]:
    sizes, dimensions = function.get("dims"), mapping(component.get("dimensions"))
    if not isinstance(sizes, dict):
        return
    for missing in sorted(set(dimensions) - set(sizes)):
        yield here, f"gives no size for dimension '{missing}'"
    for name, size in sizes.items():
        bounds = mapping(dimensions.get(name))
        low, high = bounds.get("min"), bounds.get("max")
        if name not in dimensions:
            yield (*here, "dims", name), "is no dimension of this component"
        elif type(size) is type(low) is type(high) is int and not low <= size <= high:
            yield (*here, "dims", name), f"{size} is not within {low} to {high}"


def _sizes(
    component: Mapping[str, Any], function: Mapping[str, Any], here: Location
) -> Iterator[_Finding]:
    """Names in inputs and in the number of tokens that nothing gives a size."""
    sample = _samples(component).get(str(function.get("sample")), {})
    given = {**mapping(function.get("dims")), **mapping(sample.get("dims"))}
    known = {*mapping(component.get("matrix")), *given}
    texts: list[tuple[Location, str]] = []
    for index, text in enumerate(_items(function.get("inputs"))):
        wanted = places(text) if isinstance(text, str) else ()
        texts += [((*here, "inputs", index), one) for one in wanted if one != FLOAT]
    if isinstance(function.get("function"), str):
        texts += [((*here, "function"), one) for one in places(function["function"])]
    if isinstance(function.get("tokens"), str):
        texts.append(((*here, "tokens"), function["tokens"]))
    for where, text in texts:
        for name in _factors(text):
            if name.startswith(CONFIG):
                if not component.get("config") and not _driven(component):
                    yield where, f"'{name}': this component has no 'config'"
            elif not name.isdecimal() and name not in known:
                there = ", ".join(sorted(known)) or "none"
                yield where, f"'{name}' is no matrix axis and no dimension here (known: {there})"


def _factors(text: str) -> tuple[str, ...]:
    try:
        return factors(text)
    except ValueError:
        return ()  # said where types are checked


def _samples(component: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    parts = (mapping(part) for part in _items(component.get("samples")))
    return {str(part.get("name")): part for part in parts}


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
