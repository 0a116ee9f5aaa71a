"""What a benchmark's numbers hold for; folders stand in for /proc and /sys."""

from pathlib import Path

import pytest

from tests.unit.test_toolchain_probe import runtime
from tidemill.processors import processors
from tidemill.toolchain.machine import (
    device_title,
    driver_version,
    machine_of,
    processor_name,
)
from tidemill.toolchain.probe import Device

CPUINFO = """\
processor\t: 0
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
stepping\t: 1

processor\t: 1
cpu family\t: 6
model name\t: another
"""
DUMPED = """\
# ===----------------------------------------------------------------------===
# --device=hip://GPU-aa
#   AMD Instinct MI300X
# ===----------------------------------------------------------------------===

# ===----------------------------------------------------------------------===
# --device=hip://GPU-bb
#   AMD Radeon PRO W7900
# ===----------------------------------------------------------------------===
"""


def write(root: Path, file: str, text: str) -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_a_processor_is_told_with_the_numbers_that_its_name_leaves_out() -> None:
    assert processor_name(CPUINFO) == "AMD EPYC (cpu family 25, model 17, stepping 1)"


def test_a_processor_of_another_kind_still_has_a_name() -> None:
    assert processor_name("") != ""


def test_the_host_is_its_processor_and_how_many_there_are(tmp_path: Path) -> None:
    write(tmp_path, "proc/cpuinfo", CPUINFO)
    cpu = Device(driver="local-task", uri="local-task")
    found = machine_of(cpu, environment=runtime(tmp_path / "env", "exit 9"), root=tmp_path)
    assert found == {
        "device": "AMD EPYC (cpu family 25, model 17, stepping 1)",
        "driver": "local-task",
        "processors": processors(),
    }


def test_a_gpu_is_called_as_the_runtime_calls_it_with_the_version_of_its_driver(
    tmp_path: Path,
) -> None:
    write(tmp_path, "sys/module/amdgpu/version", "6.10.5\n")
    environment = runtime(tmp_path / "env", f"cat <<'EOF'\n{DUMPED}EOF")
    gpu = Device(driver="hip", uri="hip://GPU-bb", chip="gfx1100")
    found = machine_of(gpu, environment=environment, root=tmp_path)
    assert (found["device"], found["driver"]) == ("AMD Radeon PRO W7900", "amdgpu 6.10.5")


def test_two_equal_gpus_of_a_host_are_one_machine(tmp_path: Path) -> None:
    dumped = DUMPED.replace("AMD Radeon PRO W7900", "AMD Instinct MI300X")
    environment = runtime(tmp_path / "env", f"cat <<'EOF'\n{dumped}EOF")
    one, other = (
        machine_of(Device(driver="hip", uri=uri), environment=environment, root=tmp_path)
        for uri in ("hip://GPU-aa", "hip://GPU-bb")
    )
    assert one == other


def test_a_runtime_that_does_not_answer_leaves_the_chip(tmp_path: Path) -> None:
    write(tmp_path, "proc/sys/kernel/osrelease", "6.8.0\n")
    gpu = Device(driver="hip", uri="hip://GPU-aa", chip="gfx942")
    found = machine_of(gpu, environment=runtime(tmp_path / "env", "exit 1"), root=tmp_path)
    assert (found["device"], found["driver"]) == ("gfx942", "amdgpu of Linux 6.8.0")


@pytest.mark.parametrize(
    ("driver", "files", "dumped", "version"),
    [
        ("cuda", {"sys/module/nvidia/version": "580.95\n"}, "", "nvidia 580.95"),
        ("vulkan", {}, "# driver version: 25.0.7\n", "vulkan 25.0.7"),
        ("vulkan", {"proc/sys/kernel/osrelease": "6.8.0\n"}, "", "vulkan of Linux 6.8.0"),
    ],
)
def test_the_version_of_a_driver_is_found_where_it_is_told(
    tmp_path: Path, driver: str, files: dict[str, str], dumped: str, version: str
) -> None:
    for file, text in files.items():
        write(tmp_path, file, text)
    assert driver_version(driver, root=tmp_path, dumped=dumped) == version


def test_a_device_that_is_not_listed_has_no_title() -> None:
    assert device_title(DUMPED, uri="hip://GPU-aa") == "AMD Instinct MI300X"
    assert device_title(DUMPED, uri="hip://GPU-a") == ""
