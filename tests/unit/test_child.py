"""One child process, watched: real processes, real signals, and nobody left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from tidemill.child import ChildEnd, ChildLimits, run_child, tree_memory

AMPLE = ChildLimits(seconds=60, memory_bytes=8 << 30)


def run(program: str, *, folder: Path, limits: ChildLimits = AMPLE, **options: object) -> ChildEnd:
    """Run a Python program as a child of this process; its log is ``folder``/log.txt."""
    return run_child(
        [sys.executable, "-I", "-c", textwrap.dedent(program)],
        folder=folder,
        log=folder / "log.txt",
        environment={"PATH": os.environ["PATH"], "WHO": "the child"},
        limits=limits,
        **options,  # type: ignore[arg-type]
    )


def log_of(folder: Path) -> str:
    return (folder / "log.txt").read_text()


def gone(pid: int, *, within: float = 10.0) -> bool:
    """Whether a process has ended, waiting for the kernel a generous time."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_the_exit_status_is_reported(tmp_path: Path, code: int) -> None:
    end = run(f"import sys; sys.exit({code})", folder=tmp_path)
    assert (end.ending, end.code) == ("exit", code)
    assert 0 < end.seconds < 60


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_is_reported_with_its_signal(tmp_path: Path, number: int) -> None:
    end = run(f"import os; os.kill(os.getpid(), {int(number)})", folder=tmp_path)
    assert (end.ending, end.code) == ("signal", number)


def test_output_and_errors_are_one_log_in_order(tmp_path: Path) -> None:
    program = """
        import os
        os.write(1, b"first\\n"); os.write(2, b"second\\n"); os.write(1, b"third\\n")
    """
    run(program, folder=tmp_path)
    assert log_of(tmp_path) == "first\nsecond\nthird\n"


def test_the_log_of_a_killed_child_is_kept(tmp_path: Path) -> None:
    program = "import time; print('here', flush=True); time.sleep(60)"
    end = run(program, folder=tmp_path, limits=ChildLimits(seconds=1, memory_bytes=8 << 30))
    assert end.ending == "timeout"
    assert log_of(tmp_path) == "here\n"


def test_a_child_reads_nothing_and_sees_only_its_environment(tmp_path: Path) -> None:
    program = """
        import os, sys
        print(repr(sys.stdin.read()), os.getcwd(), sorted(set(os.environ) - {"LC_CTYPE"}))
        print(os.environ["WHO"], os.getsid(0) == os.getpid())
    """
    assert run(program, folder=tmp_path).code == 0
    assert log_of(tmp_path) == f"'' {tmp_path} ['PATH', 'WHO']\nthe child True\n"


def test_a_command_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run_child(
            [str(tmp_path / "nothing")],
            folder=tmp_path,
            log=tmp_path / "log.txt",
            environment={},
            limits=AMPLE,
        )


WITH_GRANDCHILD = """
    import subprocess, sys, time
    other = subprocess.Popen([sys.executable, "-I", "-c", "import time; time.sleep(600)"])
    print(other.pid, flush=True)
    {then}
"""


def test_a_time_out_ends_the_whole_group(tmp_path: Path) -> None:
    end = run(
        WITH_GRANDCHILD.format(then="time.sleep(600)"),
        folder=tmp_path,
        limits=ChildLimits(seconds=2, memory_bytes=8 << 30),
    )
    assert (end.ending, end.code) == ("timeout", signal.SIGKILL)
    assert 2 <= end.seconds < 30
    assert gone(int(log_of(tmp_path)))


def test_a_grandchild_does_not_outlive_a_child_that_ends_well(tmp_path: Path) -> None:
    end = run(WITH_GRANDCHILD.format(then="sys.exit(0)"), folder=tmp_path)
    assert (end.ending, end.code) == ("exit", 0)
    assert gone(int(log_of(tmp_path)))


