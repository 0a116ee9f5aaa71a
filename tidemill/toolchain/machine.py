"""What a benchmark's numbers hold for: the device, its driver, and how many processors serve it.

It is part of a benchmark's key. Which of several equal devices was used, and the host's name, are
not: their numbers are comparable.
"""

import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from tidemill.processors import processors
from tidemill.toolchain.environment import Environment
from tidemill.toolchain.probe import Device

_TIMEOUT_SECONDS = 20
_PROCESSOR = ("model name", "cpu family", "model", "stepping")
#: Where the kernel says which version of a driver is loaded.
_MODULES = {"hip": "amdgpu", "cuda": "nvidia"}


def machine_of(
    device: Device, *, environment: Environment, root: Path = Path("/")
) -> dict[str, Any]:
    """``device`` and ``driver`` in words, and ``processors``. ``root`` is the file system."""
    if device.driver == "local-task":
        return {
            "device": processor_name(_text(root / "proc/cpuinfo")),
            "driver": device.driver,
            "processors": processors(),
        }
    dumped = _dumped(environment.tool("iree-run-module"), device.driver)
    return {
        "device": device_title(dumped, uri=device.uri) or device.chip or device.driver,
        "driver": driver_version(device.driver, root=root, dumped=dumped),
        "processors": processors(),
    }


def processor_name(cpuinfo: str) -> str:
    """The first processor of /proc/cpuinfo: its name with family, model and stepping.

    A virtual machine's processor often has a name that says little.
    """
    found = dict[str, str]()
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    numbers = [f"{name} {found[name]}" for name in _PROCESSOR[1:] if name in found]
    title = found.get("model name") or platform.machine()
    return f"{title} ({', '.join(numbers)})" if numbers else title


def device_title(dumped: str, *, uri: str) -> str:
    """What ``iree-run-module --dump_devices`` calls the device of a URI; "" where it does not."""
    lines = iter(dumped.splitlines())
    for line in lines:
        if line.strip() == f"# --device={uri}":
            return next(lines, "").lstrip("# ").strip()
    return ""


def driver_version(driver: str, *, root: Path, dumped: str) -> str:
    """The driver with its version: as its kernel module says it, else as the runtime's list does.

    A driver in the kernel's own tree has no other version than the kernel's.
    """
    module = _MODULES.get(driver)
    if module and (version := _text(root / f"sys/module/{module}/version").strip()):
        return f"{module} {version}"
    told = re.search(r"driver[ _-]?version[^0-9]*([\d.]+)", dumped, re.IGNORECASE)
    if told:
        return f"{driver} {told[1]}"
    kernel = _text(root / "proc/sys/kernel/osrelease").strip()
    return f"{module or driver} of Linux {kernel}"


def _dumped(tool: Path, driver: str, /) -> str:
    try:
        return subprocess.run(
            [str(tool), f"--dump_devices={driver}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            check=False,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
