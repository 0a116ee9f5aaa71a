"""The table at the end of a run: readable at any width, without colour, in any locale."""

import io
import shlex

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console

from tests.reports import (
    COMPILE_FAILURE,
    digest_of,
    empty_report,
    hostile_report,
    node,
    sample_report,
)
from tidemill.records import RunReport
from tidemill.report.html import page
from tidemill.report.markdown import job_summary
from tidemill.report.rows import rows
from tidemill.report.terminal import table

WIDTHS = (60, 80, 120, 200)


def drawn(
    report: RunReport, *, width: int, colour: bool = False, page: str = "out/index.html"
) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, force_terminal=colour, color_system="standard" if colour else None
    )
    console.print(table(report, page=page))
    return stream.getvalue()


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_the_console(width: int) -> None:
    for report in (sample_report(), empty_report()):
        assert max(cell_len(line) for line in drawn(report, width=width).splitlines()) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_every_artifact_has_a_line_with_its_status_and_digest(width: int) -> None:
    text = drawn(sample_report(), width=width)
    for row in rows(sample_report()):
        marks = [row.kind, row.status, row.digest[:12]]
        assert any(all(mark in line for mark in marks) for line in text.splitlines()), marks


@pytest.mark.parametrize("width", [120, 200])
def test_a_wide_console_shows_whole_addresses(width: int) -> None:
    lines = drawn(sample_report(), width=width).splitlines()
    assert any(line.startswith("stories15m/decoder/f16/gfx942 ") for line in lines)


def test_a_narrow_console_groups_artifacts_under_their_variant() -> None:
    lines = [line.rstrip() for line in drawn(sample_report(), width=80).splitlines()]
    start = lines.index("minilm/encoder/f16")
    assert lines[start + 1].startswith("  mlir ")
    assert lines[start + 4] == (
        "  cpu vmfb      validated         1.0 MB  674a30a7df87    42 s  0.00044 (0.005)"
    )


def test_the_end_names_result_counts_release_and_page() -> None:
    assert drawn(sample_report(), width=120).splitlines()[-4:] == [
        "nightly failed: an artifact computes the wrong thing",
        "40 built, 10 reused, 2 failed, 12 unvalidated, 1 expected failure, 2 blocked in 7m 07s",
        f"release {digest_of('release')[:12]}, nightly #118",
        "page out/index.html",
    ]


def test_a_failure_shows_its_class_first_lines_hint_and_command() -> None:
    lines = [line.rstrip() for line in drawn(sample_report(), width=100).splitlines()]
    start = lines.index(f"FAILED compile {COMPILE_FAILURE} (class compile)")
    assert lines[start + 1].startswith("  main.mlir:812:11: error: 'func.func' op uses 81920 bytes")
    assert lines[start + 4] == "  hint: try --iree-opt-level=O0, or declare a ladder"
    assert lines[start + 5].startswith(f"  tidemill repro {COMPILE_FAILURE} --stage compile")


def test_a_command_that_is_too_wide_still_pastes_as_one() -> None:
    lines = drawn(sample_report(), width=60).splitlines()
    start = next(n for n, line in enumerate(lines) if "tidemill repro" in line)
    pasted = "\n".join(line.rstrip() for line in lines[start : start + 2]).replace("\\\n", "")
    key = digest_of(COMPILE_FAILURE + "compile")[:8]
    assert shlex.split(pasted) == [
        *("tidemill", "repro", COMPILE_FAILURE),
        *("--stage", "compile", "--to", f"repro-{key}"),
    ]


def test_a_failure_without_a_record_shows_its_reasons() -> None:
    lost = node("m/c/f32", "export", "failed", reasons=("the worker went away",))
    text = drawn(sample_report(nodes=(lost,), artifacts=()), width=80)
    assert "FAILED export m/c/f32\n  the worker went away" in text


def test_expectations_say_which_is_broken() -> None:
    text = drawn(sample_report(), width=200)
    assert (
        "EXPECTATION BROKEN (passed, but was to fail) compile minilm/encoder/f16/gfx1100: " in text
    )
    assert "known failure compile magika/classifier/f32/gfx1100: " in text


def test_without_colour_no_escape_is_written() -> None:
    assert "\x1b" not in drawn(hostile_report(), width=80)


def test_colour_changes_no_word() -> None:
    coloured = drawn(sample_report(), width=120, colour=True)
    assert "\x1b[31m" in coloured or "\x1b[1;31m" in coloured
    import re

    plain = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert plain == drawn(sample_report(), width=120)


def test_hostile_text_writes_no_control_character_and_no_markup() -> None:
    text = drawn(hostile_report(), width=80, page="[red]\x1b[2Jpage")
    assert all(char == "\n" or char.isprintable() for char in text)
    assert "page [red]page" in text


def test_the_words_of_the_table_fit_an_ascii_locale() -> None:
    assert drawn(sample_report(), width=120).isascii()


def test_an_empty_run_has_no_table() -> None:
    assert drawn(empty_report(), width=80, page="").splitlines() == [
        "no artifacts",
        "",
        "nightly passed",
        "0 built, 0 reused, 0 failed, 0 unvalidated in 7m 07s",
    ]


def test_a_run_without_validation_calls_nothing_unvalidated() -> None:
    whole = sample_report()
    compiled = tuple(node for node in whole.nodes if node.stage != "validate")
    artifacts = tuple(
        msgspec.structs.replace(one, status="unvalidated", verdict=None)
        for one in whole.artifacts
        if one.kind != "verdict"
    )
    part = sample_report(nodes=compiled, artifacts=artifacts, release="", channel="", sequence=0)
    lines = drawn(part, width=200).splitlines()
    (line,) = [one for one in lines if one.startswith("minilm/encoder/f32/cpu  ") and "vmfb" in one]
    assert line.split()[1:4] == ["vmfb", "not", "judged"]
    assert [one for one in lines if "unvalidated" in one] == [
        "35 built, 9 reused, 1 failed, 0 unvalidated, 1 expected failure in 7m 07s"
    ]
    assert "- not judged, 1.0 MB" in job_summary(part)
    assert "unvalidated" not in page(part).partition("<main>")[2]


def test_a_run_that_could_not_validate_still_says_unvalidated() -> None:
    lines = drawn(sample_report(), width=200).splitlines()
    (line,) = [one for one in lines if one.startswith("minilm/encoder/f32/gfx942 ")]
    assert line.split()[1:3] == ["vmfb", "unvalidated"]
