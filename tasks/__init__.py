"""The luigi skin: one class a stage, with parameters that a person can type.

    luigi --module tasks CompileVmfb --model minilm --component encoder --variant f32 --target cpu

``complete()`` asks the cache, ``run()`` calls the engine, and nothing else is decided here. The
engine does not know luigi.
"""

import atexit
import contextlib
import functools
import math
import os
import signal
from pathlib import Path
from typing import Any

import luigi
import psutil

from tidemill.child import die_with_parent
from tidemill.digest import digest_json
from tidemill.errors import ExitCode, UsageError
from tidemill.graph import Node, NodeId
from tidemill.interrupts import on_interrupt
from tidemill.keeping import at_work
from tidemill.mill import Mill
from tidemill.opening import open_mill
from tidemill.workfolder import sweep
from tidemill.workspace import find_workspace

ALL_MEMORY = 100


class _Current:
    """The mill that tasks of this process work with; workers that luigi forks inherit it."""

    mill: Mill | None = None
    remote: bool = False
    process: int = 0
    building: bool = False


def use_mill(mill: Mill, *, remote: bool = False) -> None:
    """Let all tasks of this process work with ``mill``; ``remote``: the scheduler is a luigid."""
    _Current.mill, _Current.remote, _Current.process = mill, remote, os.getpid()


def current_mill() -> Mill:
    """The mill in use; luigi's own command line gets one over all models of the workspace."""
    if _Current.mill is None:
        workspace = find_workspace(start=Path.cwd())
        mill = open_mill(workspace)
        sweep(workspace.work)
        # luigi's own command line says no word at the end of a run: the end of the process does.
        lease = contextlib.ExitStack()
        atexit.register(lease.close)
        run = mill.start_run("luigi")
        lease.enter_context(at_work(mill.store, run=run, keeper=mill.cache.keeper))
        mill.cache.forget_listing()  # others are writing, and what was listed is not kept
        use_mill(mill)
    assert _Current.mill is not None  # noqa: S101 - it was set above
    return _Current.mill


@functools.cache
def _host_memory() -> int:
    return int(psutil.virtual_memory().total)


def _become_worker() -> None:
    """In a process that luigi forked: end with the parent, and after one signal end in peace.

    Ctrl-C reaches a worker twice, from the terminal and from luigi; the second must not break off
    the cleaning up that the first began.
    """

    def interrupt() -> None:
        # Not SIG_IGN: Python reports a second signal that came in meanwhile as lost in a race.
        on_interrupt(_nothing)
        if not _Current.building:
            _leave()
        raise KeyboardInterrupt

    on_interrupt(interrupt)
    die_with_parent(signal.SIGTERM)
    if os.getppid() != _Current.process:
        _leave()


def _nothing() -> None:
    """What a second signal does."""


def _leave() -> None:
    # The parent says what happened; a traceback from every worker says nothing more.
    os._exit(ExitCode.INTERRUPTED)


class NodeTask(luigi.Task):
    """One node of the graph. Subclasses give the stage and the parts of the address."""

    force = luigi.BoolParameter(significant=False, description="build again even if up to date")

    stage = ""
    parts: tuple[str, ...] = ()

    @property
    def node_id(self) -> NodeId:
        """The node that this task builds."""
        return f"{self.stage}:" + "/".join(getattr(self, part) for part in self.parts)

    @property
    def node(self) -> Node:
        """The node itself. Raises UsageError for an address that no manifest declares."""
        try:
            return current_mill().graph.nodes[self.node_id]
        except KeyError:
            raise UsageError(f"no manifest declares {self.node_id}") from None

    @property
    def resources(self) -> dict[str, int]:
        """What the scheduler reserves: the memory limit in hundredths of this host's memory."""
        if _Current.remote:
            # A luigid counts over all hosts, and one share for a resource that it was not told of.
            return {}
        share = math.ceil(ALL_MEMORY * self.node.limits.memory_bytes / _host_memory())
        reserved = {"memory_percent": min(share, ALL_MEMORY)}
        if self.node.device not in ("none", "cpu"):
            reserved[f"device_{self.node.device}"] = 1
        return reserved

    def requires(self) -> list[luigi.Task]:
        """The tasks of the nodes that this one reads."""
        edges = dict.fromkeys(edge.node for edge in self.node.inputs)
        return [task_of(name) for name in edges]

    def complete(self) -> bool:
        """Whether the store holds a sound result under this action's key."""
        mill = current_mill()
        name = self.node.id
        if self.force and name not in mill.forced:
            mill.forced |= {name}
        return mill.holds(name)

    def run(self) -> None:
        """Build it."""
        mill = current_mill()
        if os.getpid() == _Current.process:
            mill.run(self.node_id)
            return
        _become_worker()
        try:
            _Current.building = True
            mill.run(self.node_id)
        except KeyboardInterrupt:
            _leave()
        finally:
            _Current.building = False


class Fetch(NodeTask):
    """Bring the files of one source of a model, pinned by digest."""

    model = luigi.Parameter()
    source = luigi.Parameter()
    stage = "fetch"
    parts = ("model", "source")


class VariantTask(NodeTask):
    """A node that all targets of a variant share."""

    model = luigi.Parameter()
    component = luigi.Parameter()
    variant = luigi.Parameter()
    parts: tuple[str, ...] = ("model", "component", "variant")


class Quantize(VariantTask):
    """Checkpoint and calibration text → a narrowed dataset."""

    stage = "quantize"


class ExportMlir(VariantTask):
    """Source and configuration → MLIR."""

    stage = "export"


class PackParameters(VariantTask):
    """Weights → IRPA."""

    stage = "pack"


class Reference(VariantTask):
    """Inputs and expected outputs, by the source framework."""

    stage = "reference"


class TargetTask(VariantTask):
    """A node of one target."""

    target = luigi.Parameter()
    parts = ("model", "component", "variant", "target")


class CompileVmfb(TargetTask):
    """MLIR → VMFB for one target."""

    stage = "compile"


class ValidateNumerics(TargetTask):
    """VMFB and IRPA on the device, against the reference."""

    stage = "validate"


class Benchmark(TargetTask):
    """How long calls of the VMFB take, with nothing of this run beside it."""

    # Hosts of one luigid with other devices measure for themselves: their task is another one.
    machine = luigi.Parameter(default="", description="what the numbers hold for; may be left out")
    stage = "benchmark"
    #: After all else: while it runs, nothing else does.
    priority = -1

    @property
    def resources(self) -> dict[str, int]:
        """All of the host's memory, so that this run does nothing else meanwhile."""
        reserved = super().resources
        return {**reserved, "memory_percent": ALL_MEMORY} if reserved else {}


class ConformanceTable(TargetTask):
    """A suite of tests on a target → the table of what passes."""

    stage = "conformance"


class CompareTable(TargetTask):
    """The table against what is known to fail."""

    stage = "compare"


TASKS: dict[str, type[NodeTask]] = {
    task.stage: task
    for task in (
        Fetch,
        Quantize,
        ExportMlir,
        PackParameters,
        Reference,
        CompileVmfb,
        ValidateNumerics,
        Benchmark,
        ConformanceTable,
        CompareTable,
    )
}


def task_of(name: NodeId, *, force: bool = False) -> luigi.Task:
    """The task of a node."""
    stage, _, address = name.partition(":")
    kind = TASKS[stage]
    values: dict[str, Any] = dict(zip(kind.parts, address.split("/"), strict=True))
    if kind is Benchmark:
        machine = current_mill().graph.nodes[name].fields["machine"]
        values["machine"] = digest_json(machine)[:12]
    return kind(**values, force=force)
