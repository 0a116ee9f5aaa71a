"""Working half of ``compare``: a suite's table against what is known to fail, test by test.

A test that fails and was to pass is a regression; one that passes and was to fail is as much of a
problem, as with every expectation: the list is wrong. Both are named. Of tests that are known to
come out otherwise from run to run neither is. Standard library only.
"""

import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.errors import FailureClass, WorkError
from tidemill.steps.work.protocol import Request, Response

TABLE = "table.json"
PASS = "pass"  # noqa: S105 - an outcome
#: How many names of a kind the reasons hold; the log holds all.
_NAMED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What is not as it was said to be; each a line that begins with the test's name."""

    regressions: tuple[str, ...]
    passes: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    tests: int
    expected: int

    @property
    def reasons(self) -> list[str]:
        """Why the table is not what was expected, worst first; empty when it is."""
        reasons = [
            *_named(self.regressions, one="fails unexpectedly", many="fail unexpectedly"),
            *_named(self.changed, one="fails in another way", many="fail in another way"),
            *_named(self.passes, one="passes and is listed", many="pass and are listed"),
            *_named(self.gone, one="is listed and not there", many="are listed and not there"),
        ]
        if self.tests != self.expected:
            reasons.append(f"there are {self.tests} tests, the list was made of {self.expected}")
        return reasons


def compare(
    tests: Sequence[Mapping[str, Any]],
    failing: Mapping[str, str],
    *,
    expected: int,
    sometimes: Collection[str] = (),
) -> Comparison:
    """``tests`` as the table has them against test → class of those that are known to fail.

    Those among ``sometimes`` may do so or not.
    """
    lost = {test["name"]: test for test in tests if test["outcome"] != PASS}
    names = {test["name"] for test in tests}
    return Comparison(
        regressions=tuple(_told(test) for name, test in lost.items() if name not in failing),
        changed=tuple(
            f"{_told(test)} (was {failing[name]})"
            for name, test in lost.items()
            if failing.get(name, test["outcome"]) != test["outcome"]
        ),
        passes=tuple(
            name for name in failing if name in names and name not in lost and name not in sometimes
        ),
        gone=tuple(name for name in failing if name not in names),
        tests=len(tests),
        expected=expected,
    )


def run(request: Request) -> Response:
    """The verdict on a table, as a fact. Raises WorkError on a table that nobody wrote."""
    fields = request.fields
    path = request.files("table")[TABLE]
    found = compare(
        _tests(path),
        fields["failing"],
        expected=fields["tests"],
        sometimes=fields["sometimes"],
    )
    for kind in ("regressions", "changed", "passes", "gone"):
        for line in getattr(found, kind):
            sys.stdout.write(f"{kind}: {line}\n")
    accept = f"look at each, then: tidemill conformance accept {fields['suite']}"
    reasons = [*found.reasons, accept] if found.reasons else []
    return Response(made=(), facts={"verdict": {"holds": not reasons, "reasons": reasons}})


def _tests(path: Path) -> list[Mapping[str, Any]]:
    try:
        tests: list[Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["tests"]
        if all(isinstance(one["name"], str) and isinstance(one["outcome"], str) for one in tests):
            return tests
        why = "a test has no name or no outcome"
    except (ValueError, KeyError, TypeError) as error:
        why = repr(error)
    raise WorkError(
        FailureClass.INFRASTRUCTURE,
        f"{TABLE} is no table of tests: {why}",
        hint="this is a fault of tidemill: conformance and compare disagree",
    )


def _told(test: Mapping[str, Any]) -> str:
    line = test.get("line")
    return f"{test['name']}: {test['outcome']}" + (f": {line}" if line else "")


def _named(lines: Sequence[str], *, one: str, many: str) -> Iterable[str]:
    """A heading with the number, the first lines, and how many more there are."""
    if lines:
        yield f"1 test {one}:" if len(lines) == 1 else f"{len(lines)} tests {many}:"
        yield from (f"  {line}" for line in lines[:_NAMED])
        if len(lines) > _NAMED:
            yield f"  and {len(lines) - _NAMED} more, which the log names"
