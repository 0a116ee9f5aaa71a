"""What is known of a suite, brought up to a new table, and as a page for people. Pure.

People write causes: a class, what name and diagnostic line match, and a reason. Which tests belong
to which cause follows from the table, so that a list can be made anew and never says too much.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import msgspec

from tidemill.errors import StoreError, ToolError
from tidemill.manifest.suites import CausePart, ExamplePart, GroupPart, KnownPart, Lost, Suite

PASS = "pass"  # noqa: S105 - an outcome
#: What each class means, in the order in which a test meets them.
MEANINGS: Mapping[str, str] = {
    "import": "the importer refuses the model",
    "compile": "the compiler gives an error",
    "unsupported": "it compiles, but a compiled function cannot take or give its values",
    "run": "the runtime gives an error",
    "numerics": "it runs, and the result has the wrong type, shape, emptiness or values",
    "crash": "the compiler or the runtime ends with a signal",
    "timeout": "no result in the time that a test has",
}
_NAMED = 12
_EXAMPLE = 160


class Line(msgspec.Struct, frozen=True):
    """One line of a table."""

    name: str
    group: str
    outcome: str
    line: str = ""


class Table(msgspec.Struct, frozen=True):
    """``table.json`` of a conformance step, as far as it is read here."""

    tools: dict[str, str]
    tests: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A new list, and what differs from the one before, for the person who accepts it."""

    known: KnownPart
    now_failing: tuple[str, ...]
    now_passing: tuple[str, ...]
    unused: tuple[str, ...]


def read_table(data: bytes) -> Table:
    """The table in ``data``. Raises StoreError when it is none."""
    try:
        table = msgspec.json.decode(data, type=Table)
    except ValueError as error:
        raise StoreError(
            f"the table cannot be read: {error}", hint="Upgrade tidemill, or build it again."
        ) from error
    return table


def accept(table: Table, known: KnownPart, *, file: str) -> Accepted:
    """``known`` as ``table`` has it. Raises ToolError that names failures without a reason.

    ``file`` is where causes are written. A cause that no test has any more is left out.
    """
    found: dict[int, list[Line]] = {}
    unexplained = []
    for test in table.tests:
        index = _cause_of(test, known.causes)
        if index is not None:
            found.setdefault(index, []).append(test)
        elif test.outcome != PASS:
            unexplained.append(test)
    if unexplained:
        raise _unexplained(unexplained, file=file)
    causes = tuple(
        cause.model_copy(
            update={
                "tests": tuple(sorted(test.name for test in found[index])),
                "example": _example(found[index], cause),
            }
        )
        for index, cause in enumerate(known.causes)
        if index in found
    )
    failing = {test.name for tests in found.values() for test in tests}
    groups = _groups(table.tests, failing)
    made = KnownPart(tools=dict(table.tools), groups=groups, causes=causes)
    return Accepted(
        known=made,
        now_failing=tuple(sorted(made.failing.keys() - known.failing.keys())),
        now_passing=tuple(sorted(known.failing.keys() - made.failing.keys())),
        unused=tuple(c.reason for i, c in enumerate(known.causes) if i not in found),
    )


def _cause_of(test: Line, causes: Sequence[CausePart]) -> int | None:
    """The first cause that fits the class and ``name: line``; where it passes, the name alone."""
    said = f"{test.name}: {test.line}"
    for index, cause in enumerate(causes):
        fits = test.outcome == cause.lost or (test.outcome == PASS and cause.sometimes)
        if fits and re.search(cause.match, said):
            return index
    return None


def _unexplained(tests: Sequence[Line], *, file: str) -> ToolError:
    lines = [f"  {test.name}: {test.outcome}: {test.line}" for test in tests[:_NAMED]]
    more = [f"  and {len(tests) - _NAMED} more"] if len(tests) > _NAMED else []
    return ToolError(
        "\n".join([f"{len(tests)} failing tests have no reason in {file}:", *lines, *more]),
        hint=f"Find out why, and add causes to {file}: class, match, reason.",
    )


def _example(tests: Sequence[Line], cause: CausePart) -> ExamplePart:
    first = min(tests, key=lambda test: (len(test.name), test.name))
    old = cause.example
    if cause.sometimes and old and old.line and old.test == first.name:
        return old  # what is said differs each time
    return ExamplePart(test=first.name, line=first.line[:_EXAMPLE].rstrip())


def _groups(tests: Iterable[Line], failing: Collection[str]) -> dict[str, GroupPart]:
    whole, passing = Counter[str](), Counter[str]()
    for test in tests:
        whole[test.group] += 1
        passing[test.group] += test.name not in failing
    return {name: GroupPart(tests=whole[name], passing=passing[name]) for name in sorted(whole)}


def page(suites: Iterable[Suite]) -> str:
    """Markdown: for every suite and target how many tests pass, and why the others do not."""
    return "\n".join(
        line
        for suite in suites
        for target, known in sorted(suite.known.items())
        for line in _section(suite, target, known)
    )


def _section(suite: Suite, target: str, known: KnownPart, /) -> Iterator[str]:
    tools = ", ".join(f"{name} {version}" for name, version in sorted(known.tools.items()))
    yield f"### {suite.part.name} on {target}: {known.passing} of {known.tests} tests pass"
    yield from ("", f"{suite.part.title}; {tools}.", "")
    yield from ("| operators of | tests | pass | |", "|---|--:|--:|--:|")
    for name, group in known.groups.items():
        share = f"{100 * group.passing / group.tests:.0f} %"
        yield f"| {name} | {group.tests} | {group.passing} | {share} |"
    often = Counter(known.failing.values())
    yield from ("", "| class of failure | tests | what it means |", "|---|--:|---|")
    yield from (
        f"| {kind} | {often[kind]} | {MEANINGS[kind]} |" for kind in MEANINGS if often[kind]
    )
    for kind in get_args(Lost):
        causes = [cause for cause in known.causes if cause.lost == kind]
        if causes:
            yield from ("", f"#### {kind}: {often[kind]} tests", "")
            yield from _causes(causes)
    yield ""


def _causes(causes: Sequence[CausePart]) -> Iterator[str]:
    """The largest first, each with one test and what is said of it."""
    yield from ("| tests | why | for example |", "|--:|---|---|")
    for cause in sorted(causes, key=lambda cause: (-len(cause.tests), cause.reason)):
        words = [f"`{cause.example.test}`"] if cause.example else []
        if cause.example and cause.example.line:
            words.append(_code(cause.example.line))
        more = " Not each time; counted as failing." if cause.sometimes else ""
        yield f"| {len(cause.tests)} | {_cell(cause.reason)}{more} | {': '.join(words)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _code(text: str) -> str:
    """A code span in a table's cell; no backtick of the line can end it."""
    return f"`{_cell(text).replace('`', chr(39))}`"
