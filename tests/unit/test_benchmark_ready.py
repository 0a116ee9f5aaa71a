"""Benchmarks of a whole graph made ready: packages that peers need, flags, the machine's name."""

from pathlib import Path

import pytest

from tests.unit.made import parts_of, write_workspace
from tests.unit.test_benchmark_graph import CPU, GPU, asking
from tests.unit.test_tool_flags import HELP
from tests.unit.test_toolchain_probe import program
from tidemill.errors import ManifestError
from tidemill.graph import Graph
from tidemill.graph_build import build_graph
from tidemill.graph_measured import ready_benchmarks
from tidemill.steps.work.benchmark_command import TOOL
from tidemill.toolchain.environment import STAMP, folder_of
from tidemill.toolchain.lock import Lock, parse_lock
from tidemill.toolchain.probe import Device, Devices
from tidemill.toolchain.toolchains import Toolchains

PACKAGES = ("iree-base-runtime", "numpy", "torch", "transformers")
CPU_ONLY = Devices(found=(Device(driver="local-task", uri="local-task"),), why={})


def lock_of(*packages: str) -> Lock:
    lines = (f"{name}==1.0 --hash=sha256:{'a' * 64}" for name in packages)
    return parse_lock("\n".join(lines), name="tonight", file="tonight.lock")


def ready(root: Path, asked: str, *, lock: Lock) -> Graph:
    part, targets = parts_of(write_workspace(root / "workspace", model=asking(asked)))
    return ready_benchmarks(
        build_graph([part], targets=targets, compiler="3.13.0"),
        toolchains=Toolchains(own=lock, others={}, state=root),
        targets=targets,
        devices=lambda: CPU_ONLY,
    )


def build(root: Path, lock: Lock) -> None:
    """The environment of a lock, as far as benchmarks look at it."""
    folder = folder_of(root) / f"{lock.name}-{lock.digest[:12]}"
    program(folder / "bin/python", "exit 0")
    program(folder / "bin/iree-run-module", "exit 0")
    program(folder / f"bin/{TOOL}", f"cat <<'EOF'\n{HELP}EOF")
    (folder / STAMP).touch()


@pytest.fixture(autouse=True)
def own_toolchains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDEMILL_TOOLCHAINS", raising=False)


def test_a_package_that_the_toolchain_lacks_is_named_before_anything_is_built(
    tmp_path: Path,
) -> None:
    asked = "{functions: [{name: main, sample: noise}], peers: [onnxruntime, torch_eager]}"
    without = [name for name in PACKAGES if name != "torch"]
    with pytest.raises(ManifestError) as caught:
        ready(tmp_path, asked, lock=lock_of(*without))
    lines = caught.value.message.splitlines()
    assert "tiny/encoder/f32/cpu: toolchain tonight pins no package torch" in lines
    assert len(lines) == 4  # two dtypes, two targets


def test_a_toolchain_without_onnxruntime_measures_the_other_peers(tmp_path: Path) -> None:
    asked = "{functions: [{name: main, sample: noise}], peers: [onnxruntime, torch_eager]}"
    node = ready(tmp_path / "without", asked, lock=lock_of(*PACKAGES)).nodes[CPU]
    why = "the component's toolchain pins no package onnxruntime"
    assert node.fields["absent_peers"] == {"onnxruntime": why}
    assert "onnxruntime" not in node.tools
    whole = ready(tmp_path / "with", asked, lock=lock_of(*PACKAGES, "onnxruntime")).nodes[CPU]
    assert "absent_peers" not in whole.fields
    assert "onnxruntime" in whole.tools


def test_flags_are_checked_by_the_tool_of_the_toolchain(tmp_path: Path) -> None:
    lock = lock_of(*PACKAGES)
    build(tmp_path, lock)
    asked = "{functions: [{name: main, sample: noise}], targets: [cpu], flags: [--bogus=1]}"
    with pytest.raises(ManifestError, match=f"{TOOL} 1.0 has no flag --bogus"):
        ready(tmp_path, asked, lock=lock)


def test_the_machine_is_that_of_the_device_and_nothing_where_there_is_none(
    tmp_path: Path,
) -> None:
    lock = lock_of(*PACKAGES)
    build(tmp_path, lock)
    found = ready(tmp_path, "{functions: [{name: main, sample: noise}]}", lock=lock).nodes
    assert found[CPU].fields["machine"]["driver"] == "local-task"
    assert found[GPU].fields["machine"] == {}


def test_a_graph_without_benchmarks_asks_for_nothing(tmp_path: Path) -> None:
    part, targets = parts_of(write_workspace(tmp_path / "workspace"))
    graph = build_graph([part], targets=targets, compiler="3.13.0")

    def nobody() -> Devices:
        raise AssertionError("devices were looked for")

    chains = Toolchains(own=lock_of("numpy"), others={}, state=tmp_path)
    assert ready_benchmarks(graph, toolchains=chains, targets=targets, devices=nobody) is graph
