"""The files of a run: Markdown, HTML, and how they are written."""

import html.parser
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.reports import (
    COMPILE_FAILURE,
    HOSTILE,
    NO_LONGER_FAILING,
    NUMERICS_FAILURE,
    empty_report,
    failure,
    hostile_report,
    node,
    sample_report,
)
from tidemill.errors import StoreError
from tidemill.records import RunReport, encode
from tidemill.report import write_reports
from tidemill.report.html import anchor, page, safe_link
from tidemill.report.junit import junit_xml
from tidemill.report.markdown import LIMIT_BYTES, code, fenced, inline, job_summary


def test_the_summary_has_result_counts_matrix_and_failures() -> None:
    text = job_summary(sample_report())
    assert text.startswith(
        "## ✗ nightly failed: an artifact computes the wrong thing\n\n"
        "**40 built, 10 reused, 2 failed, 12 unvalidated, 1 expected failure, 2 blocked**\n"
    )
    assert "| variant | shared | cpu | gfx1100 | gfx942 |\n|---|---|---|---|---|\n" in text
    assert (
        "| `minilm/encoder/f32` | ✓ validated, 92 MB | ✓ validated, 1.0 MB, 2.1e-07 (1e-05) "
        "| ? unvalidated, 1.0 MB | ? unvalidated, 1.0 MB |\n"
    ) in text
    assert f"#### `{COMPILE_FAILURE}` compile: class compile\n" in text
    assert f"```sh\ntidemill repro {COMPILE_FAILURE} --stage compile" in text
    assert f"- **broken: passed, but was to fail**: `{NO_LONGER_FAILING}` compile. " in text


def test_links_in_the_summary_are_left_for_github_to_link() -> None:
    assert inline("see https://x.org/a_b*c, *now*") == "see https://x.org/a_b*c, \\*now\\*"


def test_markup_in_running_text_is_escaped() -> None:
    assert inline("<b>|`x`|\x1b[1m*y*\n# z") == "\\<b\\>\\|\\`x\\`\\|\\*y\\* \\# z"


def test_a_code_span_outruns_the_backticks_inside() -> None:
    assert code("a``b`|c") == "``` a``b`|c ```"
    assert code("a|b", in_table=True) == "`a\\|b`"


def test_a_fence_outruns_the_backticks_inside() -> None:
    assert fenced(["````", "x"]) == "`````\n````\nx\n`````\n"


def test_hostile_lines_cannot_leave_their_fence() -> None:
    text = job_summary(hostile_report())
    inside, outside = False, []
    fence = ""
    for line in text.splitlines():
        run = re.match(r"`{3,}(?=\w*$)", line)
        if run and not inside:
            inside, fence = True, run[0]
        elif inside and line == fence:
            inside = False
        elif not inside:
            outside.append(line)
    assert not inside
    assert not any(line.startswith("# heading") for line in outside)
    bare = re.compile(r"(?<!\\)<(?!/?details>|/?summary>)")
    spans = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
    assert [line for line in outside if bare.search(spans.sub("", line))] == []
    assert all(char == "\n" or char.isprintable() for char in text)


def many_failures(count: int) -> RunReport:
    nodes = []
    for number in range(count):
        address = f"model{number}/part/f16/gfx942"
        lines = tuple("é" * 300 for _ in range(12))
        broken = failure(address, "compile", kind="compile", lines=lines)
        nodes.append(node(address, "compile", "failed", failure=broken))
    return sample_report(nodes=tuple(nodes), artifacts=())


def test_a_huge_summary_stays_below_the_limit_and_counts_what_it_leaves_out() -> None:
    text = job_summary(many_failures(3000))
    assert len(text.encode()) < LIMIT_BYTES
    shown = text.count("class compile")
    assert 0 < shown < 3000
    assert f"\n{3000 - shown} more failures not shown: this summary is full.\n" in text
    assert "### Matrix" in text


