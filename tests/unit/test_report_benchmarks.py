"""Benchmarks in the reports: numbers spelled, pictures in place, nothing made of what is not."""

from typing import Any

import msgspec
import pytest

from tests.reports import HOSTILE, node, sample_report
from tests.unit.test_report_terminal import drawn
from tidemill.records import NodeReport, RunReport
from tidemill.report.benchmarks import benchmarks, lines, measured, ms_text
from tidemill.report.html import page
from tidemill.report.markdown import job_summary
from tidemill.report.rows import addresses, rows

ADDRESS = "minilm/encoder/f32/cpu"
FACTS: dict[str, Any] = {
    "dispatch_count": 52,
    "benchmark": {
        "machine": {"device": "AMD EPYC", "driver": "local-task", "processors": 2},
        "threads": 2,
        "load": 0.25,
        "vmfb_bytes": 1_200_000,
        "functions": [
            {
                "name": "one-sentence", "function": "main", "tokens": 64,
                "times_ms": [8.0, 8.25, 8.5], "median_ms": 8.25, "iqr_ms": 0.25,
                "min_ms": 8.0, "max_ms": 8.5, "tokens_per_second": 7757.57,
                "peers": [
                    {"name": "torch_eager", "times_ms": [16.0, 16.5, 17.0], "median_ms": 16.5,
                     "iqr_ms": 0.5, "ratio": 2.0, "first_ms": 40.0},
                    {"name": "onnxruntime", "why": "the component is no ONNX file"},
                ],
            }
        ],
    },
}  # fmt: skip


def with_nodes(*nodes: NodeReport) -> RunReport:
    report = sample_report()
    return msgspec.structs.replace(report, nodes=(*report.nodes, *nodes))


@pytest.fixture
def report() -> RunReport:
    return with_nodes(node(ADDRESS, "benchmark", "built", facts=FACTS))


def test_a_measured_function_reads_as_sentences() -> None:
    (one,) = measured(ADDRESS, FACTS)
    assert list(lines(one)) == [
        "one-sentence: 8.25 ms, iqr 0.25 ms, 8 ms to 8.5 ms, 7758 tokens/s, 52 dispatches, 1.2 MB",
        "  torch_eager: 16.5 ms, 2.00 x as long, first call 40 ms",
        "  onnxruntime: not measured: the component is no ONNX file",
        "  on AMD EPYC, local-task, 2 threads, load 0.25 before",
    ]


def test_each_repetition_has_its_place_between_nothing_and_the_longest() -> None:
    (one,) = measured(ADDRESS, FACTS)
    assert one.places(one.timings[0]) == ("47.06", "48.53", "50.00")
    assert one.places(one.timings[1])[-1] == "100.00"


def test_one_dispatch_is_one() -> None:
    (one,) = measured(ADDRESS, {**FACTS, "dispatch_count": 1})
    assert one.dispatches == "1 dispatch"


@pytest.mark.parametrize(
    ("time", "text"),
    [(None, "-"), (0.01168, "0.0117 ms"), (8.25, "8.25 ms"), (999.0, "999 ms"), (19e3, "19 s")],
)
def test_times_have_three_digits(time: float | None, text: str) -> None:
    assert ms_text(time) == text


@pytest.mark.parametrize("width", [60, 120])
def test_the_terminal_tells_them_below_the_artifacts(report: RunReport, width: int) -> None:
    said = drawn(report, width=width)
    assert f"benchmark {ADDRESS}\n" in said
    assert "one-sentence: 8.25 ms, iqr 0.25 ms" in said
    assert "benchmark " not in drawn(sample_report(), width=width)


def test_the_summary_has_a_table_of_them(report: RunReport) -> None:
    text = job_summary(report)
    assert "### Benchmarks" in text
    assert f"| `{ADDRESS}` one-sentence | iree | 8.25 ms | 0.25 ms | 7758 |  |" in text
    assert "|  | torch\\_eager | 16.5 ms | 0.5 ms | - | 2.00 x | first call 40 ms |" in text
    assert "### Benchmarks" not in job_summary(sample_report())


def test_the_page_draws_a_tick_for_every_repetition(report: RunReport) -> None:
    text = page(report)
    assert '<section aria-labelledby="h-benchmarks">' in text
    assert text.count('width="1" height="8"/>') == 6
    assert '<rect x="47.06" width="1" height="8"/>' in text
    assert "h-benchmarks" not in page(sample_report())


def test_a_failed_benchmark_has_no_row_and_a_blocked_one_does_not_colour_its_address() -> None:
    blocked = with_nodes(node(ADDRESS, "benchmark", "blocked"))
    assert benchmarks(blocked) == ()
    before, after = (
        {view.address: view.status for view in addresses(one, rows(one))}
        for one in (sample_report(), blocked)
    )
    assert before == after


@pytest.mark.parametrize(
    "told",
    [
        None, [], "x", {"functions": None}, {"functions": [None, 3]},
        {"functions": [{"times_ms": ["a", None, float("nan"), True], "median_ms": "fast"}]},
        {"functions": [{"peers": [{"times_ms": 3}]}], "machine": [], "load": "high"},
    ],
)  # fmt: skip
def test_what_an_older_or_damaged_record_lacks_is_left_out(told: Any) -> None:
    report = with_nodes(node(ADDRESS, "benchmark", "reused", facts={"benchmark": told}))
    assert all(not timing.times for one in benchmarks(report) for timing in one.timings)
    assert page(report)
    assert job_summary(report)
    assert drawn(report, width=80)


def test_what_a_tool_says_is_text_and_no_markup() -> None:
    function = {"name": HOSTILE, "peers": [{"name": HOSTILE, "why": HOSTILE}]}
    facts = {"benchmark": {"functions": [function], "machine": {"device": HOSTILE}}}
    report = with_nodes(node(ADDRESS, "benchmark", "built", facts=facts))
    assert "<script>alert" not in page(report)
    assert "\x1b[31m" not in drawn(report, width=80)
    assert "\n# heading" not in job_summary(report)
