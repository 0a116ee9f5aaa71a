"""How reports show a suite: numbers by group and outcome, in words, a table and a picture."""

import re
from typing import Any

import msgspec
import pytest
from rich.console import Console

from tests.reports import node, sample_report
from tidemill.records import NodeReport, RunReport
from tidemill.report.html import page
from tidemill.report.markdown import job_summary
from tidemill.report.suites import suites
from tidemill.report.terminal import table

ADDRESS = "onnx-backend/node/all/cpu"
FACTS = {
    "tests": 10,
    "outcomes": {"compile": 3, "crash": 1, "pass": 6},
    "groups": {
        "ai.onnx": {"compile": 1, "crash": 1, "pass": 6},
        "ai.onnx.ml": {"compile": 2},
    },
}


def with_suite(facts: Any = FACTS, **more: Any) -> RunReport:
    """A run that has a suite beside all else."""
    one: NodeReport = node(ADDRESS, "conformance", "built", facts=facts, **more)
    report = sample_report()
    return msgspec.structs.replace(report, nodes=(*report.nodes, one))


def test_a_suite_is_counted_by_group_and_as_a_whole() -> None:
    (view,) = suites(with_suite())
    assert view.whole.text == "6 of 10 tests pass; compile 3, crash 1"
    assert [(one.group, one.tests, one.passing) for one in view.groups] == [
        ("ai.onnx", 8, 6),
        ("ai.onnx.ml", 2, 0),
    ]
    assert view.outcomes == ("pass", "compile", "crash")


def test_the_pieces_of_a_bar_stand_one_after_the_other_and_fill_it() -> None:
    (view,) = suites(with_suite())
    assert [(p.outcome, p.start, p.width) for p in view.whole.shares] == [
        ("pass", "0.00", "60.00"),
        ("compile", "60.00", "30.00"),
        ("crash", "90.00", "10.00"),
    ]


@pytest.mark.parametrize(
    "facts", [{}, {"outcomes": []}, {"outcomes": {}}, {"outcomes": {"pass": "many"}}]
)
def test_facts_of_another_shape_show_nothing(facts: dict[str, Any]) -> None:
    assert suites(with_suite(facts)) == ()


def test_a_run_without_suites_has_no_section() -> None:
    assert "Conformance" not in page(sample_report())
    assert "Conformance" not in job_summary(sample_report())


def test_the_terminal_says_how_many_pass() -> None:
    console = Console(width=160)
    with console.capture() as printed:
        console.print(table(with_suite()))
    assert f"{ADDRESS}: 6 of 10 tests pass; compile 3, crash 1" in printed.get()


def test_the_summary_has_a_table_of_groups() -> None:
    text = job_summary(with_suite())
    assert "**`onnx-backend/node/all/cpu`: 6 of 10 tests pass; compile 3, crash 1**" in text
    assert "| group | tests | pass | compile | crash |" in text
    assert "| ai.onnx.ml | 2 |  | 2 |  |" in text
    assert "| all | 10 | 6 | 3 | 1 |" in text


def test_the_page_has_a_stacked_bar_for_each_group_and_the_whole() -> None:
    text = page(with_suite())
    section = text[text.index('id="h-suites"') : text.index('id="h-costs"')]
    assert section.count("<svg") == 3
    assert '<rect class="p-compile" x="60.00" width="30.00"' in section
    assert 'aria-label="6 of 10 tests pass; compile 3, crash 1"' in section
    assert len(re.findall(r'<rect class="p-pass"', section)) == 2


def test_an_outcome_of_another_version_has_a_piece_and_cannot_break_the_page() -> None:
    text = page(with_suite({"outcomes": {'<b>"odd': 1, "pass": 1}}))
    assert '<rect class="p-other" x="50.00"' in text
    assert '<b>"odd' not in text
    assert "&lt;b&gt;&#34;odd" in text
