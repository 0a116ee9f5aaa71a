"""Runs one action: empty work folder → child process → hash → blobs → record. Nothing else.

It decides nothing about whether to run. It either returns the record that holds, or raises
ActionFailed after keeping a Failure with its log and bundle in the store.
"""

import datetime
import errno
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.bundle import make_bundle, reproduce_command
from tidemill.cache import Cache
from tidemill.child import ChildEnd, ChildLimits, Start, run_child, spawn
from tidemill.code import fresh_code_digest
from tidemill.command import child_environment, command_of
from tidemill.cutting import Cut, cut_out
from tidemill.digest import digest_bytes, digest_file
from tidemill.ending import LOG, answer_of, diagnosis_of, last_line, told
from tidemill.errors import BlobDamaged, ExitCode, FailureClass, TidemillError
from tidemill.failures import Diagnosis
from tidemill.keys import Bound
from tidemill.records import ActionResult, Failure, Output
from tidemill.steps.compile import STATISTICS, compile_facts
from tidemill.steps.table import STEPS
from tidemill.steps.work.protocol import (
    OUT,
    REQUEST,
    Made,
    Request,
    Response,
)
from tidemill.store.contract import BlobMissing, Store
from tidemill.toolchain.environment import Environment
from tidemill.workfolder import place_inputs, work_folder

#: What a failed compile may take to look for the dispatch that fails.
CUT_SECONDS = 300

Beat = Callable[[float, int, str], None]


class ActionFailed(TidemillError):  # noqa: N818 - named as BlobDamaged is
    """One action failed; ``failure`` is what was recorded."""

    def __init__(self, failure: Failure) -> None:
        line = f": {failure.lines[0]}" if failure.lines else ""
        super().__init__(
            f"{failure.step} {failure.address}: {failure.failure}{line}", hint=failure.hint
        )
        self.failure = failure


class CodeChanged(TidemillError):  # noqa: N818 - named as BlobDamaged is
    """Our own code was edited while the action ran: what it made belongs to no key."""

    exit_code = ExitCode.STORE


