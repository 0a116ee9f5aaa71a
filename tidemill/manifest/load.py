"""Reads the folder ``manifests/`` into frozen values; reports all problems of all files at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tidemill.manifest.crosscheck import crosscheck
from tidemill.manifest.declared_files import declared
from tidemill.manifest.model import ManifestPart
from tidemill.manifest.problems import Problem, known_words, raise_problems
from tidemill.manifest.suites import KnownPart, Suite, SuitePart, findings, unknown_targets
from tidemill.manifest.targets import Expectation, ExpectationsPart, TargetsPart, inherit
from tidemill.manifest.validation import AnyPart, validate
from tidemill.manifest.yaml_source import Document, read_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """Everything that manifests/ declares. ``folders`` says where each model's file lies."""

    models: Mapping[str, ManifestPart]
    targets: TargetsPart
    expectations: tuple[Expectation, ...]
    folders: Mapping[str, Path]
    suites: Mapping[str, Suite] = field(default_factory=dict)


def load_manifests(root: Path, *, files: bool = False) -> Manifests:
    """Read targets.yaml, expectations.yaml, models/** and conformance/** below ``root``/manifests.

    With ``files`` those of ``file:`` sources are looked at too, and hashed.
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
        problems += declared(document, path.parent) if files else []
        problems += _name_problems(document, path, first)
        part = validate(document, ManifestPart, problems, toolchains=toolchains)
        documents[part.name if part else path.stem] = document
        if part is not None:
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
    """Models that fail like themselves, like none that is there, or like one that does not say.

    ``documents`` are those of all files: what is wrong elsewhere in one is said there.
    """
    for name, part in models.items():
        document, like = documents[name], part.fails_like
        if like == name:
            yield document.problem(("fails_like",), f"'{like}' is this model: name another")
        elif like and like not in documents:
            words = known_words(like, set(documents) - {name})
            yield document.problem(("fails_like",), f"unknown model '{like}' {words}")
        elif like and like in models and models[like].fails_like:
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
