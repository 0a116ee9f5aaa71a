"""Runs a recorded action again, outside the cache: same inputs and command, a folder that stays."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tidemill.child import ChildLimits, run_child
from tidemill.command import child_environment, command_of
from tidemill.digest import digest_file
from tidemill.ending import LOG, diagnosis_of
from tidemill.failures import Diagnosis
from tidemill.graph import DEFAULT_LIMITS
from tidemill.manifest.part import parse_size, parse_time
from tidemill.records import ActionResult, Failure, Stage
from tidemill.steps.work.protocol import OUT, REQUEST, Request
from tidemill.store.contract import Store
from tidemill.toolchain.environment import Environment
from tidemill.workfolder import place_inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """What was run where, how it ended (128 + the signal's number when it was killed), and why.

    ``diagnosis`` is None when the action succeeded: a verdict that does not hold is a failure too.
    ``differing`` are the files that came out with other bytes than those recorded.
    """

    command: tuple[str, ...]
    log: Path
    code: int
    diagnosis: Diagnosis | None
    differing: tuple[str, ...]


def rerun(
    record: ActionResult | Failure, *, store: Store, environment: Environment, folder: Path
) -> Rerun:
    """Build the work folder of ``record`` in ``folder`` and run its command there.

    It runs under the limits that it failed under, else under the default ones. Raises StoreError
    when an input is not in the store any more, OSError when the tool cannot be started.
    """
    for name in ("in", "out", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    stage = cast("Stage", record.step)
    inputs = place_inputs(store, record.parts["inputs"], folder=folder)
    request = Request(step=stage, fields=record.parts["fields"], inputs=inputs)
    (folder / REQUEST).write_text(request.to_json(), encoding="utf-8")
    (folder / "action.json").write_text(json.dumps(record.parts, indent=1), encoding="utf-8")
    command = command_of(stage, fields=record.parts["fields"], environment=environment)
    (folder / "command.txt").write_text(" ".join(command) + "\n", encoding="utf-8")
    limits = _limits(record, stage)
    end = run_child(
        command,
        folder=folder,
        log=folder / LOG,
        environment=child_environment(stage, environment=environment, folder=folder),
        limits=limits,
    )
    code = end.code if end.ending == "exit" else 128 + end.code
    return Rerun(
        command=tuple(command),
        log=folder / LOG,
        code=code,
        diagnosis=diagnosis_of(stage, end=end, limits=limits, folder=folder),
        differing=tuple(_differing(record, folder=folder)),
    )


def _differing(record: ActionResult | Failure, *, folder: Path) -> Iterator[str]:
    for output in record.outputs if isinstance(record, ActionResult) else ():
        file = folder / OUT / output.name
        if file.is_file() and digest_file(file) != output.digest:
            yield output.name


def _limits(record: ActionResult | Failure, stage: Stage) -> ChildLimits:
    if isinstance(record, Failure):
        return ChildLimits(
            seconds=record.limits["seconds"], memory_bytes=record.limits["memory_bytes"]
        )
    part = DEFAULT_LIMITS[stage]
    return ChildLimits(seconds=parse_time(part.timeout), memory_bytes=parse_size(part.memory))
