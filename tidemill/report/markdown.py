"""The job summary of a run in GitHub-flavoured Markdown.

Everything that a tool or a manifest can choose is escaped: it shows as text, never as markup. The
summary stays below the limit that GitHub puts on it (1 MiB a step: "Workflow commands for GitHub
Actions", job summaries); what does not fit is left out whole, and the number left out is said.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tidemill.records import NodeReport, RunReport
from tidemill.report.benchmarks import OWN, Measured, benchmarks, ms_text
from tidemill.report.changes import ChangeRow, change_rows, in_short, tool_lines, unknown_line
from tidemill.report.rows import Cell, MatrixRow, matrix, rows
from tidemill.report.suites import SuiteView, Tally, suites
from tidemill.report.text import brief, one_line, plural, seconds_text, shown_lines, size_text
from tidemill.report.view import (
    SIGNS,
    ExpectationLine,
    counts_text,
    expectations,
    failures,
    result,
    worked,
)

LIMIT_BYTES = 1 << 20
#: Left for the headline, the section titles and the sentences that say what was left out.
RESERVE_BYTES = 16_000
LINES_SHOWN, LINE_WIDTH = 12, 300
SLOWEST_SHOWN = 10
# GitHub reads these as markup in running text; a backslash before ASCII punctuation is literal
# (CommonMark 0.31, section 2.4).
_MARKUP = re.compile(r"([\\`*_\[\]<>&|~$#@])")
# GitHub links a bare address by itself, and would take a backslash for a part of it.
_LINK = re.compile(r"(https?://[^\s<>|`()\[\]\\]+)")
_BACKTICKS = re.compile(r"`+")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """A titled list of blocks, cut to its share of the space by leaving out whole blocks."""

    title: str
    noun: str
    share: float
    items: Sequence[str]
    head: str = ""

    def text(self, budget: int) -> str:
        if not self.items:
            return ""
        room, kept = int(budget * self.share), list[str]()
        for item in self.items:
            room -= len(item.encode())
            if room < 0:
                break
            kept.append(item)
        left_out = len(self.items) - len(kept)
        said = f"\n{plural(left_out, 'more ' + self.noun)} not shown: this summary is full.\n"
        return f"### {self.title}\n\n{self.head}{''.join(kept)}{said if left_out else ''}\n"


def job_summary(report: RunReport, *, limit: int = LIMIT_BYTES) -> str:
    """The whole summary, in fewer than ``limit`` bytes of UTF-8 (at least RESERVE_BYTES)."""
    table = matrix(rows(report))
    targets = "".join(f" {inline(target)} |" for target in table.targets)
    sections = (
        _Section(
            title="Problems",
            noun="problem",
            share=0.05,
            items=[f"- {inline(text)}\n" for text in report.problems],
        ),
        _Section(
            title="Failures", noun="failure", share=0.35, items=[*map(_failure, failures(report))]
        ),
        _Section(
            title="Expectations",
            noun="expectation",
            share=0.1,
            items=[*map(_expectation, expectations(report))],
        ),
        _changes(report),
        _Section(
            title="Matrix",
            noun="variant",
            share=0.25,
            head="Numbers are the largest absolute error against the reference, and its limit.\n\n"
            f"| variant | shared |{targets}\n|---|---|{'---|' * len(table.targets)}\n",
            items=[*map(_matrix_row, table.rows)],
        ),
        _benchmarks(report),
        _Section(
            title="Conformance",
            noun="suite",
            share=0.1,
            items=[*map(_suite, suites(report))],
        ),
        _costs(report),
    )
    budget = limit - RESERVE_BYTES
    return _headline(report) + "".join(section.text(budget) for section in sections)


def inline(text: str) -> str:
    """``text`` as running text in one line, also inside a table; nothing in it is markup."""
    parts = _LINK.split(brief(text))
    return "".join(
        part if number % 2 else _MARKUP.sub(r"\\\1", part) for number, part in enumerate(parts)
    )


def code(text: str, *, in_table: bool = False) -> str:
    """``text`` as a code span in one line.

    The delimiter is longer than any run of backticks inside (CommonMark 0.31, section 6.1); a
    table cell needs the backslash before a bar even there (GFM 0.29, section 4.10).
    """
    flat = brief(text).replace("|", "\\|" if in_table else "|")
    longest = max((len(run) for run in _BACKTICKS.findall(flat)), default=0)
    pad = " " if longest else ""
    return f"{'`' * (longest + 1)}{pad}{flat}{pad}{'`' * (longest + 1)}" if flat else ""


def fenced(lines: Sequence[str], *, language: str = "") -> str:
    """``lines`` as a code block whose fence is longer than any run of backticks inside."""
    longest = max((len(run) for line in lines for run in _BACKTICKS.findall(line)), default=0)
    fence = "`" * max(longest + 1, 3)
    return "\n".join((fence + language, *lines, fence)) + "\n"


def _headline(report: RunReport) -> str:
    sign = SIGNS["validated" if report.exit_code == 0 else "failed"]
    release = "no release"
    if report.release:
        place = f" in channel {code(report.channel)} as number {report.sequence}"
        release = f"release {code(report.release[:12])}{place if report.channel else ''}"
    facts = (
        f"run {code(report.run)}",
        f"toolchain {code(report.toolchain)}",
        release,
        f"{seconds_text(report.seconds)} on {inline(report.host)}",
        f"exit code {report.exit_code}",
    )
    title = f"## {sign} {inline(report.pipeline)} {inline(result(report))}"
    return f"{title}\n\n**{counts_text(report)}**\n\n{' · '.join(facts)}\n\n"


def _failure(node: NodeReport) -> str:
    failure = node.failure
    title = f"#### {code(node.address)} {node.stage}"
    if failure is None:
        return f"{title}\n\n{inline('; '.join(node.reasons) or 'no record of the failure')}\n\n"
    lines = shown_lines(failure.lines, count=LINES_SHOWN, width=LINE_WIDTH)
    parts = [f"{title}: class {inline(failure.failure)}\n", fenced(lines) if lines else ""]
    parts.append(f"Hint: {inline(failure.hint)}\n" if failure.hint else "")
    if failure.reproduce:
        parts.append("Reproduce:\n\n" + fenced([one_line(failure.reproduce)], language="sh"))
    if failure.command:
        command = fenced([one_line(shlex.join(failure.command))], language="sh")
        summary = "<details><summary>Command line</summary>"
        parts.append(f"{summary}\n\n{command}\n</details>\n")
    return "\n".join(part for part in parts if part) + "\n"


def _expectation(line: ExpectationLine) -> str:
    word = f"**broken: {line.text}**" if line.red else "known failure"
    return (
        f"- {word}: {code(line.node.address)} {line.node.stage}. {inline(line.node.expectation)}\n"
    )


def _changes(report: RunReport) -> _Section:
    """What the channel's readers get that they did not have; empty where nothing was released."""
    said, table = "", list[str]()
    if diff := report.changes:
        notes = filter(None, (*tool_lines(diff), unknown_line(diff)))
        said = f"{inline(in_short(diff))}\n\n" + "".join(f"- {inline(note)}\n" for note in notes)
        table = [*map(_change, change_rows(diff))]
    columns = "\n| artifact | kind | | size | status | |\n|---|---|---|---|---|---|\n"
    return _Section(
        title="Since the last release of the channel",
        noun="change",
        share=0.1,
        head=said + columns if table else "",
        items=table or [text for text in (said,) if text],
    )


