"""Suites of tests as the reports show them: how many pass of all, by group and class. Pure.

Read from the facts of conformance nodes, which are JSON of some version: what is odd is left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from tidemill.records import NodeReport, RunReport

PASS = "pass"  # noqa: S105 - an outcome
#: In the order in which they are drawn; others follow by name.
OUTCOMES = (PASS, "import", "compile", "unsupported", "run", "numerics", "crash", "timeout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One piece of a stacked bar: ``start`` and ``width`` in percent of all tests of the bar."""

    outcome: str
    count: int
    start: str
    width: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many tests of a group came to what."""

    group: str
    tests: int
    shares: tuple[Share, ...]

    @property
    def passing(self) -> int:
        """How many pass."""
        return self.count(PASS)

    def count(self, outcome: str) -> int:
        """How many came to ``outcome``."""
        return sum(share.count for share in self.shares if share.outcome == outcome)

    @property
    def text(self) -> str:
        """``1203 of 1884 tests pass; compile 512, numerics 40``."""
        lost = ", ".join(f"{s.outcome} {s.count}" for s in self.shares if s.outcome != PASS)
        said = f"{self.passing} of {self.tests} tests pass"
        return f"{said}; {lost}" if lost else said


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteView:
    """One suite on one target; ``outcomes`` are the columns of its table."""

    address: str
    outcome: str
    whole: Tally
    groups: tuple[Tally, ...]
    outcomes: tuple[str, ...]


def suites(report: RunReport) -> tuple[SuiteView, ...]:
    """Every suite that the run has a table of."""
    return tuple(view for node in report.nodes for view in _view(node))


def _view(node: NodeReport) -> Iterator[SuiteView]:
    outcomes, groups = node.facts.get("outcomes"), node.facts.get("groups")
    if node.stage != "conformance" or not _is_counts(outcomes):
        return
    whole = _tally("all", outcomes)
    parts = groups.items() if isinstance(groups, Mapping) else ()
    yield SuiteView(
        address=node.address,
        outcome=node.outcome,
        whole=whole,
        groups=tuple(_tally(str(name), one) for name, one in parts if _is_counts(one)),
        outcomes=tuple(share.outcome for share in whole.shares),
    )


def _is_counts(value: Any) -> TypeGuard[Mapping[str, int]]:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(count, int) and count > 0 for count in value.values())
    )


def _tally(group: str, counts: Mapping[str, int]) -> Tally:
    total, before, shares = sum(counts.values()), 0, []
    for outcome in sorted(counts, key=_order):
        count = counts[outcome]
        shares.append(
            Share(
                outcome=outcome,
                count=count,
                start=f"{100 * before / total:.2f}",
                width=f"{100 * count / total:.2f}",
            )
        )
        before += count
    return Tally(group=group, tests=total, shares=tuple(shares))


def _order(outcome: str) -> tuple[int, str]:
    return (OUTCOMES.index(outcome) if outcome in OUTCOMES else len(OUTCOMES)), outcome
