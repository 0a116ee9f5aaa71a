"""Progress while a run goes on: a board on a terminal, plain lines in CI, nothing when not wanted.

All write to the console that they are given (standard error), so that standard output stays data.
``feed`` may be called from any thread.
"""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tidemill.records import STAGES
from tidemill.report.board import Board, Event, Running, node_of
from tidemill.report.terminal import STYLES
from tidemill.report.text import seconds_text, shorten, size_text

MAX_RUNNING_LINES = 12
REFRESH_PER_SECOND = 4
BAR_WIDTH = 24
STAGE_WIDTH = max(map(len, STAGES))
#: A log line is drawn only where at least this much of it can be read.
MIN_LINE_WIDTH = 12

Clock = Callable[[], float]


class View(Protocol):
    """Shows events as they come. Entered before the first event, left after the last.

    Leaving restores the terminal whatever happened, and never hides an exception. ``feed`` never
    raises on an event that it does not know.
    """

    def feed(self, event: Event) -> None:
        """Take one event (see ``board``) and show what it changes."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class NullView:
    """Shows nothing."""

    def feed(self, event: Event) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class PlainView:
    """One line for each node that starts or finishes; no cursor movement, no wrapping."""

    def __init__(self, console: Console, *, clock: Clock = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._board = Board()
        self._lock = threading.Lock()

    def feed(self, event: Event) -> None:
        """Write the line of a ``planned``, ``started`` or ``finished`` event; beats write none."""
        with self._lock:
            self._board.apply(event, now=self._clock())
            line = self._line(event)
            if line:
                self._console.print(Text(line), soft_wrap=True)

    def _line(self, event: Event) -> str:
        board, name = self._board, event.get("event")
        address, stage = node_of(event)
        width = len(str(board.total))
        place = f"[{board.done:{width}}/{board.total}]"
        if name == "planned":
            return (
                f"{place} up to date: {board.up_to_date}, to do: {board.total - board.up_to_date}"
            )
        if name == "started":
            return f"{place} start {stage} {address}"
        if name != "finished":
            return ""
        seconds = event.get("seconds")
        took = (
            f" in {seconds_text(seconds)}" if isinstance(seconds, int | float) and seconds else ""
        )
        return f"{place} {event.get('outcome', 'built')} {stage} {address}{took}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class LiveView:
    """A progress bar with counts, and below it one line for each running node."""

    def __init__(self, console: Console, *, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._board = Board()
        self._lock = threading.RLock()
        self._live = Live(
            self,
            console=console,
            refresh_per_second=REFRESH_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def feed(self, event: Event) -> None:
        """Take the event; the next refresh shows it. A failure also stays, above the board."""
        with self._lock:
            self._board.apply(event, now=self._clock())
        if event.get("event") == "finished" and event.get("outcome") == "failed":
            address, stage = node_of(event)
            self._live.console.print(Text(f"failed {stage} {address}", style=STYLES["failed"]))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The board as it is now; never taller than the terminal."""
        with self._lock:
            room = max(min(MAX_RUNNING_LINES, console.height - 3), 1)
            running = list(self._board.running.values())
            yield _bar(self._board)
            now = self._clock()
            for node in running[:room]:
                yield _running_line(node, now=now, width=options.max_width)
            if len(running) > room:
                yield Text(f"  and {len(running) - room} more running", style="dim")


def open_view(console: Console, *, progress: bool = True) -> View:
    """The view that fits: a board on a terminal, plain lines elsewhere or without ``progress``."""
    dumb = not console.is_terminal or console.is_dumb_terminal
    return PlainView(console) if dumb or not progress else LiveView(console)


def _bar(board: Board) -> RenderableType:
    line = Table.grid(padding=(0, 1, 0, 0))
    line.add_column(width=BAR_WIDTH)
    line.add_column(no_wrap=True, overflow="ellipsis")
    total = max(board.total, 1)
    counts = Text(f"{board.done}/{board.total}", style="bold")
    if board.up_to_date:
        counts.append(f"  {board.up_to_date} up to date", style="not bold")
    for outcome, number in sorted(board.finished.items()):
        counts.append(f"  {number} {outcome}", style=f"not bold {STYLES.get(outcome, '')}".strip())
    line.add_row(
        ProgressBar(total=total, completed=min(board.done, total), width=BAR_WIDTH), counts
    )
    return line


def _running_line(node: Running, *, now: float, width: int) -> Text:
    seconds = seconds_text(max(now - node.since, 0.1))
    head = f"  {node.stage:{STAGE_WIDTH}}  {node.address}"
    costs = f"  {seconds:>7}  {size_text(node.memory_bytes):>7}"
    line = Text(shorten(head, max(width - len(costs), 0)), no_wrap=True, overflow="ellipsis")
    line.append(costs, style="cyan")
    room = width - line.cell_len - 2
    if node.line and room >= MIN_LINE_WIDTH:
        line.append("  " + shorten(node.line, room), style="dim")
    return line
