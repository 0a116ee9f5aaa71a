"""What the reports say, before it is drawn: rows, matrix, counts, expectations, verdicts."""

from typing import Any

import msgspec
import pytest

from tests.reports import (
    COMPILE_FAILURE,
    EXPECTED_FAILURE,
    NO_LONGER_FAILING,
    NUMERICS_FAILURE,
    artifacts_of,
    empty_report,
    node,
    output,
    sample_report,
    verdict,
)
from tidemill.records import Artifact, NodeReport, RunReport
from tidemill.report.rows import addresses, matrix, rows
from tidemill.report.verdicts import read_verdict, spelled
from tidemill.report.view import counts_text, expectations, failures, result, worked


def cells(report: RunReport) -> dict[str, str]:
    table = matrix(rows(report))
    return {cell.address: cell.status for row in table.rows for cell in row.cells if cell}


def test_the_sample_has_every_outcome() -> None:
    outcomes = {node.outcome for node in sample_report().nodes}
    assert outcomes == {
        "built",
        "reused",
        "failed",
        "expected-failure",
        "blocked",
        "unvalidated",
    }


def test_every_address_with_a_target_has_one_cell() -> None:
    statuses = cells(sample_report())
    assert len(statuses) == 7 * 3
    assert statuses[COMPILE_FAILURE] == "failed"
    assert statuses[NUMERICS_FAILURE] == "failed"
    assert statuses[EXPECTED_FAILURE] == "expected-failure"
    assert statuses["minilm/encoder/f32/cpu"] == "validated"
    assert statuses["stories15m/decoder/f16/cpu"] == "proxy"
    assert statuses["minilm/encoder/f32/gfx942"] == "unvalidated"


def test_the_matrix_puts_cpu_first() -> None:
    assert matrix(rows(sample_report())).targets == ("cpu", "gfx1100", "gfx942")


def test_a_target_that_a_variant_does_not_have_is_an_empty_cell() -> None:
    report = sample_report()
    fewer = tuple(n for n in report.nodes if n.address != "magika/classifier/f32/gfx942")
    table = matrix(rows(sample_report(nodes=fewer, artifacts=artifacts_of(list(fewer)))))
    assert [row.cells[2] is None for row in table.rows] == [True, *[False] * 6]


def test_an_artifact_that_was_not_made_has_a_row_without_digest() -> None:
    found = {(r.address, r.kind): r for r in rows(sample_report())}
    row = found[COMPILE_FAILURE, "vmfb"]
    assert (row.status, row.digest, row.size) == ("failed", "", 0)


def test_a_run_without_release_lists_the_outputs_of_its_nodes() -> None:
    listed = rows(sample_report(artifacts=()))
    with_release = rows(sample_report())
    assert [(r.address, r.kind) for r in listed] == [(r.address, r.kind) for r in with_release]
    assert {r.status for r in listed if r.kind == "mlir"} == {"built", "reused"}


def test_a_failure_tonight_is_shown_over_what_was_carried() -> None:
    address = "m/c/f32/gfx942"
    carried = Artifact(
        address=address,
        kind="vmfb",
        file="m.vmfb",
        digest="d",
        size=9,
        key="k",
        status="carried",
        reason="from release abc",
    )
    broken = node(address, "compile", "failed")
    (row,) = rows(sample_report(nodes=(broken,), artifacts=(carried,)))
    assert (row.status, row.reason, row.digest) == ("failed", "carried: from release abc", "d")


def test_counts_name_the_usual_four_and_others_only_when_there_are_some() -> None:
    assert counts_text(sample_report()) == (
        "40 built, 10 reused, 2 failed, 12 unvalidated, 1 expected failure, 2 blocked"
    )
    assert counts_text(empty_report()) == "0 built, 0 reused, 0 failed, 0 unvalidated"


def test_a_run_that_changed_nothing_says_so() -> None:
    nodes = (node("m/c/f32", "export", "reused"), node("m/c/f32/x", "validate", "unvalidated"))
    report = sample_report(nodes=nodes, exit_code=0)
    assert counts_text(report) == "nothing to do: 0 built, 1 reused, 0 failed, 1 unvalidated"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "passed"),
        (2, "failed: a manifest or the command line is wrong"),
        (3, "failed: a tool failed"),
        (4, "failed: an artifact computes the wrong thing"),
        (5, "failed: the store or the machine failed"),
        (130, "interrupted"),
        (77, "failed"),
    ],
)
def test_the_exit_code_is_said_in_words(code: int, text: str) -> None:
    assert result(sample_report(exit_code=code)) == text


def test_a_passing_node_breaks_its_expectation_and_comes_first() -> None:
    lines = expectations(sample_report())
    assert [(line.node.address, line.red, line.text) for line in lines] == [
        (NO_LONGER_FAILING, True, "passed, but was to fail"),
        (EXPECTED_FAILURE, False, "failed as expected"),
    ]


