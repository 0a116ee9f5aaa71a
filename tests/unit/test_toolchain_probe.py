"""Devices are found by evidence in the file system first; folders stand in for /dev and /sys."""

import os
from pathlib import Path

import pytest

from tidemill.toolchain.environment import Environment
from tidemill.toolchain.lock import parse_lock
from tidemill.toolchain.probe import Device, Devices, gfx_name, probe

LOCK = parse_lock(f"torch==1 --hash=sha256:{'a' * 64}", name="t", file="t.lock")


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def runtime(root: Path, script: str) -> Environment:
    """An environment whose ``iree-run-module`` is ``script``."""
    program(root / "bin" / "iree-run-module", script)
    return Environment(lock=LOCK, root=root)


def node(root: Path, number: int, version: int) -> None:
    folder = root / "sys/class/kfd/kfd/topology/nodes" / str(number)
    folder.mkdir(parents=True)
    (folder / "properties").write_text(f"simd_count 4\ngfx_target_version {version}\n")


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_a_host_without_gpus_has_the_cpu_and_a_reason_for_each_other(tmp_path: Path) -> None:
    devices = probe(None, root=tmp_path, environ={})
    assert devices.found == (Device(driver="local-task", uri="local-task"),)
    assert devices.absent(needs="none", chip="") == ""
    for needs, chip, words in (
        ("amdgpu", "gfx942", "no gfx942 device on this host (no /dev/kfd)"),
        ("nvidia", "sm_89", "no sm_89 device on this host (no /dev/nvidiactl)"),
        ("vulkan", "", "no vulkan device on this host (no Vulkan driver is installed)"),
    ):
        assert devices.absent(needs=needs, chip=chip) == words


@pytest.mark.parametrize(
    ("version", "chip"),
    [
        (90010, "gfx90a"),
        (90402, "gfx942"),
        (90500, "gfx950"),
        (110000, "gfx1100"),
        (120001, "gfx1201"),
    ],
)
def test_the_kernel_number_of_a_chip_is_its_gfx_name(version: int, chip: str) -> None:
    assert gfx_name(version) == chip


def test_amd_gpus_are_matched_by_their_exact_chip(tmp_path: Path) -> None:
    touch(tmp_path / "dev/kfd")
    node(tmp_path, 0, 0)
    node(tmp_path, 1, 90402)
    node(tmp_path, 2, 110000)
    environment = runtime(tmp_path / "env", "echo hip://GPU-aa; echo hip://GPU-bb")
    devices = probe(environment, root=tmp_path, environ=dict(os.environ))
    assert devices.device_for(needs="amdgpu", chip="gfx1100") == Device(
        driver="hip", uri="hip://GPU-bb", chip="gfx1100"
    )
    assert devices.absent(needs="amdgpu", chip="gfx90a") == (
        "no gfx90a device on this host (it has gfx942, gfx1100)"
    )


def test_a_gpu_that_the_runtime_cannot_open_does_not_count(tmp_path: Path) -> None:
    touch(tmp_path / "dev/kfd")
    node(tmp_path, 1, 90402)
    environment = runtime(
        tmp_path / "env",
        "echo 'FLAGS ERROR' >&2; echo 'c/x.c:155: UNAVAILABLE; no libamdhip64.so' >&2; exit 1",
    )
    devices = probe(environment, root=tmp_path, environ=dict(os.environ))
    assert devices.absent(needs="amdgpu", chip="gfx942") == (
        "no gfx942 device on this host"
        " (iree-run-module --list_devices=hip: UNAVAILABLE; no libamdhip64.so)"
    )


def test_without_a_toolchain_no_gpu_counts(tmp_path: Path) -> None:
    touch(tmp_path / "dev/kfd")
    node(tmp_path, 1, 90402)
    devices = probe(None, root=tmp_path, environ={})
    assert devices.absent(needs="amdgpu", chip="gfx942") == (
        "no gfx942 device on this host (the toolchain is not built, so its runtime cannot be asked)"
    )


def test_an_nvidia_gpu_runs_what_was_made_for_it_or_an_older_one(tmp_path: Path) -> None:
    touch(tmp_path / "dev/nvidiactl")
    program(tmp_path / "bin/nvidia-smi", "echo 9.0")
    environment = runtime(tmp_path / "env", "echo cuda://GPU-aa")
    environ = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    devices = probe(environment, root=tmp_path, environ=environ)
    assert devices.absent(needs="nvidia", chip="sm_89") == ""
    assert devices.absent(needs="nvidia", chip="sm_120") == (
        "no sm_120 device on this host (it has sm_90)"
    )


@pytest.mark.parametrize("installed", [True, False])
def test_vulkan_is_asked_where_a_driver_is_installed_or_named(
    tmp_path: Path, installed: bool
) -> None:
    environ = {"PATH": os.environ["PATH"]}
    if installed:
        touch(tmp_path / "usr/share/vulkan/icd.d/lvp_icd.x86_64.json")
    else:
        environ["VK_ICD_FILENAMES"] = "lvp_icd.json"
    environment = runtime(tmp_path / "env", "echo vulkan://00000000")
    devices = probe(environment, root=tmp_path, environ=environ)
    assert devices.device_for(needs="vulkan", chip="") == Device(
        driver="vulkan", uri="vulkan://00000000"
    )


def test_an_empty_list_is_a_reason(tmp_path: Path) -> None:
    touch(tmp_path / "usr/share/vulkan/icd.d/x.json")
    environment = runtime(tmp_path / "env", "true")
    devices = probe(environment, root=tmp_path, environ={"PATH": os.environ["PATH"]})
    assert devices.absent(needs="vulkan", chip="") == (
        "no vulkan device on this host (iree-run-module lists no vulkan device)"
    )


def test_a_driver_without_a_reason_still_has_words() -> None:
    devices = Devices(found=(), why={})
    assert devices.absent(needs="none", chip="") == "no local-task device on this host (none found)"
