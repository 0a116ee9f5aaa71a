"""Records → a release: the complete, immutable list of what a pipeline publishes. Pure rules.

A release holds an entry for every artifact that the manifests promise: also for those that are not
there, with the reason. Nothing whose verdict does not hold is ever published as a file.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from tidemill.address import Address, matches
from tidemill.graph import Graph, Node, NodeId
from tidemill.records import (
    COMPILER,
    ActionResult,
    Artifact,
    ArtifactStatus,
    Failure,
    Output,
    Release,
)

OnFailure = Literal["block", "carry", "drop"]

#: Which stages publish, and what they publish.
PUBLISHED = {"export": "mlir", "pack": "irpa", "reference": "reference", "compile": "vmfb"}

_Status = tuple[ArtifactStatus, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a channel demands: addresses that must be there, and what happens when one is not.

    An expectation waives the requirement: a required artifact of status ``expected-failure`` does
    not block, and is not carried. Only ``missing`` does and is.
    """

    required: tuple[str, ...] = ()
    on_failure: OnFailure = "block"


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
    for name, node in graph.nodes.items():
        if node.stage == "compile":
            unasked = NodeResult(node=node, absent="validation was not asked for", unvalidated=True)
            check = results.get(f"validate:{node.address}", unasked)
            cause = _cause(graph, results, (name, f"validate:{node.address}"))
            status = _status(results[name], check, cause=cause)
            shared[str(node.address.shared)][node.address.target] = status
            artifacts += _target_artifacts(results[name], check, status)
    for name, node in graph.nodes.items():
        if node.stage in ("export", "pack", "reference"):
            status = _shared_status(shared[str(node.address)])
            cause = _cause(graph, results, (name,))
            artifacts += _shared_artifacts(results[name], status, cause=cause)
    return tuple(sorted(artifacts, key=lambda item: (item.address, item.file)))


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
    if cause is not None:
        return _lost(cause)
    if built.result is None:
        return "missing", built.absent
    if check.result is None:
        # Only the lack of a device excuses the lack of a verdict.
        return ("unvalidated" if check.unvalidated else "missing"), check.absent
    kind = check.result.facts.get("verdict", {}).get("kind", "full")
    return ("proxy", "validated on a declared proxy") if kind == "proxy" else ("validated", "")


def _shared_status(targets: Mapping[str, _Status]) -> _Status:
    """The best that any target came to; without one that was validated, why there is none."""
    words = {word for word, _ in targets.values()}
    if "validated" in words:
        return "validated", ""
    if "proxy" in words:
        return "proxy", "validated on a declared proxy"
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


def _target_artifacts(built: NodeResult, check: NodeResult, status: _Status) -> list[Artifact]:
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
    if check.result is not None:
        made += [(output, check.result.key) for output in check.result.outputs]
        verdict = check.result.facts.get("verdict")
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
            verdict=_brief(verdict),
            compiler=built.result.parts["tools"][COMPILER] if output.kind == "vmfb" else "",
        )
        for output, key in made
    ]


def _brief(verdict: dict[str, object] | None) -> dict[str, object] | None:
    """The part of a verdict that a release carries; the whole is the verdict artifact."""
    if verdict is None:
        return None
    return {name: verdict.get(name) for name in ("holds", "kind", "summary", "greedy")}


