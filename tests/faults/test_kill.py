"""Kills and interrupts at seeded random moments: nothing torn, nothing left, nothing done twice."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable

import psutil
import pytest

from tests.workbench import Workbench

pytestmark = pytest.mark.toolchain

INTERRUPTED = "interrupted: running steps were ended; what was finished is kept\n"
MOMENTS = 3
Kill = Callable[["subprocess.Popen[str]"], bool]
ACTIONS = 13


def begin(bench: Workbench, *, workers: int = 2) -> "subprocess.Popen[str]":
    """Start a run and wait until its first step has started."""
    process = bench.start("run", "small", "--workers", str(workers), "--json")
    deadline = time.monotonic() + 60
    while not any(bench.root.glob(".tidemill/work/*/request.json")):
        assert process.poll() is None, "the run ended before a step has started"
        assert time.monotonic() < deadline, "no step has started"
        time.sleep(0.01)
    return process


def command_of(pid: int) -> list[str]:
    """The command line of a process; nothing once it has ended."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).cmdline()
    return []


def children_of(pid: int) -> list[psutil.Process]:
    """What a process has started and is still there; of a run: its workers, the warm process."""
    with contextlib.suppress(psutil.Error):
        return [one for one in psutil.Process(pid).children() if command_of(one.pid)]
    return []


def is_warm(process: psutil.Process) -> bool:
    """Whether this is a warm process or a step that it has forked."""
    return "--warm" in command_of(process.pid)


def workers_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """The workers of a run, each of which has one action: forks of it, so with its command line."""
    command = command_of(process.pid)
    return [one for one in children_of(process.pid) if command_of(one.pid) == command]


def steps_below(process: psutil.Process) -> list[psutil.Process]:
    """The steps that a worker or the warm process has running."""
    running = children_of(process.pid)
    if is_warm(process):  # its imports start programs that ask about the machine
        return [one for one in running if is_warm(one)]
    return running


def underway(process: "subprocess.Popen[str]") -> None:
    """Wait until a step runs, after what it imports."""
    while process.poll() is None and not any(map(steps_below, children_of(process.pid))):
        time.sleep(0.01)


def kill_first(victims: list[psutil.Process]) -> bool:
    """Kill one of some processes, if there is one; whether it was still there."""
    for victim in victims[:1]:
        with contextlib.suppress(psutil.Error):
            victim.kill()
            return True
    return False


def lose_a_worker(process: "subprocess.Popen[str]") -> bool:
    """Kill a worker whose step still runs; False when there is none at the moment."""
    for worker in workers_of(process):
        with contextlib.suppress(psutil.Error):
            worker.suspend()  # what it has not written down by now, it never will
            if steps_below(worker):
                worker.kill()
                return True
            worker.resume()
    return False


def kill_group(process: "subprocess.Popen[str]") -> bool:
    os.killpg(process.pid, signal.SIGKILL)
    return True


def kill_orchestrator(process: "subprocess.Popen[str]") -> bool:
    process.kill()
    return True


def kill_a_worker(process: "subprocess.Popen[str]") -> bool:
    return kill_first(workers_of(process))


def kill_the_warm_process(process: "subprocess.Popen[str]") -> bool:
    """Kill the warm process while a step of it runs, which is then killed as well."""
    return kill_first(
        [one for one in children_of(process.pid) if is_warm(one) and steps_below(one)]
    )


def kill_a_step(process: "subprocess.Popen[str]") -> bool:
    return kill_first([step for one in children_of(process.pid) for step in steps_below(one)])


def strike(process: "subprocess.Popen[str]", kill: Kill) -> bool:
    """Kill something of a run as soon as it is there; False if the run ended before."""
    while process.poll() is None:
        if kill(process):
            return True
        time.sleep(0.01)
    return False


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Exit code and standard error, once nobody holds its pipes any more."""
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def expect_whole(bench: Workbench, *, finished: dict[str, str]) -> dict[str, str]:
    """The records of the store, after seeing that it is sound and no finished action was redone."""
    assert bench.no_survivors() == []
    assert bench.torn() == []
    records = bench.files("actions")
    assert finished.items() <= records.items(), "a finished action was done again"
    return records


def converge(bench: Workbench, template: Workbench, *, finished: dict[str, str]) -> None:
    """A plain run does the rest and comes to what an undisturbed run comes to."""
    done = bench.run()
    records = expect_whole(bench, finished=finished)
    assert len(done.built) == len(records) - len(finished)
    assert list(records) == list(template.files("actions"))
    assert bench.outputs() == template.outputs()
    assert bench.files("releases") == template.files("releases")
    assert list((bench.root / ".tidemill/work").iterdir()) == []


@pytest.mark.parametrize(
    "kill", [kill_group, kill_orchestrator, kill_a_worker, kill_the_warm_process, kill_a_step]
)
def test_after_a_kill_nothing_is_torn_or_left_and_a_plain_run_does_the_rest(
    fresh: Workbench, template: Workbench, kill: Kill
) -> None:
    moments = random.Random(f"tide {kill.__name__}")
    finished: dict[str, str] = {}
    hits = 0
    for moment in range(MOMENTS):
        process = begin(fresh)
        if moment:  # the first is that of fetches and imports
            underway(process)
        time.sleep(moments.uniform(0.0, 1.5))
        hits += strike(process, kill)
        code, _ = ended(process)
        assert code in (-signal.SIGKILL, 0, 5)
        finished = expect_whole(fresh, finished=finished)
        if len(finished) == ACTIONS:
            shutil.rmtree(fresh.store)
            finished = {}
    assert hits > 1, "hardly any of the kills met what it was to kill"
    converge(fresh, template, finished=finished)


def test_a_lost_worker_is_a_failed_node_and_exit_code_five(fresh: Workbench) -> None:
    process = begin(fresh)
    assert strike(process, lose_a_worker)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 5
    assert '"outcome": "failed"' in out
    (failed,) = [
        node for node in fresh.call("status", "small", "--json", expect=5).json["nodes"]
        if node["outcome"] == "failed"
    ]  # fmt: skip
    assert failed["reasons"] == [
        "it did not run to its end and could not say why (killed, or the disk is full); run again"
    ]
    assert fresh.no_survivors() == []


def test_a_lost_worker_of_a_forced_run_is_a_failed_node_though_an_older_result_holds(
    built: Workbench,
) -> None:
    process = built.start("run", "small", "--workers", "2", "--json", "--force")
    assert strike(process, lose_a_worker)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 5
    outcomes = [node["outcome"] for node in json.loads(out)["nodes"]]
    assert "failed" in outcomes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_exits_with_130_and_leaves_no_child_and_no_torn_file(
    fresh: Workbench, template: Workbench, number: signal.Signals, workers: int
) -> None:
    moments = random.Random(f"ebb {number} {workers}")
    finished: dict[str, str] = {}
    for _ in range(2):
        process = begin(fresh, workers=workers)
        time.sleep(moments.uniform(0.0, 0.8))
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        code, err = ended(process)
        assert code == 130, err
        assert err.endswith(INTERRUPTED)
        assert "Traceback" not in err
        finished = expect_whole(fresh, finished=finished)
    converge(fresh, template, finished=finished)
