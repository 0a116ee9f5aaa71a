"""Whether each node is up to date, must be built, or cannot be: the plan, and its reasons.

``complete()`` of a task and the table of ``tidemill plan`` both come from here. States are kept
until ``forget``; asking again after a build gives the new state.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tidemill.cache import Cache, Hit
from tidemill.errors import FailureClass
from tidemill.graph import Graph, Node, NodeId
from tidemill.keys import Bound, bind
from tidemill.records import Failure, Output

StateName = Literal["up-to-date", "build", "blocked"]

_LIMITED = {FailureClass.TIMEOUT, FailureClass.OUT_OF_MEMORY}


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One node's state. ``bound`` is None while an input's content is not known yet.

    ``failure`` is set when the same action failed before and would fail again; ``unvalidated`` when
    this host has no device for it.
    """

    state: StateName
    reasons: tuple[str, ...] = ()
    bound: Bound | None = None
    outputs: tuple[Output, ...] = ()
    damaged: bool = False
    failure: Failure | None = None
    unvalidated: bool = False


@dataclass(slots=True, kw_only=True)
class States:
    """Evaluates nodes of one graph against one cache.

    ``tools`` has the packages and versions of each toolchain, "" being the run's own. ``code`` has
    the digest of every node's working code, taken once at the start; ``execute`` refuses a result
    whose code was edited since. ``missing_device`` says why this host cannot validate a target, or
    None when it can.
    """

    graph: Graph
    cache: Cache
    tools: Mapping[str, Mapping[str, str]]
    code: Mapping[tuple[str, ...], str]
    missing_device: Callable[[str], str | None]
    retry_failed: bool = False
    _known: dict[NodeId, State] = field(default_factory=dict)

    def forget(self, name: NodeId) -> None:
        """Look one node up again when it is asked for next."""
        self._known.pop(name, None)

    def of(self, name: NodeId) -> State:
        """The state of a node; its inputs are evaluated first. The graph is shallow: recursion."""
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._evaluate(self.graph.nodes[name])
        return known

    def can_run(self, name: NodeId) -> bool:
        """Whether a node could be built now if somebody insisted: inputs and device are there."""
        return self.of(name).bound is not None and self._no_device(self.graph.nodes[name]) is None

    def fresh(self, name: NodeId) -> State:
        """The state by what the store holds now, for a worker beside others."""
        for ancestor in self.graph.ancestors([name]):
            if ancestor in self._known and self._known[ancestor].state != "up-to-date":
                del self._known[ancestor]
        self._known.pop(name, None)
        return self.of(name)

    def _evaluate(self, node: Node) -> State:
        inputs: dict[str, dict[str, str]] = {}
        waiting: list[str] = []
        blocked: list[str] = []
        for edge in node.inputs:
            above = self.of(edge.node)
            if above.state == "up-to-date":
                if lost := _take(inputs.setdefault(edge.role, {}), edge.files, above.outputs):
                    blocked.append(f"needs {lost} of {edge.node}, which has made no such file")
            elif above.state == "blocked":
                word = "failed" if above.failure else "is blocked"
                blocked.append(f"needs {edge.node}, which {word}")
            else:
                waiting.append(f"needs {edge.node}, which is to be built")
        if blocked:
            return State(state="blocked", reasons=tuple(blocked))
        if waiting and (why := self._no_device(node)):
            return State(state="blocked", reasons=(why,), unvalidated=True)
        if waiting:
            return State(state="build", reasons=tuple(waiting))
        bound = bind(
            node,
            inputs=inputs,
            tools=self.tools[node.toolchain],
            code=self.code[node.code],
        )
        return self._look_up(bound)

    def _no_device(self, node: Node) -> str | None:
        return self.missing_device(node.device) if node.device != "none" else None

    def _look_up(self, bound: Bound) -> State:
        node = bound.node
        found = self.cache.look_up(node.stage, bound.key)
        if isinstance(found, Hit):
            return State(state="up-to-date", bound=bound, outputs=found.outputs)
        absent = self._no_device(node)
        failure = self.cache.failure(node.stage, bound.key)
        # A failure is only put aside where the action can really be tried again.
        retried = self.retry_failed and absent is None
        if failure is not None and _stands(failure, node) and not retried:
            line = failure.lines[0] if failure.lines else "its log says no more"
            reason = f"failed before ({failure.failure}): {line}"
            return State(state="blocked", reasons=(reason,), bound=bound, failure=failure)
        if absent is not None:
            return State(state="blocked", reasons=(absent,), bound=bound, unvalidated=True)
        return State(state="build", reasons=(found.reason,), bound=bound, damaged=found.damaged)


def _stands(failure: Failure, node: Node) -> bool:
    """Whether a recorded failure would happen again."""
    same_limits = failure.limits == {
        "seconds": node.limits.seconds,
        "memory_bytes": node.limits.memory_bytes,
    }
    return failure.deterministic and (failure.failure not in _LIMITED or same_limits)


def _take(
    role: dict[str, str], files: tuple[tuple[str, str], ...], /, outputs: tuple[Output, ...]
) -> str:
    """Add the digests of ``files`` to ``role``; the first one that is not among ``outputs``."""
    by_name = {output.name: output.digest for output in outputs if output.kind != "log"}
    for name, output in files or tuple((name, name) for name in by_name):
        if output not in by_name:
            return output
        role[name] = by_name[output]
    return ""
