"""Runs a pipeline: plan → luigi over what must be built → report, release, channel."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import luigi
import luigi.configuration
import luigi.rpc
import luigi.scheduler

import tasks
from pipelines.base import Pipeline
from pipelines.gather import Begun, keep_reports, report_of
from pipelines.warming import warmed
from tidemill.channels import latest
from tidemill.execute import now_text
from tidemill.graph import NodeId, Selection, select
from tidemill.keeping import at_work
from tidemill.mill import Mill
from tidemill.processors import processors
from tidemill.records import RunReport
from tidemill.trust.keys import CannotSign, signer_of
from tidemill.workfolder import sweep

#: A blob found damaged while it was read is rebuilt in another pass; more would hide trouble.
MAX_PASSES = 3
_POLL_SECONDS = 0.1
_OTHERS_SECONDS = 0.5
_NEVER_SECONDS = 10**8


class Feed(Protocol):
    """Where progress goes."""

    def feed(self, event: dict[str, Any]) -> None:
        """Take one event of the run."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a person may ask of a run."""

    selection: Selection = field(default_factory=Selection)
    workers: int = 2
    scheduler: str = ""
    force: bool = False
    publish: bool = True
    warm: bool = True


def run_pipeline(mill: Mill, pipeline: Pipeline, *, options: Options, view: Feed) -> RunReport:
    """Run and report. Failures of nodes and of the store are in the report, never raised.

    Raises UsageError for a key that could not sign the release, before anything is built.
    """
    publish = options.publish and options.selection.whole
    if publish and pipeline.channel:
        with contextlib.suppress(CannotSign):  # it may be back by the end of the run
            signer_of(mill.workspace.state)
    named = select(mill.graph, options.selection)
    wanted = mill.graph.ancestors(named)
    sweep(mill.workspace.work)
    with _at_work(mill, pipeline, run=pipeline.name, wanted=wanted) as begun:
        # Without a selection, force means everything, not only the nodes that nothing hangs below.
        forced = wanted if options.selection.whole else named
        mill.forced = frozenset(forced) if options.force else frozenset()
        todo = _to_build(mill, wanted)
        ready = sum(mill.states.of(name).state == "up-to-date" for name in wanted - set(todo))
        view.feed({"event": "planned", "total": ready + len(todo), "up_to_date": ready})
        if todo:
            _build(mill, wanted, options=options, view=view)
        if mill.states.retry_failed:
            _look_again(mill, wanted)
        report = report_of(mill, pipeline, begun=begun, publishes=publish)
    mill.remember_latest()
    mill.save()
    return keep_reports(mill, report)


def publish_only(mill: Mill, pipeline: Pipeline, *, view: Feed) -> RunReport:
    """Make a release of what the store holds now, and move the channel: the last job of a night."""
    wanted = set(mill.graph.nodes)
    name = f"{pipeline.name}-release"
    with _at_work(mill, pipeline, run=name, wanted=wanted, builds=False) as begun:
        view.feed({"event": "planned", "total": len(wanted), "up_to_date": len(wanted)})
        report = report_of(mill, pipeline, begun=begun, publishes=True)
    mill.save()
    return keep_reports(mill, report)


@contextlib.contextmanager
def _at_work(
    mill: Mill, pipeline: Pipeline, *, run: str, wanted: set[NodeId], builds: bool = True
) -> Iterator[Begun]:
    """Begin a run, and keep what it finds and makes from gc until it has moved its channel."""
    started, started_at = time.monotonic(), now_text()
    run = mill.start_run(run)
    with at_work(mill.store, run=run, keeper=mill.cache.keeper) as untold:
        _see(mill, set(mill.graph.nodes))  # what was looked up before the lease is not kept
        yield Begun(
            run=run,
            at=started_at,
            monotonic=started,
            wanted=wanted,
            sequence=latest(mill.store, pipeline.channel) if pipeline.channel else 0,
            builds=builds,
            untold=untold,
        )


def _look_again(mill: Mill, wanted: set[NodeId]) -> None:
    """See every wanted node as the store has it now; failures count again."""
    mill.states.retry_failed = False
    _see(mill, wanted)


def _see(mill: Mill, names: set[NodeId]) -> None:
    """Look at what the store holds now, with requests that grow with its pages."""
    mill.cache.list_again()
    for name in names:
        mill.states.forget(name)


