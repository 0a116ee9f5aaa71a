"""The compile step: the command line of ``iree-compile`` and what its statistics say. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

INPUT = "in/mlir/model.mlir"
OUTPUT = "out/model.vmfb"
STATISTICS = "statistics.json"


def compile_command(compiler: str, *, flags: Sequence[str]) -> list[str]:
    """The exact command, run in the action's work folder; paths in it are relative to that."""
    return [
        compiler,
        INPUT,
        *flags,
        "--iree-scheduling-dump-statistics-format=json",
        f"--iree-scheduling-dump-statistics-file={STATISTICS}",
        "-o",
        OUTPUT,
    ]


def compile_facts(statistics: bytes | None) -> Mapping[str, Any]:
    """The numbers worth keeping from the compiler's statistics file; empty when there is none."""
    if not statistics:
        return {}
    try:
        raw = json.loads(statistics)
    except ValueError:
        return {}
    execution = raw.get("stream-aggregate", {}).get("execution", {})
    return {
        "dispatch_count": execution.get("dispatch-count"),
        "executable_count": raw.get("stream-aggregate", {})
        .get("executable", {})
        .get("executable-count"),
        "transient_bytes": execution.get("transient-memory-size"),
    }
