"""A parsed file as a part of a manifest, or every reason why it is none, in words for people."""

from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError

from tidemill.exporters import EXPORTERS
from tidemill.manifest.part import Part
from tidemill.manifest.problems import Location, Problem, known_words, shown
from tidemill.manifest.yaml_source import Document

AnyPart = TypeVar("AnyPart", bound=Part)


def validate(
    document: Document,
    kind: type[AnyPart],
    problems: list[Problem],
    *,
    toolchains: Sequence[str] = (),
) -> AnyPart | None:
    """The document as ``kind``, or None after adding every problem to ``problems``.

    ``toolchains`` are the names of the locks that there are.
    """
    problems += document.problems
    if document.data is None:
        return None
    try:
        part = kind.model_validate(
            document.data, context={"exporters": EXPORTERS, "toolchains": toolchains}
        )
    except ValidationError as error:
        known = {problem.path for problem in document.problems}
        found = _problems(document, [dict(item) for item in error.errors()], kind=kind)
        problems += [problem for problem in found if problem.path not in known]
        return None
    return None if document.problems else part


_PLAIN = {
    "extra_forbidden": "unknown key",
    "missing": "is missing",
    "string_type": "expected text",
    "int_type": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}
#: What pydantic puts into a location where a value may be one of several types.
_ALTERNATIVES = {
    "int": "a whole number",
    "str": "text",
    "float": "a number",
    "bool": "true or false",
    "list[int]": "a list of whole numbers",
    "list[str]": "a list of texts",
}


def _problems(
    document: Document, items: list[dict[str, Any]], *, kind: type[Part]
) -> list[Problem]:
    problems: list[Problem] = []
    unions: dict[Location, list[str]] = {}
    for item in items:
        location, alternative = _real_location(document, item["loc"], given=item["input"])
        if item["type"] == "too_short" and document.value_at(location):
            continue  # not empty: pydantic means that no item of it is right
        if alternative:
            unions.setdefault(location, []).append(_ALTERNATIVES[alternative])
        else:
            message = _message(item)
            if item["type"] == "extra_forbidden":
                message += f" {known_words(location[-1], keys_at(kind, location[:-1]))}"
            problems.append(document.problem(location, message))
    for location, kinds in unions.items():
        *some, last = dict.fromkeys(kinds)
        value = shown(document.value_at(location))
        problems.append(
            document.problem(location, f"expected {', '.join(some)} or {last}, got {value}")
        )
    return problems


def _message(item: dict[str, Any]) -> str:
    if item["type"] == "literal_error":
        return f"unknown value {item['input']!r} (known: {item['ctx']['expected']})"
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    message = _PLAIN.get(item["type"], "")
    if message.startswith("expected"):
        return f"{message}, got {shown(item['input'])}"
    words = item["msg"].replace("Input should be", "must be")
    return message or f"{words}, got {shown(item['input'])}"


def _real_location(
    document: Document, location: tuple[str | int, ...], *, given: object
) -> tuple[Location, str]:
    """The location without what pydantic adds for dict keys; and its word for one type of several.

    Everything that it says below such a word is about one alternative, and left out.
    """
    real: Location = ()
    for index, part in enumerate(location):
        written = (*real, part) in document.lines
        last = index == len(location) - 1
        if part in _ALTERNATIVES and (not written or (last and document.value_at(real) is given)):
            return real, str(part)
        if written or part != "[key]":
            real = (*real, part)
    return real, ""


def keys_at(kind: type[Part], location: Location) -> frozenset[str]:
    """The keys that a part may have which stands at ``location`` of a document of ``kind``."""
    annotations: list[object] = [kind]
    for key in location:
        annotations = [below for one in annotations for below in _below(one, key)]
    return frozenset(name for one in annotations for name in _fields(one))


def _fields(annotation: object) -> Mapping[str, object]:
    """What stands under each key of a part; nothing for anything else."""
    if not (isinstance(annotation, type) and issubclass(annotation, Part)):
        return {}
    fields = annotation.model_fields
    return {field.alias or name: field.annotation for name, field in fields.items()}


def _below(annotation: object, key: str | int) -> Iterator[object]:
    """The types that a value may have under ``key`` of a value of a type."""
    for one in _plain(annotation):
        if get_origin(one) is dict:
            yield from _plain(get_args(one)[1])
        elif get_origin(one) in (tuple, list):
            yield from _plain(get_args(one)[0])
        elif key in (fields := _fields(one)):
            yield from _plain(fields[str(key)])


def _plain(annotation: object) -> Iterator[object]:
    """The types of a union, each without what is annotated."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _plain(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for one in get_args(annotation):
            yield from _plain(one)
    else:
        yield annotation