def _to_build(mill: Mill, wanted: set[NodeId]) -> list[NodeId]:
    states = {name: mill.states.of(name) for name in mill.graph.nodes if name in wanted}
    return [
        name
        for name, state in states.items()
        if state.state == "build" or (name in mill.forced and mill.states.can_run(name))
    ]


def _build(mill: Mill, wanted: set[NodeId], *, options: Options, view: Feed) -> None:
    """Let luigi build, again while blobs turned out to be damaged."""
    tasks.use_mill(mill, remote=bool(options.scheduler))
    for _ in range(MAX_PASSES):
        todo = _to_build(mill, wanted)
        before = sum(event.get("outcome") == "lost-input" for event in mill.events())
        mill.cache.forget_listing()  # others are writing
        with warmed(mill, todo if options.warm else []), _following(mill, view):
            _luigi_with_others(mill, todo, options=options)
        _look_again(mill, wanted)
        lost = sum(event.get("outcome") == "lost-input" for event in mill.events())
        if lost == before:
            return


def _luigi_with_others(mill: Mill, todo: list[NodeId], *, options: Options) -> None:
    """Let luigi build; with a luigid also until what other hosts still run is there or given up.

    A worker of luigi leaves when nothing is pending, although others may be running the last tasks.
    """
    while todo:
        _luigi(mill, todo, options=options)
        if not options.scheduler or not _waited_for_others(todo, options.scheduler):
            return
        todo = [name for name in todo if mill.states.fresh(name).state == "build"]


def _waited_for_others(todo: list[NodeId], scheduler: str) -> bool:
    """Wait while any of ``todo`` runs somewhere. False when there was nothing to wait for."""
    wanted = {tasks.task_of(name).task_id for name in todo}
    asked = luigi.rpc.RemoteScheduler(scheduler)
    waited = False
    with contextlib.suppress(luigi.rpc.RPCError):  # nobody can say: look at the store
        while wanted & set(asked.task_list(luigi.scheduler.RUNNING, "")):
            waited = True
            time.sleep(_OTHERS_SECONDS)
    return waited


def _luigi(mill: Mill, todo: list[NodeId], *, options: Options) -> None:
    logging.getLogger("luigi").setLevel(logging.CRITICAL)
    logging.getLogger("luigi-interface").setLevel(logging.CRITICAL)
    config = luigi.configuration.get_config()
    config.set("resources", "memory_percent", str(tasks.ALL_MEMORY))
    config.set("worker", "check_complete_on_run", "true")
    config.set("worker", "check_unfulfilled_deps", "false")  # the mill looks at its inputs itself
    # A luigid is asked over a network, and what it has given to others may come back: wait for it.
    config.set("worker", "keep_alive", "true" if options.scheduler else "false")
    config.set("worker", "wait_interval", "1" if options.scheduler else "0.05")
    config.set("worker", "wait_jitter", "0.05")
    if not options.scheduler:
        # What luigi.cfg says for a luigid would try a failure again for as long as others run.
        config.set("scheduler", "retry_count", "1")
        config.set("scheduler", "disable_persist", str(_NEVER_SECONDS))
    where: dict[str, Any] = (
        {"scheduler_url": options.scheduler} if options.scheduler else {"local_scheduler": True}
    )
    luigi.build(
        [tasks.task_of(name, force=name in mill.forced) for name in todo],
        workers=options.workers,
        detailed_summary=True,
        no_lock=True,
        log_level="CRITICAL",
        **where,
    )


@contextlib.contextmanager
def _following(mill: Mill, view: Feed) -> Iterator[None]:
    """Feed the run's events to the view from a thread, as workers append them."""
    log = mill.event_log
    assert log is not None  # noqa: S101 - the run has begun
    _, seen = log.since()
    stop = threading.Event()

    def follow() -> None:
        nonlocal seen
        while True:
            last = stop.wait(_POLL_SECONDS)
            events, seen = log.since(seen)
            for event in events:
                view.feed(event)
            if last:
                return

    thread = threading.Thread(target=follow, name="events", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def default_workers() -> int:
    """As many workers as processors, at most four: compilers use threads of their own."""
    return min(4, processors())
