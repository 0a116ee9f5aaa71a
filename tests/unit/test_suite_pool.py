"""Forked workers: crashes, hangs and what leaks cost one piece of work and no other."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tidemill.errors import FailureClass, WorkError
from tidemill.steps.work.suite.pool import Death, Pool

Tell = Callable[[str], None]


def outcomes(work: Callable[[int, Tell], object], *, total: int, seconds: float = 60.0) -> object:
    """Number → result or death of every piece, in two workers."""
    return dict(Pool(work=work, count=2, seconds=seconds).each(total))


def test_every_piece_is_done_once_though_workers_are_replaced() -> None:
    assert outcomes(lambda number, _tell: number * number, total=230) == {
        number: number * number for number in range(230)
    }


def test_nothing_to_do_is_done_at_once() -> None:
    assert outcomes(lambda number, _tell: number, total=0) == {}


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_is_told_with_its_phase_and_loses_no_other_piece(number: signal.Signals) -> None:
    def work(piece: int, tell: Tell) -> int:
        tell("import")
        tell("run")
        if piece == 7:
            os.kill(os.getpid(), number)
        return piece

    found = outcomes(work, total=20)
    death = Death(phase="run", timed_out=False, code=-number)
    assert found == {n: death if n == 7 else n for n in range(20)}
    assert death.words == f"the process ended with {number.name} in run"


def test_a_piece_that_dies_of_what_others_left_behind_is_done_again_alone(tmp_path: Path) -> None:
    def work(piece: int, _tell: Tell) -> str:
        mine = tmp_path / str(os.getpid())
        if piece == 5 and mine.exists():
            os._exit(3)
        mine.touch()
        return "done"

    assert outcomes(work, total=6) == dict.fromkeys(range(6), "done")


def test_an_exit_by_itself_is_a_death_with_its_status() -> None:
    def work(piece: int, _tell: Tell) -> int:
        if piece == 1:
            os._exit(3)
        return piece

    death = Death(phase="its beginning", timed_out=False, code=3)
    assert outcomes(work, total=3) == {0: 0, 1: death, 2: 2}
    assert death.words == "the process ended with exit status 3 in its beginning"


def test_a_hang_is_ended_after_its_time() -> None:
    def work(piece: int, tell: Tell) -> int:
        if piece == 2:
            tell("run")
            time.sleep(600)
        return piece

    assert outcomes(work, total=4, seconds=0.5) == {
        0: 0,
        1: 1,
        2: Death(phase="run", timed_out=True, code=-signal.SIGKILL),
        3: 3,
    }


def test_no_process_is_left_when_nobody_wants_the_rest(tmp_path: Path) -> None:
    def work(piece: int, _tell: Tell) -> int:
        (tmp_path / str(os.getpid())).touch()
        return piece

    ends = Pool(work=work, count=2, seconds=60.0).each(1000)
    next(ends)
    ends.close()  # type: ignore[attr-defined]
    left = [path.name for path in tmp_path.iterdir() if Path(f"/proc/{path.name}").exists()]
    assert left == []


def test_a_worker_that_dies_while_it_is_idle_is_replaced() -> None:
    def work(piece: int, _tell: Tell) -> int:
        if piece == 0:  # gone once its answer is on the way
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        return piece

    ends = Pool(work=work, count=1, seconds=60.0).each(3)
    assert next(ends) == (0, 0)
    time.sleep(0.3)
    assert dict(ends) == {1: 1, 2: 2}


def test_a_piece_that_says_why_nothing_can_go_on_ends_all(tmp_path: Path) -> None:
    def work(piece: int, _tell: Tell) -> int:
        (tmp_path / str(os.getpid())).touch()
        if piece == 5:
            raise WorkError(FailureClass.INFRASTRUCTURE, "the disk is full", hint="make room")
        return piece

    with pytest.raises(WorkError, match="the disk is full") as caught:
        outcomes(work, total=1000)
    assert (caught.value.failure, caught.value.hint) == (FailureClass.INFRASTRUCTURE, "make room")
    left = [path.name for path in tmp_path.iterdir() if Path(f"/proc/{path.name}").exists()]
    assert left == []
