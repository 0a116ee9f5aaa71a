"""Progress: the board on a terminal, plain lines elsewhere, and the events that both eat."""

import io
import threading
from typing import Any

import pytest
from rich.console import Console

from tidemill.report.board import Board
from tidemill.report.live import LiveView, NullView, PlainView, open_view

ADDRESS = "minilm/encoder/f16/gfx942"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def event(name: str, **more: Any) -> dict[str, Any]:
    return {"event": name, "address": ADDRESS, "stage": "compile", **more}


def console(*, terminal: bool = True, width: int = 80, height: int = 10) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=terminal,
        color_system=None,
        legacy_windows=False,
        _environ={"TERM": "xterm"},
    )


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def drawn(view: LiveView, *, width: int = 80, height: int = 10) -> list[str]:
    plain = console(terminal=False, width=width, height=height)
    plain.print(view)
    return [line.rstrip() for line in text_of(plain).splitlines()]


def test_a_board_counts_what_is_up_to_date_and_what_finished() -> None:
    board = Board()
    board.apply({"event": "planned", "total": 42, "up_to_date": 30}, now=0)
    board.apply(event("started", at="2026-11-21T02:10:03Z"), now=1)
    assert (board.done, list(board.running)) == (30, [(ADDRESS, "compile")])
    board.apply(event("finished", outcome="failed", seconds=3), now=4)
    assert (board.done, board.running, board.finished["failed"]) == (31, {}, 1)


def test_a_beat_sets_the_clock_of_its_node_and_keeps_the_last_line() -> None:
    board = Board()
    board.apply(event("beat", seconds=7.5, memory_bytes=9, line="\x1b[1mlowering"), now=50)
    board.apply(event("beat", seconds=8.5, memory_bytes=10, line=""), now=51)
    running = board.running[ADDRESS, "compile"]
    assert (running.since, running.memory_bytes, running.line) == (42.5, 10, "lowering")


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"event": "blessed"},
        {"event": "planned", "total": None},
        {"event": "finished"},
        {"event": "beat"},
    ],
)
def test_an_odd_event_never_raises(odd: dict[str, Any]) -> None:
    board = Board()
    board.apply(odd, now=0)
    assert board.up_to_date == 0


def test_plain_lines_say_place_outcome_stage_address_and_time() -> None:
    out = console(terminal=False)
    with PlainView(out) as view:
        view.feed({"event": "planned", "total": 12, "up_to_date": 3})
        view.feed(event("started", at=""))
        view.feed(event("beat", seconds=1, memory_bytes=1, line="x"))
        view.feed(event("finished", outcome="built", seconds=6.21))
        view.feed(event("finished", outcome="blocked", seconds=0))
    assert text_of(out).splitlines() == [
        "[ 3/12] up to date: 3, to do: 9",
        f"[ 3/12] start compile {ADDRESS}",
        f"[ 4/12] built compile {ADDRESS} in 6.2 s",
        f"[ 5/12] blocked compile {ADDRESS}",
    ]


def test_plain_lines_are_never_wrapped_and_hold_no_escape() -> None:
    out = console(terminal=False, width=40)
    PlainView(out).feed(event("started", address="a/" * 40 + "\x1b[2J\n[red]x", at=""))
    assert text_of(out) == f"[0/0] start compile {'a/' * 40} [red]x\n"


def test_the_board_shows_a_bar_with_counts_and_one_line_a_node() -> None:
    clock = Clock()
    view = LiveView(console(), clock=clock)
    view.feed({"event": "planned", "total": 42, "up_to_date": 30})
    view.feed(event("finished", address="x", outcome="built", seconds=1))
    view.feed(event("finished", address="y", outcome="failed", seconds=1))
    view.feed(event("beat", seconds=65, memory_bytes=640_000_000, line="lowering convolution " * 9))
    clock.now += 2
    bar, line = drawn(view, width=100)
    assert bar.endswith("32/42  30 up to date  1 built  1 failed")
    assert line == (
        f"  compile      {ADDRESS}   1m 07s   640 MB  lowering convolution lowering convolu..."
    )


def test_a_narrow_board_keeps_the_costs_and_cuts_the_rest() -> None:
    view = LiveView(console(), clock=Clock())
    view.feed(event("beat", seconds=65, memory_bytes=640_000_000, line="lowering"))
    assert drawn(view, width=44)[1] == "  compile      minilm/e...   1m 05s   640 MB"


def test_the_board_is_never_taller_than_the_terminal() -> None:
    view = LiveView(console(), clock=Clock())
    for number in range(20):
        view.feed(event("started", address=f"m/c/f32/{number}", at=""))
    lines = drawn(view, height=10)
    assert (len(lines), lines[-1]) == (9, "  and 13 more running")


def test_leaving_the_board_restores_the_cursor_even_after_an_error() -> None:
    out = console()
    view = LiveView(out)
    view.feed(event("started", at=""))
    with pytest.raises(KeyError), view:
        raise KeyError
    text = text_of(out)
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1


def test_a_failure_stays_on_the_screen_after_the_board_is_gone() -> None:
    out = console()
    with LiveView(out) as view:
        view.feed(event("finished", outcome="failed", seconds=1))
    assert f"failed compile {ADDRESS}\n" in text_of(out)


def test_events_from_many_threads_are_all_counted() -> None:
    view = LiveView(console(), clock=Clock())
    view.feed({"event": "planned", "total": 400, "up_to_date": 0})

    def work(thread: int) -> None:
        for number in range(50):
            view.feed(event("started", address=f"{thread}/{number}", at=""))
            view.feed(event("finished", address=f"{thread}/{number}", outcome="built", seconds=1))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (bar,) = drawn(view)
    assert bar.endswith("400/400  400 built")


def test_the_view_fits_the_console() -> None:
    assert isinstance(open_view(console(terminal=True)), LiveView)
    assert isinstance(open_view(console(terminal=False)), PlainView)
    assert isinstance(open_view(console(terminal=True), progress=False), PlainView)


def test_the_null_view_writes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with NullView() as view:
        view.feed(event("started", at=""))
    assert capfd.readouterr() == ("", "")
