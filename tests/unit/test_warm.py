"""A warm process: real forks of it, watched like any child, and nobody left behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from tests.unit.test_child import AMPLE, gone, log_of
from tidemill.child import ChildEnd, ChildLimits, run_child
from tidemill.warm import Warm, warm_process

#: Serves like main.py, but what a child does is a program in its folder.
SERVER = """
import runpy, socket, sys
from tidemill.steps.work import warm

def run():
    try:
        runpy.run_path("program.py")
    except SystemExit as end:
        return int(end.code or 0)
    return 0

warm.serve(socket.socket(fileno=int(sys.argv[2])), modules=sys.argv[3:], run=run)
"""
COMMAND = [sys.executable, "-c", SERVER]
MODULES = ["fractions"]
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Warm]:
    folder = tmp_path / "warm"
    folder.mkdir()
    with warm_process(COMMAND, modules=MODULES, folder=folder, environment=ENVIRONMENT) as one:
        yield one


def run(
    warm: Warm,
    program: str,
    *,
    folder: Path,
    limits: ChildLimits = AMPLE,
    command: tuple[str, ...] = ("there-is-nothing-to-fall-back-to",),
) -> ChildEnd:
    """Have a Python program run by a fork of the warm process; its log is ``folder``/log.txt."""
    (folder / "program.py").write_text(textwrap.dedent(program), encoding="utf-8")
    return run_child(
        command,
        folder=folder,
        log=folder / "log.txt",
        environment={"PATH": os.environ["PATH"], "WHO": "the child"},
        limits=limits,
        start=warm.start,
    )


COLD = (sys.executable, "-I", "-c", "print('by itself')")


def begun_by_itself(
    folder: Path, *modules: str, environment: Mapping[str, str] = ENVIRONMENT
) -> str:
    """Run one action beside a warm process that does not serve; what that said last."""
    place = folder / "unwilling"
    place.mkdir()
    with warm_process(COMMAND, modules=modules, folder=place, environment=environment) as warm:
        assert run(warm, "print('warm')", folder=folder, command=COLD).code == 0
        assert log_of(folder) == "by itself\n"
        deadline = time.monotonic() + 30
        while not warm.gone and time.monotonic() < deadline:
            time.sleep(0.02)
        assert warm.gone
    return log_of(place).splitlines()[-1]


def server_of(folder: Path, warm: Warm) -> psutil.Process:
    """The warm process itself, which is the parent of a child."""
    run(warm, "import os; print(os.getppid())", folder=folder)
    return psutil.Process(int(log_of(folder)))


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_the_exit_status_is_reported(warm: Warm, tmp_path: Path, code: int) -> None:
    end = run(warm, f"import sys; sys.exit({code})", folder=tmp_path)
    assert (end.ending, end.code) == ("exit", code)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_is_reported_with_its_signal(warm: Warm, tmp_path: Path, number: int) -> None:
    end = run(warm, f"import os; os.kill(os.getpid(), {int(number)})", folder=tmp_path)
    assert (end.ending, end.code) == ("signal", number)


def test_a_traceback_is_in_the_log(warm: Warm, tmp_path: Path) -> None:
    end = run(warm, "raise ValueError('not this')", folder=tmp_path)
    assert (end.ending, end.code) == ("exit", 1)
    assert log_of(tmp_path).endswith("ValueError: not this\n")


def test_a_log_that_cannot_be_written_is_told_by_the_exit_status(
    warm: Warm, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text("raise ValueError('nobody can read this')")
    (tmp_path / "log.txt").symlink_to("/dev/full")
    end = run_child(
        ["nothing"],
        folder=tmp_path,
        log=tmp_path / "log.txt",
        environment={},
        limits=AMPLE,
        start=warm.start,
    )
    assert (end.ending, end.code) == ("exit", 120)


def test_a_child_has_the_imports_its_own_folder_and_nothing_of_the_server(
    warm: Warm, tmp_path: Path
) -> None:
    program = """
        import os, sys, tempfile
        print("fractions" in sys.modules, sys.argv[1:], repr(sys.stdin.read()), os.getcwd())
        print(sorted(os.environ), os.environ["WHO"], os.getsid(0) == os.getpid())
        print(sorted(os.listdir("/proc/self/fd"), key=int))
    """
    assert run(warm, program, folder=tmp_path).code == 0
    imports, variables, files = log_of(tmp_path).splitlines()
    assert imports == f"True [] '' {tmp_path}"
    assert variables == "['PATH', 'WHO'] the child True"
    assert files == "['0', '1', '2', '3']"  # and the listing itself


def test_no_child_sees_what_another_did(warm: Warm, tmp_path: Path) -> None:
    program = """
        import fractions
        print(hasattr(fractions, "spoiled"))
        fractions.spoiled = True
    """
    for _ in range(2):
        run(warm, program, folder=tmp_path)
        assert log_of(tmp_path) == "False\n"


WITH_GRANDCHILD = """
    import subprocess, sys, time
    other = subprocess.Popen([sys.executable, "-I", "-c", "import time; time.sleep(600)"])
    print(other.pid, flush=True)
    {then}
