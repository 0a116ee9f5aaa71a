"""The same manifests give the same bytes, in whatever folder, order and process they are built."""

import time

import psutil
import pytest

from tests.workbench import Workbench

pytestmark = pytest.mark.toolchain


def test_two_runs_in_different_folders_one_of_them_warm_give_the_same_bytes_keys_and_release(
    template: Workbench, fresh: Workbench
) -> None:
    assert fresh.root != template.root
    fresh.call("run", "small", "--workers", "1", "--no-release", "--no-warm")
    made = fresh.outputs()
    kinds = {name.rpartition(".")[2] for name in made}
    assert kinds == {"onnx", "mlir", "irpa", "npy", "json", "vmfb"}
    assert made == template.outputs()
    assert list(fresh.files("actions")) == list(template.files("actions"))
    fresh.call("release", "small")
    assert fresh.files("releases") == template.files("releases")


def test_steps_of_a_run_are_forks_of_a_process_that_ends_with_it(fresh: Workbench) -> None:
    running = fresh.start("run", "small", "--workers", "1", "--no-release")
    seen: dict[int, int] = {}  # child → warm process
    deadline = time.monotonic() + 300
    while running.poll() is None and time.monotonic() < deadline:
        for process in psutil.Process(running.pid).children(recursive=True):
            try:
                parent = process.parent()
                if parent and parent.ppid() == running.pid and "--warm" in parent.cmdline():
                    seen[process.pid] = parent.pid
            except psutil.Error:
                continue
        time.sleep(0.01)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, out + err
    assert len(seen) > 1
    assert len(set(seen.values())) == 1
    assert not any(psutil.pid_exists(pid) for pid in (*seen, *seen.values()))