def _shared_artifacts(
    built: NodeResult, status: _Status, *, cause: NodeResult | None
) -> list[Artifact]:
    address = built.node.address
    if cause or built.result is None:
        kind = PUBLISHED[built.node.stage]
        word, reason = _lost(cause) if cause else ("missing", built.absent)
        return [
            Artifact(
                address=str(address), kind=kind, file=f"{address}/model.{kind}", digest="",
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


def apply_policy(
    artifacts: Sequence[Artifact], *, policy: Policy, last_good: Release | None
) -> tuple[tuple[Artifact, ...], list[str]]:
    """The artifacts to release and what blocks the channel (empty: it may move).

    A missing artifact is carried from the last release where the policy says so and what a variant
    then has fits together (see ``_carried``). A required artifact that is missing and not carried
    blocks, unless the policy drops what is missing.
    """
    kept = tuple(artifacts)
    if policy.on_failure == "carry" and last_good:
        last = [_told(item, last_good) for item in last_good.artifacts]
        now, then = _by_variant(artifacts), _by_variant(last)
        mixed = [item for name in now for item in _carried(now[name], then[name])]
        kept = tuple(sorted(mixed, key=lambda item: (item.address, item.file)))
    blocking = [
        f"{item.file}: {item.reason}"
        for item in kept
        if item.status == "missing"
        and policy.on_failure != "drop"
        and any(matches(pattern, item.address) for pattern in policy.required)
    ]
    blocking += [
        f"nothing matches the required address {pattern}"
        for pattern in policy.required
        if not any(matches(pattern, artifact.address) for artifact in artifacts)
    ]
    return kept, blocking


def _carried(now: Sequence[Artifact], then: Sequence[Artifact]) -> Sequence[Artifact]:
    """One variant of a release, with what the last release has in place of what is missing.

    A target is carried beside shared files that are those of the last release, file by file. Where
    a shared file is missing, the variant is carried as a whole, or not at all. Carried is only what
    was validated, on a proxy or not.
    """
    lost = [item for item in now if item.status == "missing"]
    good = [(item, word) for item in then if (word := _former(item, then))]
    doubted = [item for item in now if not _target(item) and item.status == "unvalidated"]
    whole = any(not _target(item) for item in lost)
    if whole:
        kinds = {item.kind for item, _ in good if not _target(item)}
        fits = kinds >= {item.kind for item in now if not _target(item)} and not any(
            item.status == "expected-failure" for item in now if not _target(item)
        )
        swap = {item.address for item in now if item.status != "expected-failure"}
    else:
        files = _shared_files(now)
        fits = bool(files) and all(files.values()) and files == _shared_files(then)
        swap = {item.address for item in lost}
        if any(item.address in swap for item, _ in good):
            swap |= {item.address for item in doubted}  # their targets vouch for the same bytes
    taken = [_again(item, word, whys=lost + doubted) for item, word in good if item.address in swap]
    if not fits or not taken:
        return now
    there = {item.address for item in taken}
    left = [item for item in now if item.address not in there]
    return [*(map(_emptied, left) if whole else left), *taken]


def _again(item: Artifact, former: str, *, whys: Sequence[Artifact]) -> Artifact:
    why = max(whys, key=lambda lost: (lost.address == item.address, lost.kind == item.kind))
    reason = f"carried from the last release ({former} there): {why.reason}"
    return msgspec.structs.replace(item, status="carried", reason=reason)


def _emptied(item: Artifact) -> Artifact:
    """A target that the last release cannot give, in a variant that is carried from it."""
    reason = "its variant is carried from the last release, where this was not validated"
    if not item.digest:
        return item
    empty = {"digest": "", "size": 0, "compiler": ""}
    return msgspec.structs.replace(item, status="missing", reason=reason, **empty)


def _told(item: Artifact, release: Release) -> Artifact:
    """``item`` with its release's compiler, where older releases do not say what made a VMFB."""
    if item.kind != "vmfb" or item.compiler or item.status == "carried":
        return item
    return msgspec.structs.replace(item, compiler=release.tools.get(COMPILER, ""))


def _former(item: Artifact, then: Sequence[Artifact]) -> str:
    """How ``item`` was validated when it was made, for the last release ``then``; "" if never."""
    if item.status != "carried" or not item.digest:
        return item.status if item.status in ("validated", "proxy") else ""
    if _target(item):
        kind = (item.verdict or {}).get("kind", "")
        return {"full": "validated", "proxy": "proxy"}.get(kind, "")
    # "validated" sorts after "proxy", and both after "".
    return max((_former(one, then) for one in then if _target(one)), default="")


def _target(item: Artifact) -> str:
    return Address.parse(item.address).target


def _shared_files(variant: Iterable[Artifact]) -> dict[str, str]:
    return {item.file: item.digest for item in variant if not _target(item)}


def _by_variant(artifacts: Iterable[Artifact]) -> defaultdict[str, list[Artifact]]:
    found: defaultdict[str, list[Artifact]] = defaultdict(list)
    for item in artifacts:
        found[str(Address.parse(item.address).shared)].append(item)
    return found
