"""The ladder: what a compiler cannot do with a target's flags is also compiled with others. Pure.

An expectation of a failed compile may name a rung, flags under which it works. The rung is an
action of its own beside the one that fails: both are kept, judged and reported, so the day on which
the failure is gone is seen. A release gives the rung's module under the address that was asked for,
and says so.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from tidemill.address import Address, matches
from tidemill.graph import MODULE, Graph, Input, Node, NodeId
from tidemill.manifest.targets import Expectation, RungPart


def with_rungs(graph: Graph, expectations: Iterable[Expectation]) -> Graph:
    """``graph`` and, for each rung, a compile node with the node whose verdict counts for it.

    Where that is a proxy's, the proxy is compiled and validated with the rung's flags, too.
    """
    known = list(expectations)
    nodes = dict(graph.nodes)
    for node in graph.nodes.values():
        if node.stage == "compile" and (rung := _rung_of(node, known)):
            nodes |= {one.id: one for one in _built(node, rung, graph)}
    return Graph(nodes=nodes)


def _rung_of(node: Node, expectations: Sequence[Expectation]) -> RungPart | None:
    address = str(node.address)
    named = (one.rung for one in expectations if matches(one.address, address))
    return next((rung for rung in named if rung), None)


def _built(node: Node, rung: RungPart, /, graph: Graph) -> Iterator[Node]:
    judge = graph.nodes[node.judge]
    (judged,) = (edge.node for edge in judge.inputs if edge.role == MODULE)
    flags = replaced(node.fields["flags"], rung.flags)
    for one in dict.fromkeys((node.id, judged)):
        before = graph.nodes[one]
        yield replace(
            before,
            address=_on(before.address, rung),
            fields={"flags": flags},
            rung_of=before.id,
            judge=f"validate:{_on(judge.address, rung)}",
        )
    step = f"compile:{_on(graph.nodes[judged].address, rung)}"
    inputs = tuple(_moved(each, judged, step) for each in judge.inputs)
    yield replace(judge, address=_on(judge.address, rung), inputs=inputs, rung_of=judge.id)


def _on(at: Address, rung: RungPart) -> Address:
    return Address(at.model, at.component, at.variant, f"{at.target}-{rung.name}")


def _moved(edge: Input, before: NodeId, after: NodeId, /) -> Input:
    return replace(edge, node=after) if edge.node == before else edge


def replaced(flags: Sequence[str], others: Sequence[str]) -> list[str]:
    """``flags`` with ``others`` in place of, or after, those of the same name."""
    names = {_name(flag) for flag in others}
    return [*(flag for flag in flags if _name(flag) not in names), *others]


def _name(flag: str) -> str:
    return flag.partition("=")[0]
