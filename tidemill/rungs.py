"""The ladder: what a compiler cannot do with a target's flags is also compiled with others. Pure.

An expectation of a failed compile may name a rung, flags under which it works. The rung is an
action of its own beside the one that fails: both are kept, judged and reported, so the day on which
the failure is gone is seen. A release gives the rung's module under the address that was asked for,
and says so.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from tidemill.address import Address, matches
from tidemill.graph import Graph, Input, Node, NodeId
from tidemill.manifest.targets import Expectation, RungPart


def with_rungs(graph: Graph, expectations: Iterable[Expectation]) -> Graph:
    """``graph`` with a compile node, and where there was one a validate node, for each rung."""
    known = list(expectations)
    nodes: dict[NodeId, Node] = {}
    for name, node in graph.nodes.items():
        nodes[name] = node
        if node.stage == "compile" and (rung := _rung_of(node, known)):
            nodes |= {one.id: one for one in _built(node, rung, graph)}
    return Graph(nodes=nodes)


def _rung_of(node: Node, expectations: Sequence[Expectation]) -> RungPart | None:
    address = str(node.address)
    named = (one.rung for one in expectations if matches(one.address, address))
    return next((rung for rung in named if rung), None)


def _built(node: Node, rung: RungPart, /, graph: Graph) -> Iterator[Node]:
    at = node.address
    address = Address(at.model, at.component, at.variant, f"{at.target}-{rung.name}")
    own = graph.nodes.get(f"validate:{at}")
    flags = replaced(node.fields["flags"], rung.flags)
    judge = f"validate:{address}" if own else node.judge
    step = replace(node, address=address, fields={"flags": flags}, rung_of=node.id, judge=judge)
    yield step
    if own:
        inputs = tuple(_moved(each, node.id, step.id) for each in own.inputs)
        yield replace(own, address=address, inputs=inputs, rung_of=own.id)


def _moved(edge: Input, before: NodeId, after: NodeId, /) -> Input:
    return replace(edge, node=after) if edge.node == before else edge


def replaced(flags: Sequence[str], others: Sequence[str]) -> list[str]:
    """``flags`` with ``others`` in place of, or after, those of the same name."""
    names = {_name(flag) for flag in others}
    return [*(flag for flag in flags if _name(flag) not in names), *others]


def _name(flag: str) -> str:
    return flag.partition("=")[0]
