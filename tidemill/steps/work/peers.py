"""Runs a peer in a process of its own: its memory, threads and crashes are not the benchmark's."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.steps.work.protocol import OUT, REQUEST, ChildError, Request, read_response

_MAIN = Path(__file__).with_name("main.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One function of a benchmark: its name there and in the module, inputs as the tool takes them.

    ``tokens`` is how many a call is about, if it is about any.
    """

    name: str
    function: str
    inputs: Sequence[str]
    tokens: int | None


def measured_peer(
    peer: str, works: Sequence[Work], *, request: Request, threads: int
) -> list[dict[str, Any]]:
    """A row for each of ``works``: its ``times_ms`` and ``first_ms``, or ``why`` there are none."""
    folder = Path(f"peer-{peer}")
    (folder / OUT).mkdir(parents=True)
    asked = {
        **request.fields,
        "peer": peer,
        "threads": threads,
        "works": [
            {"name": one.name, "function": one.function, "inputs": [_whole(x) for x in one.inputs]}
            for one in works
        ],
    }
    inputs = {
        role: {name: str(Path(path).absolute()) for name, path in files.items()}
        for role, files in request.inputs.items()
    }
    text = Request(step="peer", fields=asked, inputs=inputs).to_json()
    (folder / REQUEST).write_text(text, encoding="utf-8")
    # Set for steps that run beside others; this one has the machine to itself.
    spinning = {name: text for name, text in os.environ.items() if name != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-P", str(_MAIN)]
    ended = subprocess.run(command, cwd=folder, env=spinning, check=False)
    try:
        answer = read_response(folder)
    except (FileNotFoundError, ValueError):
        why = f"ended with {ended.returncode} and no answer; see the log"
        return [{"why": why} for _ in works]
    if isinstance(answer, ChildError):
        return [{"why": answer.message} for _ in works]
    rows: list[dict[str, Any]] = json.loads(json.dumps(answer.facts["rows"]))
    return rows


def _whole(given: str) -> str:
    """A file by its whole path: the peer runs in another folder."""
    return f"@{Path(given[1:]).absolute()}" if given.startswith("@") else given
