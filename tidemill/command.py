"""The command line of an action, and the variables that its process sees."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidemill.records import Stage
from tidemill.steps.compile import compile_command
from tidemill.steps.table import STEPS
from tidemill.toolchain.environment import Environment

WORK_MAIN = Path(__file__).parent / "steps" / "work" / "main.py"

#: What a child in the toolchain may see of the caller's environment: devices and drivers, no more.
_PASSED = (
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
    "ROCR_VISIBLE_DEVICES",
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
)


def command_of(stage: Stage, *, fields: Mapping[str, Any], environment: Environment) -> list[str]:
    """The command line of an action, to be run in its work folder."""
    match STEPS[stage].runner:
        case "iree-compile":
            compiler = str(environment.tool("iree-compile"))
            return compile_command(compiler, flags=fields["flags"])
        case "toolchain":
            return [str(environment.python), "-P", str(WORK_MAIN)]
        case "own":
            return [sys.executable, "-P", str(WORK_MAIN)]


def child_environment(stage: Stage, *, environment: Environment, folder: Path) -> dict[str, str]:
    """The variables of a child: all of ours where it fetches, a short fixed list otherwise."""
    folders = {"TMPDIR": str(folder / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
    if STEPS[stage].network:
        return {**os.environ, **folders}
    path = os.pathsep.join([str(environment.python.parent), "/usr/bin", "/bin"])
    return {
        **{name: os.environ[name] for name in _PASSED if name in os.environ},
        "PATH": path,
        "HOME": str(folder / "tmp"),
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # Threads that wait by spinning take the processor from the steps beside them: a reference
        # took three times as long beside a compile. The bytes are the same.
        "OMP_WAIT_POLICY": "PASSIVE",
        **folders,
    }