"""


def test_a_time_out_ends_the_whole_group(warm: Warm, tmp_path: Path) -> None:
    end = run(
        warm,
        WITH_GRANDCHILD.format(then="time.sleep(600)"),
        folder=tmp_path,
        limits=ChildLimits(seconds=2, memory_bytes=8 << 30),
    )
    assert (end.ending, end.code) == ("timeout", signal.SIGKILL)
    assert gone(int(log_of(tmp_path)))


def test_a_grandchild_does_not_outlive_a_child_that_ends_well(warm: Warm, tmp_path: Path) -> None:
    end = run(warm, WITH_GRANDCHILD.format(then="sys.exit(0)"), folder=tmp_path)
    assert (end.ending, end.code) == ("exit", 0)
    assert gone(int(log_of(tmp_path)))


def test_too_much_memory_ends_the_child(warm: Warm, tmp_path: Path) -> None:
    program = "import time; held = b'x' * (300 << 20); time.sleep(60)"
    limits = ChildLimits(seconds=60, memory_bytes=200 << 20)
    end = run(warm, program, folder=tmp_path, limits=limits)
    assert end.ending == "memory"
    assert end.peak_memory_bytes > 200 << 20


def test_a_child_that_is_ended_before_it_has_begun_leaves_a_log(warm: Warm, tmp_path: Path) -> None:
    for _ in range(10):
        (tmp_path / "log.txt").unlink(missing_ok=True)
        limits = ChildLimits(seconds=60, memory_bytes=1 << 20)
        end = run(warm, "import time; time.sleep(600)", folder=tmp_path, limits=limits)
        assert end.ending == "memory"
        assert log_of(tmp_path) == ""


def test_peak_memory_is_what_the_child_held(warm: Warm, tmp_path: Path) -> None:
    end = run(warm, "held = b'x' * (300 << 20)", folder=tmp_path)
    assert 300 << 20 <= end.peak_memory_bytes < 600 << 20
    end = run(warm, "pass", folder=tmp_path)
    assert 0 < end.peak_memory_bytes < 200 << 20


def requester_of(warm: Warm, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A process that watches a long child of the warm process, and that child's number."""
    (folder / "program.py").write_text(
        "import os, time; print(os.getpid(), flush=True); time.sleep(600)", encoding="utf-8"
    )
    watcher = f"""
        from pathlib import Path
        from tidemill.child import ChildLimits, run_child
        from tidemill.warm import Warm
        folder = Path({str(folder)!r})
        end = run_child(
            ["nothing"], folder=folder, log=folder / "log.txt", environment={{}},
            limits=ChildLimits(seconds=600, memory_bytes=8 << 30),
            start=Warm({warm.address!r}).start,
        )
        print(end.ending, end.code)
    """
    watching = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(watcher)], stdout=subprocess.PIPE
    )
    deadline = time.monotonic() + 30
    while not (folder / "log.txt").exists() or "\n" not in log_of(folder):
        assert time.monotonic() < deadline, "the child never started"
        time.sleep(0.05)
    return watching, int(log_of(folder))


def test_a_child_dies_when_who_asked_for_it_is_killed(warm: Warm, tmp_path: Path) -> None:
    watching, child = requester_of(warm, tmp_path)
    assert psutil.pid_exists(child)
    watching.kill()
    watching.communicate()
    assert gone(child)
    assert run(warm, "pass", folder=tmp_path).code == 0


def test_a_child_dies_with_the_warm_process_and_the_next_begins_by_itself(
    warm: Warm, tmp_path: Path
) -> None:
    server = server_of(tmp_path, warm)
    (tmp_path / "log.txt").unlink()
    watching, child = requester_of(warm, tmp_path)
    server.kill()
    said, _ = watching.communicate(timeout=60)
    assert said.split() == [b"signal", b"9"]
    assert gone(child)
    assert run(warm, "print('warm')", folder=tmp_path, command=COLD).code == 0
    assert log_of(tmp_path) == "by itself\n"


def test_the_end_of_the_run_ends_the_warm_process_and_its_children(tmp_path: Path) -> None:
    with warm_process(COMMAND, modules=(), folder=tmp_path, environment=ENVIRONMENT) as warm:
        server = server_of(tmp_path, warm)
        (tmp_path / "log.txt").unlink()
        watching, child = requester_of(warm, tmp_path)
    assert not server.is_running()
    assert gone(child)
    watching.communicate(timeout=60)