def _change(row: ChangeRow) -> str:
    cells = (row.what, row.size, row.status, "; ".join(row.details))
    rest = "".join(f" {inline(cell)} |" for cell in cells)
    return f"| {code(row.address, in_table=True)} | {inline(row.kind)} |{rest}\n"


def _matrix_row(row: MatrixRow) -> str:
    cells = "".join(f" {_cell(cell)} |" for cell in (row.shared, *row.cells))
    return f"| {code(row.variant, in_table=True)} |{cells}\n"


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return ""
    parts = [f"{SIGNS.get(cell.status, '')} {cell.status}".strip()]
    if cell.size:
        parts.append(size_text(cell.size))
    if cell.verdict and cell.verdict.worst.max_abs is not None:
        parts.append(cell.verdict.worst.max_abs_text)
    return ", ".join(parts)


def _benchmarks(report: RunReport) -> _Section:
    """What calls take, each function with its peers; a function is left out whole or not at all."""
    columns = "| function | who | median | quartiles | tokens/s | ratio | about |"
    return _Section(
        title="Benchmarks",
        noun="function",
        share=0.05,
        head=f"{columns}\n|---|---|--:|--:|--:|--:|---|\n",
        items=["".join(_timings(one)) for one in benchmarks(report)],
    )


def _timings(one: Measured) -> Iterator[str]:
    about = ", ".join(part for part in (one.dispatches, one.size, one.machine) if part)
    for timing in one.timings:
        own = timing.who == OWN
        name = f"{code(one.address, in_table=True)} {inline(one.name)}" if own else ""
        cells = (timing.median_text, ms_text(timing.iqr), timing.rate_text, timing.ratio_text)
        rest = "".join(f" {cell} |" for cell in (*cells, inline(about if own else timing.note)))
        yield f"| {name} | {inline(timing.who)} |{rest}\n"


def _suite(view: SuiteView) -> str:
    """One suite: a sentence, and a table of groups by what became of their tests."""
    columns = "".join(f" {inline(word)} |" for word in view.outcomes)
    lines = "".join(_tally(one, outcomes=view.outcomes) for one in (*view.groups, view.whole))
    return (
        f"**{code(view.address)}: {inline(view.whole.text)}**\n\n"
        f"| group | tests |{columns}\n|---|--:|{'--:|' * len(view.outcomes)}\n{lines}\n"
    )


def _tally(one: Tally, *, outcomes: Sequence[str]) -> str:
    cells = "".join(f" {one.count(word) or ''} |" for word in outcomes)
    return f"| {inline(one.group)} | {one.tests} |{cells}\n"


def _costs(report: RunReport) -> _Section:
    """The slowest nodes and the largest, each node once."""
    spent = worked(report)
    largest = sorted(spent, key=lambda node: -node.peak_memory_bytes)[:SLOWEST_SHOWN]
    chosen = [*spent[:SLOWEST_SHOWN], *(n for n in largest if n not in spent[:SLOWEST_SHOWN])]
    return _Section(
        title="Slowest and largest",
        noun="node",
        share=0.1,
        head="| node | stage | time | peak memory |\n|---|---|--:|--:|\n",
        items=[
            f"| {code(node.address, in_table=True)} | {node.stage} | {seconds_text(node.seconds)} "
            f"| {size_text(node.peak_memory_bytes)} |\n"
            for node in chosen
        ],
    )
