"""The mill: one workspace, one pipeline's graph, one store, one toolchain, held together.

Everything that plans, runs or explains works with one, made by ``opening``. It knows no luigi.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tidemill.cache import Cache
from tidemill.child import Start, spawn
from tidemill.errors import TidemillError
from tidemill.events import EventLog
from tidemill.execute import ActionFailed, InputLost, Place, execute
from tidemill.graph import MODULE, Graph, Node, NodeId
from tidemill.keys import changed_parts
from tidemill.manifest.load import Manifests
from tidemill.records import ActionResult
from tidemill.states import State, States
from tidemill.steps.table import STEPS
from tidemill.store.contract import Store
from tidemill.store.trouble import disk_error
from tidemill.toolchain.lock import Lock
from tidemill.toolchain.toolchains import Toolchains
from tidemill.workspace import Workspace

#: What a benchmark's record repeats of its module's.
MODULE_FACTS = ("dispatch_count", "executable_count", "transient_bytes")


@dataclass(slots=True, kw_only=True)
class Mill:
    """What a pipeline works with. ``folder`` is the local folder of the current run, if any.

    ``warm`` is how, by toolchain, steps start whose imports another process has done; ``troubles``
    are what a person should know of the run and no node tells.
    """

    workspace: Workspace
    manifests: Manifests
    graph: Graph
    store: Store
    cache: Cache
    toolchains: Toolchains
    states: States
    notes: tuple[str, ...] = ()
    device_uri: Callable[[str], str] = lambda _target: ""
    folder: Path | None = None
    forced: frozenset[NodeId] = frozenset()
    warm: Mapping[str, Start] = field(default_factory=dict)
    troubles: tuple[str, ...] = ()
    _done: set[NodeId] = field(default_factory=set)
    _latest_keys: dict[NodeId, str] | None = None

    @property
    def lock(self) -> Lock:
        """The lock of the run's own toolchain."""
        return self.toolchains.own

    @property
    def tools(self) -> dict[str, str]:
        """Package → version of what the graph's actions use, as reports and releases name them."""
        return self.toolchains.tools(
            {(node.toolchain, tool) for node in self.graph.nodes.values() for tool in node.tools}
        )

    def holds(self, name: NodeId) -> bool:
        """Whether a node needs no work now: what a task's ``complete()`` says."""
        if name in self.forced and not self._was_built(name):
            return False
        return self.states.fresh(name).state == "up-to-date"

    def _was_built(self, name: NodeId) -> bool:
        if name in self._done:
            return True
        built = any(
            (event["event"], event["node"]) == ("finished", name)
            and event["outcome"] in ("built", "failed")
            for event in self.events()
        )
        if built:
            self._done.add(name)
        return built

    def run(self, name: NodeId) -> None:
        """Build one node whose inputs are up to date; write events. Raises as ``execute`` does."""
        state = self.states.fresh(name)
        node = self.graph.nodes[name]
        if state.state == "up-to-date" and name not in self.forced:
            return
        if state.failure is not None and name not in self.forced:
            raise ActionFailed(state.failure)
        self.event("started", node)
        started = time.monotonic()
        if state.bound is None:
            reason = f"an input was lost: {'; '.join(state.reasons)}"
            self._finish(node, "lost-input", started=started, reason=reason)
            raise InputLost(f"{name}: {reason}")
        place = Place(
            store=self.store,
            cache=self.cache,
            environment=self.toolchains.environment(node.toolchain),
            work=self.workspace.work,
            device_uri=self.device_uri(node.device) if node.device != "none" else "",
            start=self.warm.get(node.toolchain, spawn) if STEPS[node.stage].warm else spawn,
            beat=lambda seconds, memory, line: self.event(
                "beat", node, seconds=round(seconds, 1), memory_bytes=memory, line=line[:200]
            ),
        )
        try:
            result = execute(
                state.bound,
                place=place,
                replacing=state.damaged or name in self.forced,
                beside=self._of_module(node),
            )
        except ActionFailed as error:
            self._finish(node, "failed", started=started, key=error.failure.key)
            raise
        except TidemillError as error:
            outcome = "lost-input" if isinstance(error, InputLost) else "trouble"
            reason = f"{error.message}: {error.hint}" if error.hint else error.message
            self._finish(node, outcome, started=started, reason=reason)
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error} (a fault of tidemill itself)"
            self._finish(node, "trouble", started=started, reason=reason)
            raise
        self.cache.verified.save()  # what a worker wrote and hashed, nobody hashes again
        self._done.add(name)
        self._finish(node, "built", started=started, key=result.key)

    def _of_module(self, node: Node) -> Mapping[str, Any]:
        """Of a benchmark: what the compiler said of the module, to be kept beside the numbers."""
        if node.stage != "benchmark":
            return {}
        (module,) = (edge.node for edge in node.inputs if edge.role == MODULE)
        bound = self.states.of(module).bound
        made = self.cache.result("compile", bound.key) if bound else None
        return {name: made.facts.get(name) for name in MODULE_FACTS} if made else {}

    def _finish(
        self, node: Node, outcome: str, *, started: float, key: str = "", reason: str = ""
    ) -> None:
        seconds = round(time.monotonic() - started, 3)
        self.event("finished", node, outcome=outcome, seconds=seconds, key=key, reason=reason)
        self.states.forget(node.id)

    def event(self, kind: str, node: Node, **details: Any) -> None:
        """Note something that happened to a node in the current run, if there is one."""
        if log := self.event_log:
            log.append(
                {
                    "event": kind,
                    "node": node.id,
                    "address": str(node.address),
                    "stage": node.stage,
                    "at": round(time.time(), 3),
                    **details,
                }
            )

    @property
    def event_log(self) -> EventLog | None:
        """Where the current run's events go."""
        return EventLog(self.folder / "events.jsonl") if self.folder else None

    def events(self) -> list[dict[str, Any]]:
        """The events of the current run so far."""
        return log.since()[0] if (log := self.event_log) else []

    def start_run(self, pipeline: str) -> str:
        """Begin a run: a fresh folder for its events. Returns the run's id, sortable by time."""
        run = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{pipeline}-{uuid.uuid4().hex[:6]}"
        self.folder = self.workspace.run_folder(run)
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise disk_error(error, doing="begin a run", where=self.folder) from error
        return run

    # What changed since the node was last up to date here.

    @property
    def _latest_file(self) -> Path:
        return self.workspace.cache / "latest.json"

    def remember_latest(self) -> None:
        """Note the keys that are up to date, so that a later run can say what changed.

        A disk that cannot take the note only makes reasons shorter.
        """
        latest = self._latest()
        for name in self.graph.nodes:
            state = self.states.of(name)
            if state.state == "up-to-date" and state.bound:
                latest[name] = state.bound.key
        temporary = self._latest_file.with_name(f"latest.{os.getpid()}")
        with contextlib.suppress(OSError):
            temporary.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.json.encode(latest))
            temporary.replace(self._latest_file)

    def _latest(self) -> dict[NodeId, str]:
        """Node → key, read once."""
        if self._latest_keys is None:
            try:
                data = self._latest_file.read_bytes()
                self._latest_keys = msgspec.json.decode(data, type=dict[NodeId, str])
            except (OSError, ValueError):  # ValueError: damaged, whatever byte it is
                self._latest_keys = {}
        return self._latest_keys

    def why(self, name: NodeId, state: State) -> list[str]:
        """Why a node is not up to date, with the parts of its key that changed since then."""
        reasons = list(state.reasons)
        if state.failure is not None:
            return [*reasons, "--retry-failed tries it again"]
        if state.state == "up-to-date" or state.bound is None:
            return reasons
        before = self.previous(name)
        if before is not None and before.key != state.bound.key:
            changed = changed_parts(before.parts, state.bound.parts)
            reasons = [f"changed {line}" for line in changed] or reasons
        return reasons

    def previous(self, name: NodeId) -> ActionResult | None:
        """The record of the action under which this node was last up to date on this machine."""
        key = self._latest().get(name)
        return self.cache.result(self.graph.nodes[name].stage, key) if key else None

    def save(self) -> None:
        """Keep the indexes that make the next start quick."""
        self.cache.save_index()
