"""What a component says under ``options``, against what its exporter takes; on raw data, pure."""

from collections.abc import Iterator
from typing import Any

from tidemill.exporters import EXPORTERS, Option
from tidemill.manifest.problems import Location, known_words, shown


def chosen(component: dict[str, Any], at: Location) -> Iterator[tuple[Location, str]]:
    """Problems of a component's options."""
    exporter, given = str(component.get("exporter")), component.get("options", {})
    if exporter not in EXPORTERS or not isinstance(given, dict):
        return  # said where types are checked
    options = EXPORTERS[exporter].options
    for name, value in given.items():
        if name not in options:
            words = known_words(name, options)
            yield (*at, "options", name), f"exporter '{exporter}' has no option '{name}' {words}"
        elif _has_a_type(value) and (problem := _problem(value, options[name])):
            yield (*at, "options", name), problem
    if lacking := [name for name, one in options.items() if one.needed and name not in given]:
        names = ", ".join(f"'{name}'" for name in lacking)
        yield (*at, "options"), f"exporter '{exporter}' needs a value for {names}"


def _has_a_type(value: object) -> bool:
    """Whether a value is one that an option can have at all; any other is told of already."""
    if isinstance(value, list):
        return all(type(one) is int for one in value) or all(isinstance(one, str) for one in value)
    return isinstance(value, str | int | float)


def _problem(value: Any, option: Option) -> str:
    if not _fits(value, option):
        return f"expected {_wanted(option)}, got {shown(value)}"
    if option.choices and value not in option.choices:
        return f"unknown value {value!r} {known_words(value, option.choices)}"
    numbers = value if isinstance(value, list) else [value]
    if option.least is not None and min(numbers, default=option.least - 1) < option.least:
        return f"expected {_wanted(option)}, got {value}"
    return ""


def _wanted(option: Option) -> str:
    if option.choices:
        return f"text {known_words('', option.choices)}"
    least = "" if option.least is None else f", at least {option.least}"
    return option.kind + least


def _fits(value: object, option: Option) -> bool:
    match option.kind:
        case "text":
            return isinstance(value, str)
        case "a whole number":
            return type(value) is int
        case "a number":
            return type(value) in (int, float)
        case "true or false":
            return isinstance(value, bool)
        case "a list of texts":
            return isinstance(value, list) and all(isinstance(one, str) for one in value)
        case "a list of whole numbers":
            return isinstance(value, list) and all(type(one) is int for one in value)