class InputLost(TidemillError):  # noqa: N818 - named as BlobDamaged is
    """An input's bytes are damaged or gone: it was discarded and must be built again."""

    exit_code = ExitCode.STORE


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where actions run: the store, the cache over it, the toolchain, and the folder for work.

    ``start`` is how their processes are started.
    """

    store: Store
    cache: Cache
    environment: Environment
    work: Path
    device_uri: str = ""
    beat: Beat | None = None
    start: Start = spawn


def execute(
    bound: Bound, *, place: Place, replacing: bool, beside: Mapping[str, Any] | None = None
) -> ActionResult:
    """Run an action and keep its result. Raises ActionFailed, InputLost or StoreError.

    ``beside`` are facts of an input that belong to what was measured.
    """
    with work_folder(place.work) as folder:
        try:
            inputs = place_inputs(place.store, bound.inputs, folder=folder)
        except (BlobDamaged, BlobMissing) as lost:
            raise InputLost(lost.message, hint="It is rebuilt by the next pass.") from lost
        request = Request(step=bound.node.stage, fields=_fields(bound), inputs=inputs)
        (folder / REQUEST).write_text(request.to_json(), encoding="utf-8")
        command = command_of(
            bound.node.stage, fields=bound.node.fields, environment=place.environment
        )
        end, trouble = _run(command, bound=bound, place=place, folder=folder)
        refuse_edited_code(bound)
        if trouble is None:
            made, facts = _response(bound, folder=folder)
            answer = Response(made=made, facts={**(beside or {}), **facts})
            return _keep(bound, (end, answer), place=place, folder=folder, replacing=replacing)
        raise ActionFailed(
            _keep_failure(bound, (end, trouble), place=place, folder=folder, replacing=replacing)
        )


def refuse_edited_code(bound: Bound) -> None:
    """Raise CodeChanged when the code of an action is not any more what its key says."""
    if fresh_code_digest(bound.node.code) != bound.parts["code"]:
        raise CodeChanged(
            f"the code of {bound.node.stage} was edited while it ran, so its result was dropped",
            hint="Run again.",
        )


def _fields(bound: Bound) -> Mapping[str, Any]:
    base = {"base": bound.node.base} if bound.node.stage == "fetch" else {}
    return {**bound.node.fields, **base}


def _run(
    command: list[str], *, bound: Bound, place: Place, folder: Path
) -> tuple[ChildEnd, Diagnosis | None]:
    limits = ChildLimits(
        seconds=bound.node.limits.seconds, memory_bytes=bound.node.limits.memory_bytes
    )
    log = folder / LOG
    beat = place.beat

    def on_beat(seconds: float, memory: int) -> None:
        if beat:
            beat(seconds, memory, last_line(log))

    try:
        end = run_child(
            command,
            folder=folder,
            log=log,
            environment={
                **child_environment(bound.node.stage, environment=place.environment, folder=folder),
                # Which of several devices fits is this host's business, not the key's.
                "TIDEMILL_DEVICE_URI": place.device_uri,
            },
            limits=limits,
            beat=on_beat,
            start=place.start,
        )
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        end = ChildEnd(ending="exit", code=127, seconds=0.0, peak_memory_bytes=0)
        name = place.environment.lock.name
        hint = f"Run `tidemill toolchain sync {name} --force`, then run again."
        line = f"{command[0]} cannot be started: {error.strerror}"
        return end, Diagnosis(failure=FailureClass.HOST, lines=(line,), hint=hint)
    return end, diagnosis_of(bound.node.stage, end=end, limits=limits, folder=folder)


def _response(bound: Bound, *, folder: Path) -> tuple[tuple[Made, ...], dict[str, Any]]:
    """Every file made, and the facts."""
    if STEPS[bound.node.stage].runner == "iree-compile":
        statistics = folder / STATISTICS
        data = statistics.read_bytes() if statistics.exists() else None
        return (Made(name="model.vmfb", kind="vmfb"),), dict(compile_facts(data))
    answer = answer_of(folder)
    if not isinstance(answer, Response):
        return (), {}
    return answer.made, dict(answer.facts)


def _store_file(place: Place, path: Path, *, name: str, kind: str) -> Output:
    digest = digest_file(path)
    place.cache.keeper.keep((digest,))
    if place.store.put_blob(path, digest=digest):
        place.cache.verified.learn(place.store, digest)
    return Output(name=name, kind=kind, digest=digest, size=path.stat().st_size)


def now_text() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _keep(
    bound: Bound,
    ended: tuple[ChildEnd, Response],
    *,
    place: Place,
    folder: Path,
    replacing: bool,
) -> ActionResult:
    end, answer = ended
    outputs = tuple(
        _store_file(place, folder / OUT / made.name, name=made.name, kind=made.kind)
        for made in answer.made
    )
    result = ActionResult(
        key=bound.key,
        step=bound.node.stage,
        address=str(bound.node.address),
        outputs=outputs,
        log=_store_file(place, folder / LOG, name=LOG, kind="log"),
        facts=dict(answer.facts),
        parts=dict(bound.parts),
        seconds=round(end.seconds, 3),
        peak_memory_bytes=end.peak_memory_bytes,
        host=socket.gethostname(),
        finished_at=now_text(),
    )
    return place.cache.record(result, replacing=replacing)


def _keep_failure(
    bound: Bound,
    trouble: tuple[ChildEnd, Diagnosis],
    *,
    place: Place,
    folder: Path,
    replacing: bool,
) -> Failure:
    end, diagnosis = trouble
    command = command_of(bound.node.stage, fields=bound.node.fields, environment=place.environment)
    log_file = folder / LOG
    log = log_file.read_bytes() if log_file.exists() else b""
    cut = _cut(bound, log, place=place, folder=folder)
    bundle = make_bundle(
        key=bound.key, parts=bound.parts, command=command, log=log, folder=folder, cut=cut
    )
    _, facts = _response(bound, folder=folder)
    failure = Failure(
        key=bound.key,
        step=bound.node.stage,
        address=str(bound.node.address),
        failure=diagnosis.failure,
        lines=told(diagnosis, stage=bound.node.stage, address=bound.node.address),
        hint=diagnosis.hint or (cut.hint(bound.key) if cut else ""),
        deterministic=diagnosis.deterministic,
        command=tuple(command),
        log=_blob(place, log, name=LOG, kind="log"),
        bundle=_blob(place, bundle, name="bundle.tar.gz", kind="bundle"),
        reproduce=reproduce_command(bound.key, toolchain=place.environment.lock.name),
        parts=dict(bound.parts),
        limits={
            "seconds": bound.node.limits.seconds,
            "memory_bytes": bound.node.limits.memory_bytes,
        },
        seconds=round(end.seconds, 3),
        peak_memory_bytes=end.peak_memory_bytes,
        host=socket.gethostname(),
        finished_at=now_text(),
        facts=facts,
    )
    place.cache.record_failure(failure, superseding=replacing and diagnosis.disproves)
    return failure


def _cut(bound: Bound, log: bytes, *, place: Place, folder: Path) -> Cut | None:
    """The dispatch that a compiler failed on; None where there is none, or no way to it."""
    if STEPS[bound.node.stage].runner != "iree-compile":
        return None

    limits = ChildLimits(seconds=CUT_SECONDS, memory_bytes=bound.node.limits.memory_bytes)
    where = folder / "tmp" / "dispatch.txt"

    def on_beat(seconds: float, memory: int) -> None:
        if place.beat:
            place.beat(seconds, memory, "cutting out the dispatch that fails")

    def run(command: Sequence[str]) -> str:
        variables = child_environment("compile", environment=place.environment, folder=folder)
        end = run_child(
            command, folder=folder, log=where, environment=variables, limits=limits, beat=on_beat
        )
        ended = end.ending == "exit"
        return where.read_text(encoding="utf-8", errors="replace") if ended else ""

    with suppress(OSError):
        return cut_out(
            str(place.environment.tool("iree-compile")),
            flags=bound.node.fields["flags"],
            log=log.decode("utf-8", errors="replace"),
            folder=folder,
            run=run,
        )
    return None


def _blob(place: Place, data: bytes, *, name: str, kind: str) -> Output:
    digest = digest_bytes(data)
    place.cache.keeper.keep((digest,))
    place.store.put_bytes(data)
    return Output(name=name, kind=kind, digest=digest, size=len(data))
