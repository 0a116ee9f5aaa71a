"""What every report says about a run as a whole: result, counts, failures, expectations. Pure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tidemill.errors import ExitCode
from tidemill.records import NodeReport, RunReport

#: The status of what is there in a run that had no step to validate it.
UNJUDGED = "not judged"

#: Worst first: the word of a whole is the first of these that one of its parts has.
SEVERITY = (
    "failed",
    "expected-failure",
    "blocked",
    "missing",
    "unvalidated",
    UNJUDGED,
    "carried",
    "proxy",
    "validated",
    "built",
    "reused",
)
BAD = frozenset({"failed", "expected-failure", "blocked"})

#: A status is never told by colour alone: each has a word and a sign (text, not emoji).
SIGNS = {
    "failed": "✗",
    "missing": "✗",
    "expected-failure": "!",
    "blocked": "⊘",
    "unvalidated": "?",
    UNJUDGED: "-",
    "carried": "←",
    "proxy": "≈",
    "validated": "✓",
    "built": "✓",
    "reused": "=",
}

_EXIT_WORDS = {
    ExitCode.GOOD: "passed",
    ExitCode.USAGE: "failed: a manifest or the command line is wrong",
    ExitCode.TOOL: "failed: a tool failed",
    ExitCode.NUMERICS: "failed: an artifact computes the wrong thing",
    ExitCode.STORE: "failed: the store or the machine failed",
    ExitCode.INTERRUPTED: "interrupted",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectationLine:
    """A node that an expectation speaks of. ``red`` means: the expectation no longer holds."""

    node: NodeReport
    red: bool
    text: str


def worst(words: Iterable[str]) -> str:
    """The most severe of ``words``; empty for none."""
    present = set(words)
    return next((word for word in SEVERITY if word in present), "")


def result(report: RunReport) -> str:
    """``passed``, ``failed: …`` or ``interrupted``, from the exit code."""
    known = report.exit_code in set(ExitCode)
    return _EXIT_WORDS[ExitCode(report.exit_code)] if known else "failed"


def counts(report: RunReport) -> dict[str, int]:
    """Nodes by outcome: four of them always, expected failures and blocked when there are some."""
    found = Counter(node.outcome for node in report.nodes)
    shown = {word: found[word] for word in ("built", "reused", "failed", "unvalidated")}
    return shown | {word: found[word] for word in ("expected-failure", "blocked") if found[word]}


def counts_text(report: RunReport) -> str:
    """``12 built, 30 reused, 0 failed, 8 unvalidated``."""
    said = ", ".join(f"{n} {word.replace('-', ' ')}" for word, n in counts(report).items())
    idle = report.nodes and all(n.outcome in {"reused", "unvalidated"} for n in report.nodes)
    return f"nothing to do: {said}" if idle and not report.exit_code else said


def failures(report: RunReport) -> tuple[NodeReport, ...]:
    """The nodes that failed and were not expected to."""
    return tuple(node for node in report.nodes if node.outcome == "failed")


def expectations(report: RunReport) -> tuple[ExpectationLine, ...]:
    """Nodes with an expectation: amber where it failed as expected, red where it passed or expired.

    A node that an amber node of the same address and expectation explains is left out, as is one
    that was never reached.
    """
    spoken = [node for node in report.nodes if node.expectation]
    amber = {(n.address, n.expectation) for n in spoken if n.outcome == "expected-failure"}
    lines = []
    for node in spoken:
        if node.outcome == "expected-failure":
            lines.append(ExpectationLine(node=node, red=False, text="failed as expected"))
        elif (node.address, node.expectation) in amber:
            continue
        elif node.outcome in {"built", "reused"}:
            lines.append(ExpectationLine(node=node, red=True, text="passed, but was to fail"))
        elif node.outcome == "failed":
            lines.append(ExpectationLine(node=node, red=True, text="failed, and is not excused"))
    return tuple(sorted(lines, key=lambda line: not line.red))


def worked(report: RunReport) -> tuple[NodeReport, ...]:
    """The nodes that cost time in this run, slowest first."""
    idle = {"reused", "blocked"}
    spent = [node for node in report.nodes if node.outcome not in idle and node.seconds > 0]
    return tuple(sorted(spent, key=lambda node: (-node.seconds, node.address, node.stage)))