def test_the_warm_process_dies_with_the_run(tmp_path: Path) -> None:
    holder = f"""
        import time
        from pathlib import Path
        from tests.unit.test_warm import COMMAND, ENVIRONMENT, server_of
        from tidemill.warm import warm_process
        folder = Path({str(tmp_path)!r})
        with warm_process(COMMAND, modules=(), folder=folder, environment=ENVIRONMENT) as warm:
            print(server_of(folder, warm).pid, flush=True)
            time.sleep(600)
    """
    program = [sys.executable, "-c", textwrap.dedent(holder)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(program, stdout=subprocess.PIPE, cwd=root) as holding:
        assert holding.stdout
        server = int(holding.stdout.readline())
        assert psutil.pid_exists(server)
        holding.kill()
    assert gone(server)


def module(folder: Path, text: str) -> dict[str, str]:
    """Variables with which a module ``odd`` of this text can be imported."""
    (folder / "odd.py").write_text(text, encoding="utf-8")
    return {**ENVIRONMENT, "PYTHONPATH": f"{ENVIRONMENT['PYTHONPATH']}:{folder}"}


def test_where_an_import_leaves_a_thread_actions_begin_by_themselves(tmp_path: Path) -> None:
    text = (
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    )
    said = begun_by_itself(tmp_path, "odd", environment=module(tmp_path, text))
    assert said == "an import has left a thread running"


def test_where_an_import_fails_actions_begin_by_themselves(tmp_path: Path) -> None:
    said = begun_by_itself(tmp_path, "there.is.no.such.module")
    assert said == "ModuleNotFoundError: No module named 'there'"


def test_where_an_import_never_ends_actions_begin_by_themselves(tmp_path: Path) -> None:
    text = "import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0.5)\ntime.sleep(600)\n"
    text += "print('not reached')\n"
    place = tmp_path / "unwilling"
    place.mkdir()
    environment = module(tmp_path, text)  # its own alarm comes sooner than the one it was given
    with warm_process(COMMAND, modules=["odd"], folder=place, environment=environment) as warm:
        assert run(warm, "print('warm')", folder=tmp_path, command=COLD).code == 0
    assert log_of(tmp_path) == "by itself\n"


def test_nothing_is_begun_for_who_has_turned_away(tmp_path: Path) -> None:
    place = tmp_path / "warm"
    place.mkdir()
    environment = module(tmp_path, "import time\ntime.sleep(1.5)\n")
    with warm_process(COMMAND, modules=["odd"], folder=place, environment=environment) as warm:
        (tmp_path / "log.txt").write_text("another's", encoding="utf-8")
        request = {"folder": str(tmp_path), "log": str(tmp_path / "log.txt"), "environment": {}}
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
            line.connect(warm.address)
            line.send(json.dumps(request).encode())
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        assert run(warm, "pass", folder=elsewhere).code == 0  # asked later, so served later
        assert log_of(tmp_path) == "another's"


def test_a_limit_that_has_passed_at_once_ends_the_child_at_once(warm: Warm, tmp_path: Path) -> None:
    for _ in range(10):
        limits = ChildLimits(seconds=0.0, memory_bytes=8 << 30)
        end = run(warm, "import time; time.sleep(600)", folder=tmp_path, limits=limits)
        assert end.ending == "timeout"


def test_a_stopped_warm_process_does_not_change_how_an_action_ended(
    warm: Warm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.warm._END_SECONDS", 0.5)
    server = server_of(tmp_path, warm)

    def beat(_seconds: float, _memory: int) -> None:
        server.suspend()

    (tmp_path / "program.py").write_text("import time; time.sleep(600)", encoding="utf-8")
    end = run_child(
        ["nothing"],
        folder=tmp_path,
        log=tmp_path / "log.txt",
        environment={},
        limits=ChildLimits(seconds=2, memory_bytes=8 << 30),
        beat=beat,
        start=warm.start,
    )
    assert end.ending == "timeout"


def test_edited_code_is_not_served(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    shutil.copytree(root / "tidemill", tmp_path / "tidemill")
    environment = {**ENVIRONMENT, "PYTHONPATH": str(tmp_path)}
    place = tmp_path / "warm"
    place.mkdir()
    with warm_process(
        COMMAND, modules=["tidemill.errors"], folder=place, environment=environment
    ) as warm:
        assert run(warm, "print('warm')", folder=tmp_path, command=COLD).code == 0
        assert log_of(tmp_path) == "warm\n"
        edited = tmp_path / "tidemill/errors.py"
        text = edited.read_text(encoding="utf-8")
        edited.write_text(text, encoding="utf-8")  # there and back again leaves a new stamp
        assert run(warm, "print('warm')", folder=tmp_path, command=COLD).code == 0
        assert log_of(tmp_path) == "by itself\n"
