"""Events and states become outcomes, and outcomes the exit code that CI sees."""

import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipelines.outcome import NodeFacts, exit_code, expectation_problems, judge, node_reports
from tests.unit.made import Bench, failure_of, graph_of
from tests.unit.test_expectations import expectation
from tidemill.errors import EXIT_OF_CLASS, ExitCode, FailureClass
from tidemill.records import Failure, NodeReport, Outcome
from tidemill.states import State

TODAY = datetime.date(2027, 1, 15)
NODE = "compile:tiny/encoder/f16/gfx942"
BUILT = {"event": "finished", "outcome": "built"}
LOST = {"event": "finished", "outcome": "lost-input", "reason": "blob abc is damaged"}
FAILED = {"event": "finished", "outcome": "failed"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(root=tmp_path, graph=graph_of(tmp_path / "workspace"))
    bench.build_all()
    return bench


def broken(bench: Bench, *, failure: str = "compile") -> Failure:
    lines = ("uses 81920 bytes of shared memory", "more")
    return failure_of(bench.graph.nodes[NODE], failure=failure, lines=lines)


def facts(state: State, **known: Any) -> NodeFacts:
    return NodeFacts(**{"state": state, "finished": None, "result": None, "failure": None, **known})


UP_TO_DATE = State(state="up-to-date")
BLOCKED = State(state="blocked", reasons=("needs export:x, which failed",))
NO_DEVICE = State(state="blocked", reasons=("no AMD GPU here",), unvalidated=True)


@pytest.mark.parametrize(
    ("known", "outcome", "reasons"),
    [
        (facts(UP_TO_DATE), "reused", ()),
        (facts(UP_TO_DATE, finished=BUILT), "built", ()),
        (facts(UP_TO_DATE, finished=FAILED), "reused", ()),
        (facts(BLOCKED), "blocked", ("needs export:x, which failed",)),
        (facts(NO_DEVICE), "unvalidated", ("no AMD GPU here",)),
        (facts(State(state="build"), finished=LOST), "failed", ("blob abc is damaged",)),
        (facts(State(state="build"), finished=BUILT), "failed", ("an input was lost",)),
        (facts(State(state="build", reasons=("not built yet",))), "blocked", ("not built yet",)),
    ],
)
def test_each_node_has_one_outcome_and_its_reason(
    known: NodeFacts, outcome: Outcome, reasons: tuple[str, ...]
) -> None:
    assert judge(known, amber=None) == (outcome, reasons)


def test_a_failure_is_failed_unless_it_is_expected(bench: Bench) -> None:
    known = facts(BLOCKED, failure=broken(bench), finished=FAILED)
    assert judge(known, amber=None) == ("failed", ("uses 81920 bytes of shared memory",))
    assert judge(known, amber=expectation()) == (
        "expected-failure",
        ("expected until 2027-01-31: The compiler asks for too much.",),
    )


def reported(bench: Bench, **known: Any) -> NodeReport:
    state = bench.states().of(NODE)
    facts_of = {NODE: facts(known.pop("state", state), **known)}
    (report,) = node_reports(
        bench.graph,
        facts_of,
        expectations=[expectation()],
        today=TODAY,
        logs={NODE: "logs/x.log"},
    )
    return report


def test_a_report_of_a_built_node_has_its_times_and_outputs(bench: Bench) -> None:
    result = bench.cache.result("compile", bench.key(NODE))
    assert result is not None
    result = msgspec.structs.replace(
        result, facts={"dispatch_count": 7, "verdict": {"holds": True}}
    )
    report = reported(bench, result=result, finished=BUILT)
    assert report == NodeReport(
        address="tiny/encoder/f16/gfx942",
        stage="compile",
        outcome="built",
        seconds=1.5,
        peak_memory_bytes=1 << 20,
        key=bench.key(NODE),
        verdict={"holds": True},
        outputs=result.outputs,
        log="logs/x.log",
        facts={"dispatch_count": 7},
    )


def test_a_reused_node_cost_nothing_in_this_run(bench: Bench) -> None:
    report = reported(bench, result=bench.cache.result("compile", bench.key(NODE)))
    assert (report.outcome, report.seconds, report.peak_memory_bytes) == ("reused", 0.0, 0)
    assert report.outputs


def test_an_expected_failure_says_by_which_expectation(bench: Bench) -> None:
    report = reported(bench, state=BLOCKED, failure=broken(bench), finished=FAILED)
    assert report.outcome == "expected-failure"
    assert report.expectation == "The compiler asks for too much. (https://example.org/issues/1)"
    assert report.seconds == 1.0
    assert report.key == ""


def outcome(bench: Bench, word: Outcome, *, failure: str = "") -> NodeReport:
    return NodeReport(
        address="tiny/encoder/f16/gfx942",
        stage="compile",
        outcome=word,
        seconds=0,
        peak_memory_bytes=0,
        key="",
        failure=broken(bench, failure=failure) if failure else None,
    )


@pytest.mark.parametrize("word", ["built", "reused", "blocked", "unvalidated"])
def test_outcomes_that_are_no_failure_are_good(bench: Bench, word: Outcome) -> None:
    assert exit_code([outcome(bench, word)], problems=[]) == ExitCode.GOOD


def test_nothing_at_all_is_good() -> None:
    assert exit_code([], problems=[]) == ExitCode.GOOD


def test_an_expected_failure_is_good(bench: Bench) -> None:
    report = outcome(bench, "expected-failure", failure="numerics")
    assert exit_code([report], problems=[]) == ExitCode.GOOD


@pytest.mark.parametrize("failure", FailureClass)
def test_a_failure_gives_the_code_of_its_class(bench: Bench, failure: FailureClass) -> None:
    report = outcome(bench, "failed", failure=failure)
    assert exit_code([report], problems=[]) == EXIT_OF_CLASS[failure]


def test_a_failure_without_a_record_is_the_stores(bench: Bench) -> None:
    assert exit_code([outcome(bench, "failed")], problems=[]) == ExitCode.STORE


@pytest.mark.parametrize(
    ("failures", "problems", "code"),
    [
        ([], ["expired"], ExitCode.USAGE),
        (["numerics"], ["expired"], ExitCode.NUMERICS),
        (["numerics", "compile"], [], ExitCode.TOOL),
        (["numerics", "compile", "infrastructure"], ["expired"], ExitCode.STORE),
        (["timeout", "host"], [], ExitCode.STORE),
        (["numerics", "crash"], ["expired"], ExitCode.TOOL),
    ],
)
def test_the_worst_decides(
    bench: Bench, failures: list[str], problems: list[str], code: ExitCode
) -> None:
    reports = [outcome(bench, "failed", failure=failure) for failure in failures]
    reports += [outcome(bench, "built"), outcome(bench, "unvalidated")]
    assert exit_code(reports, problems=problems) == code
    assert exit_code(reports[::-1], problems=problems) == code


@pytest.mark.parametrize("word", ["built", "reused"])
def test_an_unexpected_pass_is_found_in_reports(bench: Bench, word: Outcome) -> None:
    (problem,) = expectation_problems(
        [outcome(bench, word)], expectations=[expectation()], today=TODAY
    )
    assert "is met by nothing any more: it passes" in problem


@pytest.mark.parametrize("word", ["blocked", "unvalidated"])
def test_what_has_no_result_is_no_pass(bench: Bench, word: Outcome) -> None:
    reports = [outcome(bench, word)]
    assert expectation_problems(reports, expectations=[expectation()], today=TODAY) == []