class Elements(html.parser.HTMLParser):
    """Every start tag with its attributes, and the ids that links point to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in {"href", "src", "action", "srcset"}:
                self.links.append(value or "")
            if name.startswith("on") or name == "style":
                self.handlers.append(name)


def elements(report: RunReport) -> Elements:
    parser = Elements()
    parser.feed(page(report))
    return parser


@pytest.mark.parametrize("report", [sample_report(), hostile_report(), empty_report()])
def test_every_link_inside_the_page_has_one_target(report: RunReport) -> None:
    found = elements(report)
    assert len(found.ids) == len(set(found.ids))
    inner = {link[1:] for link in found.links if link.startswith("#")}
    assert inner <= set(found.ids)


def test_hostile_text_adds_no_element_handler_or_scheme() -> None:
    found = elements(hostile_report())
    assert set(found.tags) <= set(elements(sample_report()).tags)
    assert found.handlers == []
    schemes = {link.partition(":")[0] for link in found.links if ":" in link.split("/")[0]}
    assert schemes <= {"data", "https"}


def test_the_page_shows_what_the_terminal_shows() -> None:
    text = page(sample_report())
    for mark in (COMPILE_FAILURE, NUMERICS_FAILURE, "0.032 (0.005)", "exceeded the", "3.13.0"):
        assert mark in text


def test_the_page_is_the_same_for_the_same_run() -> None:
    assert page(sample_report()) == page(sample_report())


@pytest.mark.parametrize(
    ("link", "kept"),
    [
        ("logs/a%20b.txt", "logs/a%20b.txt"),
        ("../runs/1:2/log.txt", "../runs/1:2/log.txt"),
        ("https://ci.example.invalid/1", "https://ci.example.invalid/1"),
        ("javascript:alert(1)", ""),
        ("java\x00script:alert(1)", ""),
        ("data:text/html,x", ""),
        ("//host/x", ""),
        ("/\\host/x", ""),
        ("two words", ""),
        ("", ""),
    ],
)
def test_only_links_that_cannot_run_are_kept(link: str, kept: str) -> None:
    assert safe_link(link) == kept


def test_an_anchor_is_safe_in_a_fragment() -> None:
    assert anchor("a/b c/f16\x1b[0m/<x>") == "a/b%20c/f16/%3Cx%3E"


def test_all_reports_are_written_and_replace_older_ones(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "1"
    write_reports(empty_report(), folder)
    paths = write_reports(sample_report(), folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "index.html",
        "junit.xml",
        "report.json",
        "summary.md",
    ]
    assert paths.json.read_bytes() == encode(sample_report())
    assert msgspec.json.decode(paths.json.read_bytes(), type=RunReport).run == sample_report().run
    assert paths.html.read_text("utf-8") == page(sample_report())
    assert paths.summary.read_text("utf-8") == job_summary(sample_report())
    assert paths.junit.read_bytes() == junit_xml(sample_report())
    assert oct(paths.html.stat().st_mode & 0o777) == "0o644"


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "runs"
    with pytest.raises(StoreError) as caught:
        write_reports(sample_report(), folder)
    assert caught.value.message == f"the reports cannot be written to {folder}: Not a directory"
    assert caught.value.hint == "free space there or make the folder writable, then run again"


def test_a_write_that_fails_leaves_the_older_file_and_no_litter(tmp_path: Path) -> None:
    write_reports(empty_report(), tmp_path)
    (tmp_path / "index.html").unlink()
    (tmp_path / "index.html").mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        write_reports(sample_report(), tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert (tmp_path / "summary.md").read_text("utf-8") == job_summary(empty_report())


def test_importing_the_package_loads_neither_jinja2_nor_rich() -> None:
    code = "import sys, tidemill.report; print(sorted({'jinja2', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_hostile_text_is_longer_than_what_is_shown_of_it() -> None:
    assert "long" * 1000 in HOSTILE
    assert "long" * 1000 not in page(hostile_report())
