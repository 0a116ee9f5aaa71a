"""Records → a release: the complete, immutable list of what a pipeline publishes. Pure rules.

A release holds an entry for every artifact that the manifests promise: also for those that are not
there, with the reason. Nothing whose verdict does not hold is ever published as a file.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tidemill.address import Address
from tidemill.graph import Graph, Node, NodeId
from tidemill.records import (
    COMPILER,
    ActionResult,
    Artifact,
    ArtifactStatus,
    Failure,
    Output,
)

#: Which stages publish, and what they publish.
PUBLISHED = {
    "export": "mlir",
    "pack": "irpa",
    "reference": "reference",
    "compile": "vmfb",
    "conformance": "table",
}

#: What a file that is not there would be called, where that is not ``model.<kind>``.
_NAMES = {"table": "table.json"}

_Status = tuple[ArtifactStatus, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeResult:
    """What is known of one node when a release is made.

    Where there are a failure and an older result, the failure counts. ``amber`` is the reason of
    the expectation that covers a failure; ``absent`` says why there is no result.
    """

    node: Node
    result: ActionResult | None = None
    failure: Failure | None = None
    amber: str = ""
    absent: str = ""
    unvalidated: bool = False


def artifacts_of(graph: Graph, results: Mapping[str, NodeResult]) -> tuple[Artifact, ...]:
    """Every artifact of a graph, sorted by address and file."""
    artifacts: list[Artifact] = []
    shared: defaultdict[str, dict[str, _Status]] = defaultdict(dict)
    rungs = {node.rung_of: node for node in graph.nodes.values()}
    bounds = _bounds(graph)
    for name, node in graph.nodes.items():
        if node.stage == "compile" and not node.rung_of:
            built, check, status = _module(graph, results, node)
            rung = rungs.get(name)
            used = ""
            if rung and results[name].amber and results[rung.id].result:
                # Who asks for this address gets what could be made. A failure that nobody expects
                # is no reason to: it is to be seen.
                built, check, word = _module(graph, results, rung)
                built, used = replace(built, node=node), _flags(rung, node)
                status = word[0], _degraded(word[1], used, results[name])
            shared[str(node.address.shared)][node.address.target] = status
            bound = bounds.get(str(check.node.address.shared), "")
            artifacts += _target_artifacts(built, check, _limited(status, bound), rung=used)
    for name, node in graph.nodes.items():
        if node.stage in ("export", "pack", "reference"):
            status = _shared_status(shared[str(node.address)])
            if node.stage == "export":
                status = _limited(status, bounds.get(str(node.address), ""))
            cause = _cause(graph, results, (name,))
            artifacts += _shared_artifacts(results[name], status, cause=cause)
        elif node.stage == "conformance":
            compared = results.get(node.judge, NodeResult(node=node, absent="it was not compared"))
            cause = _cause(graph, results, (name,))
            artifacts += _shared_artifacts(results[name], _compared(compared), cause=cause)
    return tuple(sorted(artifacts, key=lambda item: (item.address, item.file)))


def _module(
    graph: Graph, results: Mapping[str, NodeResult], node: Node
) -> tuple[NodeResult, NodeResult, _Status]:
    """What was compiled, what was validated for it, and what that comes to."""
    unasked = NodeResult(node=node, absent="validation was not asked for", unvalidated=True)
    built, check = results[node.id], results.get(node.judge, unasked)
    cause = _cause(graph, results, (node.id, node.judge))
    return built, check, _status(built, check, cause=cause)


def _bounds(graph: Graph) -> dict[str, str]:
    """The variants that do not hold for all inputs that they take, and for which they do."""
    return {
        str(node.address.shared): node.fields["holds_for"]
        for node in graph.nodes.values()
        if "holds_for" in node.fields
    }


def _limited(status: _Status, bound: str) -> _Status:
    word, reason = status
    if not bound or word in ("missing", "expected-failure"):
        return status
    words = f"{'made' if word == 'unvalidated' else 'holds'} for {bound}"
    return word, f"{reason}; {words}" if reason else words


def _compared(check: NodeResult) -> _Status:
    """A table tells what is so, good or bad: it is released even where it is not as expected."""
    if check.failure is not None:
        return "unvalidated", _lost(check)[1]
    return ("validated", "") if check.result else ("unvalidated", check.absent)


def _flags(rung: Node, node: Node) -> str:
    """The flags of a rung that the node has not, which it is a rung of."""
    before = node.fields["flags"]
    return " ".join(flag for flag in rung.fields["flags"] if flag not in before)


def _degraded(reason: str, flags: str, failed: NodeResult) -> str:
    words = f"degraded to {flags}: {_lost(failed)[1]}"
    return f"{reason}; {words}" if reason else words


def _cause(
    graph: Graph, results: Mapping[str, NodeResult], names: Iterable[NodeId]
) -> NodeResult | None:
    """The failure of, or above, the first of ``names`` that has one: whatever results there are.

    One that no expectation covers comes before one that is expected.
    """
    for name in names:
        if name in graph.nodes:
            above = [results[each] for each in sorted(graph.ancestors([name]))]
            failed = [known for known in above if known.failure is not None]
            if failed:
                return next((known for known in failed if not known.amber), failed[0])
    return None


def _status(built: NodeResult, check: NodeResult, *, cause: NodeResult | None) -> _Status:
    proxy = _proxy(built, check)
    if cause is not None:
        word, reason = _lost(cause)
        of_proxy = proxy and cause.node.address.component == check.node.address.component
        return word, f"its proxy {proxy}: {reason}" if of_proxy else reason
    if built.result is None:
        return "missing", built.absent
    if check.result is None:
        # Only the lack of a device excuses the lack of a verdict.
        return ("unvalidated" if check.unvalidated else "missing"), check.absent
    return ("proxy", f"validated on its proxy {proxy}") if proxy else ("validated", "")


def _proxy(built: NodeResult, check: NodeResult) -> str:
    """The variant that was validated in place of the one that was built; "" for itself."""
    judged = check.node.address.shared
    return "" if judged == built.node.address.shared else str(judged)


def _shared_status(targets: Mapping[str, _Status]) -> _Status:
    """The best that any target came to; without one that was validated, why there is none."""
    words = {word for word, _ in targets.values()}
    if "validated" in words:
        return "validated", ""
    if "proxy" in words:
        return "proxy", next(reason for word, reason in targets.values() if word == "proxy")
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for target, (_, reason) in sorted(targets.items()):
        reasons[reason].append(target)
    why = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
    return "unvalidated", f"no target of this variant was validated: {why or 'none was asked for'}"


def _lost(cause: NodeResult) -> _Status:
    failure = cause.failure
    assert failure is not None  # noqa: S101 - what makes it a cause
    line = failure.lines[0] if failure.lines else "its log says no more"
    words = f"{failure.step}: {failure.failure}: {line}"
    return ("expected-failure", f"{cause.amber} ({words})") if cause.amber else ("missing", words)


def _file(address: Address, output: Output) -> str:
    folder = "reference/" if output.kind == "reference" else ""
    return f"{address}/{folder}{output.name}"


def _target_artifacts(
    built: NodeResult, check: NodeResult, status: _Status, *, rung: str
) -> list[Artifact]:
    address, (word, reason) = built.node.address, status
    if built.result is None or word in ("missing", "expected-failure"):
        return [
            Artifact(
                address=str(address), kind="vmfb", file=f"{address}/model.vmfb", digest="", size=0,
                key=built.result.key if built.result else "", status=word, reason=reason,
            )
        ]  # fmt: skip
    made = [(output, built.result.key) for output in built.result.outputs if output.kind == "vmfb"]
    verdict = None
    proxy = _proxy(built, check)
    if check.result is not None:
        verdict = check.result.facts.get("verdict")
        if not proxy:  # else the verdict's file lies where it belongs
            made += [(output, check.result.key) for output in check.result.outputs]
    return [
        Artifact(
            address=str(address),
            kind=output.kind,
            file=_file(address, output),
            digest=output.digest,
            size=output.size,
            key=key,
            status=word,
            reason=reason,
            verdict=_brief(verdict, proxy=proxy),
            compiler=built.result.parts["tools"][COMPILER] if output.kind == "vmfb" else "",
            rung=rung if output.kind == "vmfb" else "",
        )
        for output, key in made
    ]


def _brief(verdict: dict[str, object] | None, *, proxy: str) -> dict[str, object] | None:
    """The part of a verdict that a release carries; the whole is the verdict artifact."""
    if verdict is None:
        return None
    brief = {name: verdict.get(name) for name in ("holds", "kind", "summary", "greedy")}
    brief |= {name: verdict[name] for name in ("quantisation", "holds_for") if name in verdict}
    return {**brief, "kind": "proxy", "proxy": proxy} if proxy else brief


def _shared_artifacts(
    built: NodeResult, status: _Status, *, cause: NodeResult | None
) -> list[Artifact]:
    address = built.node.address
    if cause or built.result is None:
        kind = PUBLISHED[built.node.stage]
        name = _NAMES.get(kind, f"model.{kind}")
        word, reason = _lost(cause) if cause else ("missing", built.absent)
        return [
            Artifact(
                address=str(address), kind=kind, file=f"{address}/{name}", digest="",
                size=0, key="", status=word, reason=reason,
            )
        ]  # fmt: skip
    return [
        Artifact(
            address=str(address),
            kind=output.kind,
            file=_file(address, output),
            digest=output.digest,
            size=output.size,
            key=built.result.key,
            status=status[0],
            reason=status[1],
        )
        for output in built.result.outputs
    ]
