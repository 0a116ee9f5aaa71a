"""What became of each node of a run: events + states → outcomes, problems, exit code. Pure."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.errors import EXIT_OF_CLASS, ExitCode, FailureClass
from tidemill.expectations import Seen, expected, problems
from tidemill.graph import Graph, NodeId
from tidemill.manifest.targets import Expectation
from tidemill.records import ActionResult, Failure, NodeReport, Outcome
from tidemill.states import State

#: Worst first: what a person must act on before anything else decides the exit code.
_WORST = (ExitCode.STORE, ExitCode.TOOL, ExitCode.NUMERICS, ExitCode.USAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """Everything known of a node after a run."""

    state: State
    finished: Mapping[str, Any] | None
    result: ActionResult | None
    failure: Failure | None


def judge(facts: NodeFacts, *, amber: Expectation | None) -> tuple[Outcome, tuple[str, ...]]:
    """The outcome of one node, and why."""
    if facts.failure is not None:
        if amber is not None:
            return "expected-failure", (f"expected until {amber.expires}: {amber.reason}",)
        return "failed", facts.failure.lines[:1]
    if facts.state.state == "up-to-date":
        built = facts.finished is not None and facts.finished["outcome"] == "built"
        return ("built" if built else "reused"), ()
    if facts.state.unvalidated:
        return "unvalidated", facts.state.reasons
    if facts.finished is not None:
        return "failed", (str(facts.finished.get("reason") or "an input was lost"),)
    return "blocked", facts.state.reasons


def node_reports(
    graph: Graph,
    facts: Mapping[NodeId, NodeFacts],
    *,
    expectations: Sequence[Expectation],
    today: datetime.date,
    logs: Mapping[NodeId, str],
) -> list[NodeReport]:
    """One report a node, in graph order."""
    reports = []
    for name, known in facts.items():
        node = graph.nodes[name]
        amber = (
            expected(known.failure, expectations=expectations, today=today)
            if known.failure
            else None
        )
        outcome, reasons = judge(known, amber=amber)
        ran = known.finished is not None and outcome != "reused"
        source = known.failure or known.result
        details = source.facts if source else {}
        reports.append(
            NodeReport(
                address=str(node.address),
                stage=node.stage,
                outcome=outcome,
                seconds=source.seconds if source and ran else 0.0,
                peak_memory_bytes=source.peak_memory_bytes if source and ran else 0,
                key=known.state.bound.key if known.state.bound else "",
                reasons=reasons,
                failure=known.failure,
                verdict=details.get("verdict"),
                outputs=known.result.outputs if known.result else (),
                log=logs.get(name, ""),
                expectation=f"{amber.reason} ({amber.issue})" if amber else "",
                facts={k: v for k, v in details.items() if k != "verdict"},
            )
        )
    return reports


def expectation_problems(
    reports: Iterable[NodeReport], *, expectations: Sequence[Expectation], today: datetime.date
) -> list[str]:
    """Expired expectations and unexpected passes among the nodes that have a result."""
    seen = [
        Seen(
            address=report.address,
            stage=report.stage,
            failure=report.failure,
            ended=report.outcome in ("built", "reused", "failed", "expected-failure"),
        )
        for report in reports
    ]
    return problems(seen, expectations=expectations, today=today)


def exit_code(reports: Iterable[NodeReport], *, problems: Sequence[str]) -> ExitCode:
    """What CI sees: the worst of what failed; problems with expectations count as usage."""
    codes = {
        EXIT_OF_CLASS[FailureClass(report.failure.failure)] if report.failure else ExitCode.STORE
        for report in reports
        if report.outcome == "failed"
    }
    if problems:
        codes.add(ExitCode.USAGE)
    return next((code for code in _WORST if code in codes), ExitCode.GOOD)
