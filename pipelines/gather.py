"""After the work: states and records → report, release, channel, logs.

Trouble with the store is a problem of the run, which the report names; it is not raised.
"""

import contextlib
import datetime
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from pipelines.base import Pipeline
from pipelines.outcome import NodeFacts, exit_code, expectation_problems, node_reports
from pipelines.publish import Moving, Published, publish, words_of
from tidemill.digest import Digest
from tidemill.errors import ExitCode, StoreError, TidemillError
from tidemill.expectations import expected
from tidemill.graph import NodeId
from tidemill.mill import Mill
from tidemill.records import RunReport
from tidemill.release import NodeResult, artifacts_of
from tidemill.report import write_reports
from tidemill.store.layout import run_name
from tidemill.store.trouble import disk_error

_LOST = "it did not run to its end and could not say why (killed, or the disk is full); run again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A run that has begun: its id, when (UTC text and monotonic seconds), what it covers.

    ``sequence`` is where the pipeline's channel stood then: what is released is decided upon that.
    ``builds`` is False for a run that only releases. ``untold`` says why gc does not know of it.
    """

    run: str
    at: str
    monotonic: float
    wanted: set[NodeId]
    sequence: int
    builds: bool = True
    untold: str = ""


def gather_facts(mill: Mill, wanted: set[NodeId], *, builds: bool) -> dict[NodeId, NodeFacts]:
    """Everything known of the wanted nodes, in graph order.

    In a run that ``builds``, a node whose inputs are there and that is still to be built must have
    lost its worker.
    """
    finished = {event["node"]: event for event in mill.events() if event["event"] == "finished"}
    facts = {}
    for name, node in mill.graph.nodes.items():
        if name not in wanted:
            continue
        state = mill.states.of(name)
        ended = finished.get(name)
        result, failure = None, state.failure
        if state.state == "up-to-date" and state.bound:
            result = mill.cache.result(node.stage, state.bound.key)
        if ended is not None and ended["outcome"] == "failed" and state.bound:
            # A forced build that fails is the news, whatever an older result says.
            failure = mill.cache.failure(node.stage, state.bound.key)
            result = None if failure else result
        if builds and name in mill.forced and ended is None and state.state == "up-to-date":
            # What is there is from before: whoever was to build it again was lost.
            state, result = replace(state, state="build", outputs=()), None
        if builds and state.state == "build" and state.bound and failure is None:
            ended = {"outcome": "trouble", "reason": (ended or {}).get("reason") or _LOST}
        facts[name] = NodeFacts(state=state, finished=ended, result=result, failure=failure)
    return facts


def report_of(mill: Mill, pipeline: Pipeline, *, begun: Begun, publishes: bool) -> RunReport:
    """The report of what the store holds now; ``publishes`` also releases and moves the channel."""
    today = datetime.datetime.now(datetime.UTC).date()
    facts = gather_facts(mill, begun.wanted, builds=begun.builds)
    expectations = mill.manifests.expectations
    nodes = node_reports(
        mill.graph, facts, expectations=expectations, today=today, logs=_keep_logs(mill, facts)
    )
    problems = expectation_problems(nodes, expectations=expectations, today=today)
    code = exit_code(nodes, problems=problems)
    artifacts = artifacts_of(mill.graph.only(begun.wanted), _results(mill, facts, today=today))
    published = Published()
    if publishes and pipeline.channel:
        moving = Moving(run=begun.run, started_at=begun.at, sequence=begun.sequence)
        published = publish(mill, pipeline, artifacts=artifacts, moving=moving)
    return RunReport(
        run=begun.run,
        pipeline=pipeline.name,
        toolchain=mill.lock.name,
        tools=mill.tools,
        store=mill.store.url,
        host=socket.gethostname(),
        started_at=begun.at,
        seconds=round(time.monotonic() - begun.monotonic, 3),
        exit_code=int(_worse(code, published.code)),
        nodes=tuple(nodes),
        artifacts=artifacts,
        release=published.release,
        channel=pipeline.channel if published.sequence else "",
        sequence=published.sequence,
        problems=(
            *problems,
            *_said(mill.cache.errors),
            *mill.troubles,
            *filter(None, (begun.untold,)),
            *published.problems,
        ),
        changes=published.changes,
    )


def _said(store_errors: int) -> tuple[str, ...]:
    if not store_errors:
        return ()
    return (f"the store could not answer {store_errors} times; each counted as a miss",)


def _worse(nodes: ExitCode, channel: ExitCode) -> ExitCode:
    return channel if channel == ExitCode.STORE else nodes or channel


def _results(
    mill: Mill, facts: Mapping[NodeId, NodeFacts], *, today: datetime.date
) -> dict[NodeId, NodeResult]:
    results = {}
    for name, known in facts.items():
        amber = (
            expected(known.failure, expectations=mill.manifests.expectations, today=today)
            if known.failure
            else None
        )
        results[name] = NodeResult(
            node=mill.graph.nodes[name],
            result=known.result,
            failure=known.failure,
            amber=f"{amber.reason} ({amber.issue})" if amber else "",
            absent="; ".join(known.state.reasons),
            unvalidated=known.state.unvalidated,
        )
    return results


def _keep_logs(mill: Mill, facts: Mapping[NodeId, NodeFacts]) -> dict[NodeId, str]:
    """Copy the logs of what ran in this run beside its reports; node → relative path."""
    assert mill.folder is not None  # noqa: S101 - a run has been started
    kept = {}
    for name, known in facts.items():
        source = known.failure or known.result
        if known.finished is None or source is None or source.log is None:
            continue
        file = Path("logs") / f"{name.replace(':', '-').replace('/', '-')}.log"
        with contextlib.suppress(TidemillError, OSError):
            data = mill.store.read_blob(Digest(source.log.digest))
            (mill.folder / "logs").mkdir(exist_ok=True)
            (mill.folder / file).write_bytes(data)
            kept[name] = file.as_posix()
    return kept


def keep_reports(mill: Mill, report: RunReport) -> RunReport:
    """Write the reports beside the run and into the store; return what a person is to be shown."""
    assert mill.folder is not None  # noqa: S101 - a run has been started
    try:
        write_reports(report, mill.folder)
        for path in sorted(mill.folder.rglob("*")):
            if path.is_file():
                name = path.relative_to(mill.folder).as_posix()
                mill.store.replace(run_name(report.run, name), path.read_bytes())
    except StoreError as error:
        trouble = error
    except OSError as error:
        trouble = disk_error(error, doing="write the reports", where=mill.folder)
    else:
        return report
    problems = (*report.problems, words_of(trouble))
    return msgspec.structs.replace(report, problems=problems, exit_code=int(ExitCode.STORE))