def test_a_failure_that_its_expectation_does_not_excuse_is_red() -> None:
    expired = node("m/c/f32/x", "compile", "failed", expectation="expired on 2026-01-01")
    (line,) = expectations(sample_report(nodes=(expired,)))
    assert (line.red, line.text) == (True, "failed, and is not excused")


def test_the_stages_around_an_expected_failure_do_not_break_its_expectation() -> None:
    nodes = (
        node("m/c/f32/x", "compile", "built", expectation="numerics: known"),
        node("m/c/f32/x", "validate", "expected-failure", expectation="numerics: known"),
        node("m/c/f32/y", "validate", "blocked", expectation="numerics: known"),
    )
    assert [line.red for line in expectations(sample_report(nodes=nodes))] == [False]


def test_only_nodes_that_ran_cost_something_slowest_first() -> None:
    spent = worked(sample_report())
    assert {n.outcome for n in spent} == {"built", "failed", "expected-failure"}
    assert [n.seconds for n in spent] == sorted((n.seconds for n in spent), reverse=True)


def test_failures_are_those_that_nobody_expected() -> None:
    found = [n.address for n in failures(sample_report())]
    assert sorted(found) == sorted([COMPILE_FAILURE, NUMERICS_FAILURE])


def test_an_address_shows_its_worst_status_and_its_stages_in_order() -> None:
    report = sample_report()
    views = {view.address: view for view in addresses(report, rows(report))}
    view = views[COMPILE_FAILURE]
    assert (view.status, [n.stage for n in view.nodes]) == ("failed", ["compile", "validate"])
    assert views["minilm/encoder/f32/cpu"].verdict is not None


def test_a_verdict_kept_in_the_facts_of_a_failure_is_found() -> None:
    wrong = verdict(max_abs=1.0, limit=0.1)
    report = sample_report()
    (judged,) = (n for n in report.nodes if n.outcome == "failed" and n.stage == "validate")
    assert judged.failure is not None
    kept = msgspec.structs.replace(
        judged,
        verdict=None,
        failure=msgspec.structs.replace(judged.failure, facts={"verdict": wrong}),
    )
    vmfb = output("main.vmfb", "vmfb", 9)
    made: NodeReport = node(judged.address, "compile", "built", outputs=(vmfb,))
    (row,) = (r for r in rows(sample_report(nodes=(made, kept), artifacts=())) if r.kind == "vmfb")
    assert row.verdict is not None
    assert row.verdict.worst.max_abs_text == "1 (0.1)"


@pytest.mark.parametrize("raw", [None, {}])
def test_no_verdict_is_no_verdict(raw: dict[str, Any] | None) -> None:
    assert read_verdict(raw) is None


@pytest.mark.parametrize(
    "raw",
    [
        {"holds": "yes", "summary": None, "samples": None},
        {"samples": [None, {"outputs": [None, {"shape": 3, "limits": []}]}], "greedy": None},
        {"perturbations": [], "noise": 3, "reasons": "text", "summary": {"max_abs": True}},
    ],
)
def test_an_odd_verdict_is_read_without_inventing_anything(raw: dict[str, Any]) -> None:
    read = read_verdict(raw)
    assert read is not None
    assert (read.holds, read.word, read.worst.max_abs_text) == (None, "not said", "-")


def test_what_quantisation_cost_is_said_where_something_was_narrowed() -> None:
    part = {"perplexity": {"float": 1798.6, "narrowed": 1815.8}, "rise": 0.0096, "limit": 0.05}
    read = read_verdict({**verdict(max_abs=1e-3, limit=5e-3), "quantisation": part})
    assert read is not None
    said = "perplexity 1798.6 before, 1815.8 after (0.05 of it more is allowed)"
    assert read.quantisation == said
    bare = read_verdict({"holds": True, "quantisation": {"perplexity": {"float": "much"}}})
    assert bare is not None
    assert bare.quantisation == ""


def test_a_whole_verdict_is_read() -> None:
    read = read_verdict(verdict(max_abs=3.2e-2, limit=5e-3))
    assert read is not None
    assert read.holds is False
    assert read.worst.max_abs_text == "0.032 (0.005)"
    assert read.greedy == "64 of 64"
    assert read.tried == ("scale 1.01", "swap rows", "zero one")
    first = read.outputs[0]
    assert (first.sample, first.shape, first.ulp) == (
        "sentences-0",
        "4x384",
        "p50 1, p99 6, max 31",
    )
    assert first.metrics.rel_l2_text == "0.096 (0.015)"


def test_infinity_comes_as_text_and_stays_infinite() -> None:
    read = read_verdict({"summary": {"max_abs": "inf", "rel_l2": "nan"}})
    assert read is not None
    assert (read.worst.max_abs_text, read.worst.rel_l2_text) == ("inf", "nan")


def test_facts_are_spelled_in_one_line() -> None:
    facts = {"a": [1, 2.5], "b": {"c": None, "d": True}, "e": "x\ny"}
    assert spelled(facts) == "a (1, 2.5), b (c , d yes), e x y"