def test_too_much_memory_ends_the_child(tmp_path: Path) -> None:
    program = """
        import time
        held = b"x" * (300 << 20)
        print("holds", flush=True)
        time.sleep(60)
    """
    end = run(program, folder=tmp_path, limits=ChildLimits(seconds=60, memory_bytes=200 << 20))
    assert (end.ending, end.code) == ("memory", signal.SIGKILL)
    assert end.peak_memory_bytes > 200 << 20
    assert end.seconds < 30


def test_memory_of_grandchildren_counts(tmp_path: Path) -> None:
    program = """
        import subprocess, sys
        hold = "held = b'x' * (150 << 20); import time; time.sleep(60)"
        both = [subprocess.Popen([sys.executable, "-I", "-c", hold]) for _ in range(2)]
        print(*[each.pid for each in both], flush=True)
        both[0].wait()
    """
    end = run(program, folder=tmp_path, limits=ChildLimits(seconds=60, memory_bytes=250 << 20))
    assert end.ending == "memory"
    assert all(gone(int(pid)) for pid in log_of(tmp_path).split())


def test_peak_memory_is_what_the_child_held_and_not_more(tmp_path: Path) -> None:
    program = "held = b'x' * (300 << 20); del held; import time; time.sleep(0.6)"
    end = run(program, folder=tmp_path)
    assert 300 << 20 <= end.peak_memory_bytes < 600 << 20


def test_peak_memory_is_not_that_of_the_parent(tmp_path: Path) -> None:
    program = f"""
        from pathlib import Path
        from tidemill.child import ChildLimits, run_child
        held = b"x" * (400 << 20)
        end = run_child(
            ["sleep", "0.5"], folder=Path({str(tmp_path)!r}), log=Path({str(tmp_path / "inner")!r}),
            environment={{"PATH": {os.environ["PATH"]!r}}},
            limits=ChildLimits(seconds=60, memory_bytes=200 << 20),
        )
        print(end.ending, end.peak_memory_bytes)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        check=True,
        capture_output=True,
        text=True,
    )
    ending, peak = done.stdout.split()
    assert ending == "exit"
    assert 0 < int(peak) < 100 << 20


def test_beats_arrive_about_every_second_with_time_and_memory(tmp_path: Path) -> None:
    beats: list[tuple[float, int]] = []
    end = run(
        "import time; time.sleep(2.6)",
        folder=tmp_path,
        beat=lambda seconds, memory: beats.append((seconds, memory)),
    )
    assert end.code == 0
    assert 2 <= len(beats) <= end.seconds + 2
    assert [seconds for seconds, _ in beats] == sorted(seconds for seconds, _ in beats)
    assert all(memory > 1 << 20 for _, memory in beats[1:])


def test_an_error_while_watching_leaves_no_child(tmp_path: Path) -> None:
    class Interrupt(BaseException):
        pass

    def beat(seconds: float, memory: int) -> None:
        if "pid" in (log_of(tmp_path) or ""):
            raise Interrupt

    program = """
        import os, time
        print("pid", os.getpid(), flush=True)
        time.sleep(600)
    """
    with pytest.raises(Interrupt):
        run(program, folder=tmp_path, beat=beat)
    assert not psutil.pid_exists(int(log_of(tmp_path).split()[1]))


def test_the_child_dies_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = f"""
        import sys
        from pathlib import Path
        from tidemill.child import ChildLimits, run_child
        child = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
        run_child(
            [sys.executable, "-I", "-c", child],
            folder=Path({str(tmp_path)!r}), log=Path({str(tmp_path / "log.txt")!r}),
            environment={{}}, limits=ChildLimits(seconds=600, memory_bytes=8 << 30),
        )
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    deadline = time.monotonic() + 30
    while not (tmp_path / "log.txt").exists() or "\n" not in log_of(tmp_path):
        assert time.monotonic() < deadline, "the child never started"
        time.sleep(0.05)
    child = int(log_of(tmp_path))
    assert psutil.pid_exists(child)
    parent.kill()
    parent.wait()
    assert gone(child)


def test_a_tree_that_is_gone_holds_no_memory(tmp_path: Path) -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert tree_memory(done.pid) == 0
    assert tree_memory(os.getpid()) > 1 << 20
