"""The flags of IREE's runtime tools, which take what they do not know for granted and go on.

``parse_flags`` reads what ``--help`` prints: a flag file with the defaults, and Google Benchmark's
own list below it. Flags are then checked as the compiler's are (``flags.lint``). Pure, but for
``tool_flags``, which runs the tool.
"""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tidemill.errors import ToolError
from tidemill.toolchain.flags import KnownFlags, Problem, Values, lint

#: A line that gives a flag with its default, or one without a default as a comment. Sentences
#: mention flags, too, but never alone on a line.
_FLAG = re.compile(r"(?:# )?--(?P<name>\w+)(?:=(?P<value>\S*))?")
_BENCHMARK_FLAG = re.compile(r"\[--(?P<name>benchmark_\w+|v)=")
_TIMEOUT_SECONDS = 60

_OURS = "it says what is measured, which the manifest does"
_FILES = "it reads or writes a file that is not part of the key"
_SAYS = "it prints something in place of a measurement"
_OTHER = "it would make a call something else than one call"
#: What a manifest may not give; ``*`` stands for any rest of a name.
REFUSED: Mapping[str, str] = {
    "agents_md": _SAYS,
    "batch_concurrency": _OTHER,
    "batch_size": _OTHER,
    "benchmark_*": _OURS,
    "device": _OURS,
    "device_capture_*": _FILES,
    "device_profiling_*": _FILES,
    "device_replay_*": _FILES,
    "dump_*": _SAYS,
    "executable_plugin": _FILES,
    "expected_*": _OTHER,
    "flagfile": _FILES,
    "function": _OURS,
    "help": _SAYS,
    "hip_dylib_path": _FILES,
    "input": _OURS,
    "list_*": _SAYS,
    "module": _OURS,
    "output": _FILES,
    "parameters": _OURS,
    "task_topology_*": "the threads are counted with the machine, and peers get as many",
    "vulkan_libvulkan_search_path": _FILES,
}


def parse_flags(text: str) -> dict[str, Values]:
    """The flags in a help text, by name without dashes; what a default tells of their values."""
    known: dict[str, Values] = {}
    for line in text.splitlines():
        if match := _FLAG.fullmatch(line):
            known.setdefault(match["name"], Values(kind=_kind(match["value"])))
        known |= {one["name"]: Values(kind="string") for one in _BENCHMARK_FLAG.finditer(line)}
    return known


def _kind(default: str | None) -> str:
    if default in (None, "true", "false"):
        return ""
    return "int" if re.fullmatch(r"-?\d+", default or "") else "string"


def check_tool_flags(
    flags: Sequence[str], *, own: Sequence[str], known: KnownFlags, tool: str, version: str
) -> list[str]:
    """What is wrong with a manifest's ``flags`` and with tidemill's ``own``; empty when nothing."""
    problems = lint(
        flags, known=known, renames=(), version=version, tool=tool, refuse=_why_refused
    ).problems
    missing = lint(own, known=known, renames=(), version=version, tool=tool, refuse=_free).problems
    return [problem.message for problem in (*problems, *map(_of_ours, missing))]


def _of_ours(problem: Problem) -> Problem:
    return Problem(
        flag=problem.flag, message=f"{problem.message} (tidemill gives it: take another version)"
    )


def _free(name: str, value: str | None) -> str:
    del name, value
    return ""


def _why_refused(name: str, value: str | None) -> str:
    del value
    for pattern, reason in REFUSED.items():
        if name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1])):
            return f"--{name} cannot be given: {reason}"
    return ""


def tool_flags(tool: Path) -> dict[str, Values]:
    """The flags of the program ``tool``. Raises ToolError when it does not list them."""
    try:
        done = subprocess.run(
            [str(tool), "--help"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolError(
            f"{tool} does not answer: {error}", hint="rebuild it: tidemill toolchain sync --force"
        ) from error
    known = parse_flags(done.stdout)
    if not known:
        raise ToolError(f"{tool} --help lists no flag")
    return known
