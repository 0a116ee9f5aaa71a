"""Nodes, edges, and which of them a person asks for. Pure: no disk, no clock, no digests of inputs.

One node is one step of one address. Fields are exactly what is hashed; limits and folders are not.
``graph_build`` makes graphs from manifests.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from tidemill.address import Address
from tidemill.manifest.model import LimitPart
from tidemill.records import Stage

NodeId = str

#: The role of the VMFB among the inputs of a validation or a benchmark.
MODULE = "module"

#: Time and memory per stage where the manifest is silent.
DEFAULT_LIMITS: Mapping[Stage, LimitPart] = {
    "fetch": LimitPart(timeout="30m", memory="2GiB"),
    "quantize": LimitPart(timeout="1h", memory="8GiB"),
    "export": LimitPart(timeout="20m", memory="8GiB"),
    "pack": LimitPart(timeout="30m", memory="4GiB"),
    "reference": LimitPart(timeout="30m", memory="8GiB"),
    "compile": LimitPart(timeout="30m", memory="8GiB"),
    "validate": LimitPart(timeout="30m", memory="8GiB"),
    "benchmark": LimitPart(timeout="30m", memory="8GiB"),
    "conformance": LimitPart(timeout="2h", memory="8GiB"),
    "compare": LimitPart(timeout="5m", memory="1GiB"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one action may use: ``seconds`` of wall time, ``memory_bytes`` of its process tree."""

    seconds: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Files of another node that an action reads: ``files`` maps name in the role → output name.

    An empty ``files`` takes every output under its own name.
    """

    role: str
    node: NodeId
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step of one address, before its inputs have digests."""

    stage: Stage
    address: Address
    fields: Mapping[str, Any]
    inputs: tuple[Input, ...] = ()
    tools: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    limits: Limits
    device: str = "none"
    #: The toolchain that makes it; "" is the run's own.
    toolchain: str = ""
    #: Of a compile or conformance node: the node whose verdict counts for what it makes.
    judge: NodeId = field(default="", compare=False)
    #: The node that this one is done with other flags for; its target is what people ask for.
    rung_of: NodeId = field(default="", compare=False)
    base: str = field(default="", compare=False)

    @property
    def id(self) -> NodeId:
        """``stage:address``, unique in a graph."""
        return f"{self.stage}:{self.address}"

    @property
    def target(self) -> str:
        """The target, also of a rung; "" for what all targets share."""
        return self.rung_of.rpartition("/")[2] or self.address.target


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Nodes in an order in which every node comes after its inputs."""

    nodes: Mapping[NodeId, Node]

    def ancestors(self, wanted: Iterable[NodeId]) -> set[NodeId]:
        """``wanted`` and everything they need."""
        found: set[NodeId] = set()
        waiting = list(wanted)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += [edge.node for edge in self.nodes[name].inputs]
        return found

    def with_flags(self, translate: Callable[[Node], list[str]]) -> "Graph":
        """The same graph with the compile flags of every node that has some replaced."""
        return Graph(
            nodes={
                name: replace(node, fields={**node.fields, "flags": translate(node)})
                if "flags" in node.fields
                else node
                for name, node in self.nodes.items()
            }
        )

    def only(self, wanted: set[NodeId]) -> "Graph":
        """The same graph without the nodes that are not in ``wanted`` (which must be closed)."""
        return Graph(nodes={name: node for name, node in self.nodes.items() if name in wanted})


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a person asks for: shell-style patterns, of which one must fit; none means any."""

    model: tuple[str, ...] = ()
    component: tuple[str, ...] = ()
    variant: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    stage: str = ""

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return self == Selection()


def select(graph: Graph, selection: Selection) -> set[NodeId]:
    """The nodes that a selection names (without what they need).

    With a stage, the nodes of that stage; without, the nodes below which nothing hangs. A filter on
    the target keeps nodes that belong to a target out only if theirs differs.
    """
    wanted = set()
    tips = set(graph.nodes) - {edge.node for node in graph.nodes.values() for edge in node.inputs}
    for name, node in graph.nodes.items():
        in_stage = node.stage == selection.stage if selection.stage else name in tips
        if in_stage and _fits(node, selection):
            wanted.add(name)
    return wanted


def _fits(node: Node, selection: Selection) -> bool:
    at = node.address
    pairs = [(at.model, selection.model)]
    # The second part of a fetch's address is a source, which belongs to every component.
    if node.stage != "fetch":
        pairs += [(at.component, selection.component), (at.variant, selection.variant)]
    fits = all(_any(patterns, text) for text, patterns in pairs)
    # A rung is meant by its own name and by that of the target which people ask for.
    return fits and (
        not at.target or any(_any(selection.target, t) for t in (at.target, node.target))
    )


def _any(patterns: tuple[str, ...], text: str) -> bool:
    return not patterns or any(fnmatchcase(text, pattern) for pattern in patterns)
