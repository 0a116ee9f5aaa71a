"""The end of a run on a terminal: every artifact, what failed and why, and one line of counts.

Reads at any width: on a wide console one line an artifact with its whole address; on a narrow one
the artifacts stand grouped under their variant. Nothing is told by colour alone. Apart from what a
manifest names, only ASCII is written, so that any locale can print it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from tidemill.records import NodeReport, RunReport
from tidemill.report.benchmarks import Measured, benchmarks, lines
from tidemill.report.rows import Row, gathered, rows
from tidemill.report.suites import suites
from tidemill.report.text import (
    brief,
    one_line,
    seconds_text,
    shown_lines,
    size_text,
    wrap_command,
)
from tidemill.report.view import counts_text, expectations, failures, result

DIGEST_DIGITS = 12
LINES_SHOWN = 4
MIN_WIDTH = 40
INDENT = "  "
#: The order in which a console that is too narrow gives columns up.
GIVE_UP = ("this run", "rel L2 (limit)", "peak", "max abs (limit)", "time", "digest")

STYLES = {
    "failed": "bold red",
    "missing": "red",
    "expected-failure": "yellow",
    "blocked": "dim",
    "unvalidated": "yellow",
    "carried": "cyan",
    "proxy": "cyan",
    "validated": "green",
    "built": "green",
    "reused": "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    title: str
    right: bool
    cells: tuple[str, ...]

    @property
    def width(self) -> int:
        return max(cell_len(text) for text in (self.title, *self.cells))


@dataclass(frozen=True, slots=True)
class _Artifacts:
    """The table; it chooses its form when it knows the width."""

    rows: tuple[Row, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        if not self.rows:
            yield Text("no artifacts")
            return
        columns = _columns(self.rows)
        first = _Column(title="address", right=False, cells=_addresses(self.rows))
        wide = _fitting([first, *columns], width=options.max_width, give_up=GIVE_UP[:2])
        if _total(wide) <= options.max_width:
            yield _table(self.rows, columns=wide)
            return
        first = _Column(title="artifact", right=False, cells=_labels(self.rows))
        narrow = _fitting([first, *columns[1:]], width=options.max_width, give_up=GIVE_UP)
        yield from _grouped(self.rows, columns=narrow)


def table(report: RunReport, *, page: str = "") -> RenderableType:
    """What is printed when a run ends. ``page`` is the path or URL of the HTML page."""
    parts: list[RenderableType] = [_Artifacts(gathered(rows(report)))]
    parts += [Text(f"{brief(view.address)}: {brief(view.whole.text)}") for view in suites(report)]
    parts += [Text("problem: " + brief(text), style="red") for text in report.problems]
    parts += [_Expectations(report)] if expectations(report) else []
    parts += [_FailureBlock(node) for node in failures(report)]
    parts += [_Benchmarks(found)] if (found := benchmarks(report)) else []
    style = "green" if report.exit_code == 0 else "red"
    closing = [Text(f"{report.pipeline} {result(report)}", style=f"bold {style}")]
    closing.append(Text(f"{counts_text(report)} in {seconds_text(report.seconds)}"))
    if report.release:
        place = f", {report.channel} #{report.sequence}" if report.channel else ""
        closing.append(Text(f"release {report.release[:DIGEST_DIGITS]}{place}"))
    if page:
        closing.append(Text(f"page {one_line(page)}", overflow="fold"))
    return Group(*_spaced(parts), Text(), *closing)


@dataclass(frozen=True, slots=True)
class _FailureBlock:
    """Class, first lines and the command of one failed node, within the width that there is."""

    node: NodeReport

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        width = max(options.max_width, MIN_WIDTH)
        node, failure = self.node, self.node.failure
        head = Text("FAILED ", style="bold red")
        head.append(f"{node.stage} {one_line(node.address)}", style="bold")
        head.append(f" (class {one_line(failure.failure)})" if failure else "")
        yield head
        if failure is None:
            yield from (Text(INDENT + brief(reason)) for reason in node.reasons)
            return
        inner = width - len(INDENT)
        for line in shown_lines(failure.lines, count=LINES_SHOWN, width=inner):
            yield Text(INDENT + line)
        if failure.hint:
            yield Text(f"{INDENT}hint: {brief(failure.hint)}")
        for line in wrap_command(failure.reproduce, inner):
            # Never cut: half a command is worse than a long line.
            yield Text(INDENT + line, style="cyan", overflow="fold")


@dataclass(frozen=True, slots=True)
class _Expectations:
    report: RunReport

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console, options
        for line in expectations(self.report):
            head = f"EXPECTATION BROKEN ({line.text})" if line.red else "known failure"
            text = Text(head, style="bold red" if line.red else "yellow")
            text.append(f" {line.node.stage} {one_line(line.node.address)}", style="bold")
            text.append(f": {brief(line.node.expectation)}")
            yield text


@dataclass(frozen=True, slots=True)
class _Benchmarks:
    found: tuple[Measured, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console, options
        for address, group in groupby(self.found, key=lambda one: one.address):
            yield Text(f"benchmark {one_line(address)}", style="bold", overflow="fold")
            for line in (line for one in group for line in lines(one)):
                yield Text(INDENT + line, overflow="fold")


def _spaced(parts: Sequence[RenderableType]) -> Iterator[RenderableType]:
    for number, part in enumerate(parts):
        if number:
            yield Text()
        yield part


def _columns(listed: Sequence[Row]) -> list[_Column]:
    """Every column after the name of the artifact."""
    worst = [row.verdict.worst if row.verdict else None for row in listed]
    cells: list[tuple[str, bool, Iterable[str]]] = [
        ("kind", False, (row.kind for row in listed)),
        ("status", False, (row.status for row in listed)),
        ("this run", False, (_made(row) for row in listed)),
        ("size", True, (size_text(row.size) for row in listed)),
        ("digest", False, (row.digest[:DIGEST_DIGITS] or "-" for row in listed)),
        ("time", True, (seconds_text(row.seconds) for row in listed)),
        ("peak", True, (size_text(row.peak_memory_bytes) for row in listed)),
        ("max abs (limit)", False, (one.max_abs_text if one else "-" for one in worst)),
        ("rel L2 (limit)", False, (one.rel_l2_text if one else "-" for one in worst)),
    ]
    return [_Column(title=name, right=right, cells=tuple(made)) for name, right, made in cells]


def _made(row: Row) -> str:
    return row.outcome if row.outcome in {"built", "reused"} else "-"


def _addresses(listed: Sequence[Row]) -> tuple[str, ...]:
    return tuple(one_line(row.address) for row in listed)


def _labels(listed: Sequence[Row]) -> tuple[str, ...]:
    """What a row is called below its variant: the target and the kind."""
    return tuple(
        f"{INDENT}{one_line(row.target)} {row.kind}".rstrip() if row.target else INDENT + row.kind
        for row in listed
    )


def _fitting(
    columns: Sequence[_Column], *, width: int, give_up: Sequence[str]
) -> Sequence[_Column]:
    """``columns`` without as many of ``give_up``, in order, as it takes to fit."""
    for title in give_up:
        if _total(columns) > width:
            columns = [column for column in columns if column.title != title]
    return columns


def _total(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + 2 * (len(columns) - 1)


def _table(
    listed: Sequence[Row], *, columns: Sequence[_Column], start: int = 0, header: bool = True
) -> Table:
    """A grid of fixed widths, so that several of them stand under one header."""
    grid = Table(
        box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=header, header_style="bold"
    )
    for column in columns:
        grid.add_column(
            column.title,
            justify="right" if column.right else "left",
            width=column.width,
            no_wrap=True,
            overflow="ellipsis",
        )
    for number, row in enumerate(listed, start):
        style = {"status": STYLES.get(row.status, "")}
        grid.add_row(*(Text(c.cells[number], style=style.get(c.title, "")) for c in columns))
    return grid


def _grouped(listed: Sequence[Row], *, columns: Sequence[_Column]) -> Iterator[RenderableType]:
    yield _table((), columns=columns)
    start = 0
    for variant, group in groupby(listed, key=lambda row: row.variant):
        members = list(group)
        yield Text(one_line(variant), style="bold", overflow="fold")
        yield _table(members, columns=columns, start=start, header=False)
        start += len(members)
