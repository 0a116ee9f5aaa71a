"""Which devices this host has, for deciding what can be validated here.

Cheap evidence first (device files, driver files); only where there is some is a program asked, so a
host without GPUs answers in about a millisecond. The result is frozen; ``Devices.absent`` says in
words why a target has no device here.
"""

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tidemill.toolchain.environment import Environment

_TIMEOUT_SECONDS = 20
_ICD_FOLDERS = ("usr/share/vulkan/icd.d", "usr/local/share/vulkan/icd.d", "etc/vulkan/icd.d")
_DEVICE = {"none": "local-task", "amdgpu": "hip", "nvidia": "cuda", "vulkan": "vulkan"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device. ``driver`` is local-task, hip, cuda or vulkan; ``uri`` is what runtimes are told.

    ``chip`` is the gfx name of an AMD GPU or the sm name of an NVIDIA one; empty otherwise.
    """

    driver: str
    uri: str
    chip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """What was found, and per driver why nothing was."""

    found: tuple[Device, ...]
    why: Mapping[str, str]

    def device_for(self, *, needs: str, chip: str) -> Device | None:
        """The first device that runs artifacts of a target with these ``needs`` and ``chip``."""
        driver = _DEVICE[needs]
        return next(
            (one for one in self.found if one.driver == driver and _runs(one.chip, chip)), None
        )

    def absent(self, *, needs: str, chip: str) -> str:
        """Why no device here runs such a target; empty when one does."""
        if self.device_for(needs=needs, chip=chip) is not None:
            return ""
        driver = _DEVICE[needs]
        others = ", ".join(one.chip for one in self.found if one.driver == driver)
        reason = f"it has {others}" if others else self.why.get(driver, "none found")
        return f"no {chip or driver} device on this host ({reason})"


class _Absent(Exception):  # noqa: N818 (not an error: the reason why there is none)
    """Why a driver has no device here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Host:
    """Where evidence is looked for, and the toolchain whose runtime is asked."""

    environment: Environment | None
    root: Path
    environ: Mapping[str, str]


def probe(
    environment: Environment | None,
    *,
    root: Path = Path("/"),
    environ: Mapping[str, str] = os.environ,
) -> Devices:
    """The devices of this host. Without ``environment`` no GPU counts: nothing could run on it.

    ``root`` is the file system that is looked at.
    """
    host = _Host(environment=environment, root=root, environ=environ)
    found = [Device(driver="local-task", uri="local-task")]
    why: dict[str, str] = {}
    searches: Mapping[str, Callable[[_Host], list[Device]]] = {
        "hip": _hip,
        "cuda": _cuda,
        "vulkan": _vulkan,
    }
    for driver, search in searches.items():
        try:
            found += search(host)
        except _Absent as reason:
            why[driver] = str(reason)
    return Devices(found=tuple(found), why=why)


def gfx_name(version: int) -> str:
    """The chip of a KFD topology node's ``gfx_target_version``, as 90402 → gfx942, 90010 → gfx90a.

    The number is major × 10000 + minor × 100 + stepping; the name has the last two in hexadecimal.
    """
    major, rest = divmod(version, 10000)
    minor, stepping = divmod(rest, 100)
    return f"gfx{major}{minor:x}{stepping:x}"


def _runs(has: str, wants: str) -> bool:
    """An AMD chip runs only its own code; an NVIDIA one what was made for it or an older one."""
    have, want = (re.fullmatch(r"sm_(\d+)", chip) for chip in (has, wants))
    if have and want:
        return int(have[1]) >= int(want[1])
    return not wants or has == wants


def _hip(host: _Host) -> list[Device]:
    if not (host.root / "dev/kfd").exists():
        raise _Absent("no /dev/kfd")
    nodes = (host.root / "sys/class/kfd/kfd/topology/nodes").glob("*/properties")
    chips = []
    for node in sorted(nodes, key=lambda path: int(path.parent.name)):
        match = re.search(r"^gfx_target_version (\d+)$", _text(node), re.MULTILINE)
        if match and int(match[1]):  # a CPU is a node too, with version 0
            chips.append(gfx_name(int(match[1])))
    if not chips:
        raise _Absent("/dev/kfd without a GPU in the KFD topology")
    return _paired("hip", chips, host)


def _cuda(host: _Host) -> list[Device]:
    if not any((host.root / path).exists() for path in ("dev/nvidiactl", "dev/nvidia0", "dev/dxg")):
        raise _Absent("no /dev/nvidiactl")
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    chips = [f"sm_{cap.replace('.', '')}" for cap in _lines(query, host) if cap[:1].isdigit()]
    if not chips:
        raise _Absent("nvidia-smi lists no GPU")
    return _paired("cuda", chips, host)


def _vulkan(host: _Host) -> list[Device]:
    named = any(host.environ.get(name) for name in ("VK_ICD_FILENAMES", "VK_DRIVER_FILES"))
    if not named and not any(any((host.root / folder).glob("*.json")) for folder in _ICD_FOLDERS):
        raise _Absent("no Vulkan driver is installed")
    return [Device(driver="vulkan", uri=uri) for uri in _listed("vulkan", host)]


def _paired(driver: str, chips: list[str], host: _Host) -> list[Device]:
    """The chips that the kernel knows, by position with the names the runtime has for them."""
    pairs = zip(_listed(driver, host), chips, strict=False)
    return [Device(driver=driver, uri=uri, chip=chip) for uri, chip in pairs]


def _listed(driver: str, host: _Host) -> list[str]:
    """What the toolchain's own runtime lists for ``driver``; at least one."""
    if host.environment is None:
        raise _Absent("the toolchain is not built, so its runtime cannot be asked")
    tool = host.environment.tool("iree-run-module")
    uris = [
        line
        for line in _lines([str(tool), f"--list_devices={driver}"], host)
        if line.startswith(f"{driver}://")
    ]
    if not uris:
        raise _Absent(f"iree-run-module lists no {driver} device")
    return uris


def _lines(command: list[str], host: _Host) -> list[str]:
    """What a program prints, or the reason why it says nothing."""
    try:
        done = subprocess.run(
            command,
            env=dict(host.environ),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _Absent(f"{Path(command[0]).name} does not answer: {type(error).__name__}") from error
    if done.returncode:
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        # IREE prints a banner with a smiley first; the line that tells has a status name in it.
        telling = next((line for line in said if re.search(r"\b[A-Z_]{8,};", line)), "")
        detail = re.sub(r"^.*?(?=\b[A-Z_]{8,};)", "", telling or (said or ["no output"])[-1])
        raise _Absent(f"{Path(command[0]).name} {' '.join(command[1:2])}: {detail}")
    return [line.strip() for line in done.stdout.splitlines()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
