"""Runs a peer in a process of its own: its memory, threads and crashes are not the benchmark's."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.errors import FailureClass, WorkError
from tidemill.steps.work.protocol import OUT, REQUEST, ChildError, Request, read_response

_MAIN = Path(__file__).with_name("main.py")
#: What one peer may take for all functions together. The step's own limit holds as well.
_SECONDS = 600
#: What a host does to a process that it has no memory or no time for.
_KILLED = (-signal.SIGKILL, -signal.SIGTERM)


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
    """A row for each of ``works``: its ``times_ms`` and ``first_ms``, or ``why`` there are none.

    Raises WorkError when somebody else ended the peer: that tells nothing about it.
    """
    if why := request.fields.get("absent_peers", {}).get(peer):
        return [{"why": why} for _ in works]
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
    try:
        ended = subprocess.run(command, cwd=folder, env=spinning, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return [{"why": f"was ended: it took more than {_SECONDS} s"} for _ in works]
    if ended.returncode in _KILLED:
        name = signal.Signals(-ended.returncode).name
        raise WorkError(
            FailureClass.INFRASTRUCTURE,
            f"peer {peer} was killed by {name}",
            hint="see to this host's memory, or leave the peer out of `benchmark.peers`",
        )
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
