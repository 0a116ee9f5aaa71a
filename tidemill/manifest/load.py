"""Reads the folder ``manifests/`` into frozen values; reports all problems of all files at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from tidemill.exporters import EXPORTERS
from tidemill.manifest.crosscheck import crosscheck
from tidemill.manifest.model import ManifestPart
from tidemill.manifest.part import Part
from tidemill.manifest.problems import Location, Problem, raise_problems
from tidemill.manifest.suites import KnownPart, Suite, SuitePart, findings, unknown_targets
from tidemill.manifest.targets import Expectation, ExpectationsPart, TargetsPart, inherit
from tidemill.manifest.yaml_source import Document, read_yaml

AnyPart = TypeVar("AnyPart", bound=Part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """Everything that manifests/ declares. ``folders`` says where each model's file lies."""

    models: Mapping[str, ManifestPart]
    targets: TargetsPart
    expectations: tuple[Expectation, ...]
    folders: Mapping[str, Path]
    suites: Mapping[str, Suite] = field(default_factory=dict)


def load_manifests(root: Path) -> Manifests:
    """Read targets.yaml, expectations.yaml, models/** and conformance/** below ``root``/manifests.

    Raises ManifestError that lists every problem as ``file:line: path: message``.
    """
    problems: list[Problem] = []
    folder = root / "manifests"
    targets = _read_part(root, folder / "targets.yaml", TargetsPart, problems)
    known = targets.targets if targets else {}
    expected_file = folder / "expectations.yaml"
    expected = (
        _read_part(root, expected_file, ExpectationsPart, problems)
        if expected_file.exists()
        else ExpectationsPart()
    )
    toolchains = [path.stem for path in sorted((root / "toolchains").glob("*.lock"))]
    models: dict[str, ManifestPart] = {}
    documents: dict[str, Document] = {}
    folders: dict[str, Path] = {}
    first: dict[str, str] = {}
    problems += _misnamed(root, folder)
    for path in sorted((folder / "models").rglob("*.yaml")):
        document = _read(root, path)
        problems += crosscheck(document, targets=known) if targets else []
        problems += _name_problems(document, path, first)
        part = validate(document, ManifestPart, problems, toolchains=toolchains)
        if part is not None:
            documents[part.name] = document
            models[part.name], folders[part.name] = part, path.parent
    problems += _unlike(documents, models)
    suites = _suites(root, problems, first=first, targets=known if targets else None)
    raise_problems(problems)
    assert targets is not None  # noqa: S101 - raise_problems has raised if it is
    return Manifests(
        models=models,
        targets=targets,
        expectations=_with_inherited(expected.expectations if expected else (), models),
        folders=folders,
        suites=suites,
    )


def _unlike(
    documents: Mapping[str, Document], models: Mapping[str, ManifestPart]
) -> Iterator[Problem]:
    """Models that fail like one that is not there, or that has no expectations of its own."""
    for name, document in documents.items():
        like = models[name].fails_like
        if like is None:
            continue
        if like not in models or like == name:
            close = ", ".join(get_close_matches(like, set(models) - {name})) or "none is near"
            yield document.problem(("fails_like",), f"no other model '{like}' (near: {close})")
        elif models[like].fails_like:
            message = f"'{like}' itself fails like '{models[like].fails_like}': name that one"
            yield document.problem(("fails_like",), message)


def _with_inherited(
    own: Sequence[Expectation], models: Mapping[str, ManifestPart]
) -> tuple[Expectation, ...]:
    inherited = (
        one
        for name, part in models.items()
        if part.fails_like
        for one in inherit(own, model=name, of=part.fails_like)
    )
    return (*own, *inherited)


def known_file(root: Path, suite: str, target: str) -> Path:
    """Where it stands what is known to fail of a suite on a target."""
    return root / "manifests/conformance" / suite / f"{target}.yaml"


def _suites(
    root: Path,
    problems: list[Problem],
    *,
    first: dict[str, str],
    targets: Mapping[str, object] | None,
) -> dict[str, Suite]:
    """Every suite by name. ``first`` holds the names of models, which are no suite's."""
    folder = root / "manifests/conformance"
    suites: dict[str, Suite] = {}
    asked: set[Path] = set()
    for path in sorted(folder.glob("*.yaml")):
        document = _read(root, path)
        problems += _name_problems(document, path, first)
        part = validate(document, SuitePart, problems)
        if part is None:
            continue
        for target in unknown_targets(part, part.targets if targets is None else targets):
            problems.append(document.problem(("targets",), f"no target '{target}'"))
        files = {target: known_file(root, part.name, target) for target in part.targets}
        asked |= set(files.values())
        lists = {t: _known(root, path, problems) for t, path in files.items() if path.exists()}
        known = {target: one for target, one in lists.items() if one}
        suites[part.name] = Suite(part=part, known=known)
    for path in sorted(set(folder.glob("*/*.yaml")) - asked):
        file = path.relative_to(root).as_posix()
        problems.append(Problem(file, 1, "", "is no target of a suite: name it after one"))
    return suites


def _known(root: Path, path: Path, problems: list[Problem]) -> KnownPart | None:
    document = _read(root, path)
    known = validate(document, KnownPart, problems)
    if known is not None:
        problems += [document.problem(at, message) for at, message in findings(known)]
    return known


def _read(root: Path, path: Path) -> Document:
    file = path.relative_to(root).as_posix()
    try:
        return read_yaml(path.read_text(encoding="utf-8"), file=file)
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 text: byte {error.object[error.start]:#04x} at {error.start}"
    return Document(file, problems=[Problem(file, 1, "", message)])


def _misnamed(root: Path, folder: Path) -> list[Problem]:
    """Files that look like manifests and would silently not be read."""
    return [
        Problem(path.relative_to(root).as_posix(), 1, "", "is not read: end its name in .yaml")
        for path in sorted(folder.rglob("*.yml"))
    ]


def _read_part(
    root: Path, path: Path, kind: type[AnyPart], problems: list[Problem]
) -> AnyPart | None:
    return validate(_read(root, path), kind, problems)


def _name_problems(document: Document, path: Path, first: dict[str, str]) -> list[Problem]:
    name = document.data.get("name") if isinstance(document.data, dict) else None
    if not isinstance(name, str):
        return []
    problems = []
    if name in first:
        problems.append(document.problem(("name",), f"duplicate name '{name}', also {first[name]}"))
    if name != path.stem:
        problems.append(
            document.problem(("name",), f"'{name}' must be the file's own name, '{path.stem}'")
        )
    first[name] = f"in {document.file}"
    return problems


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
        found = _problems(document, [dict(item) for item in error.errors()])
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
_SHOWN = 40


def _problems(document: Document, items: list[dict[str, Any]]) -> list[Problem]:
    problems: list[Problem] = []
    unions: dict[Location, list[str]] = {}
    for item in items:
        location, alternative = _real_location(document, item["loc"], given=item["input"])
        if item["type"] == "too_short" and document.value_at(location):
            continue  # not empty: pydantic means that no item of it is right
        if alternative:
            unions.setdefault(location, []).append(_ALTERNATIVES[alternative])
        else:
            problems.append(document.problem(location, _message(item)))
    for location, kinds in unions.items():
        *some, last = dict.fromkeys(kinds)
        value = _shown(document.value_at(location))
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
        return f"{message}, got {_shown(item['input'])}"
    words = item["msg"].replace("Input should be", "must be")
    return message or f"{words}, got {_shown(item['input'])}"


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


def _shown(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text[:_SHOWN]}{'…' if len(text) > _SHOWN else ''}"
