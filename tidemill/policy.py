"""What a channel demands of a release, and what it carries from the last one. Pure rules."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from tidemill.address import Address, matches
from tidemill.records import COMPILER, Artifact, Release

OnFailure = Literal["block", "carry", "drop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a channel demands: addresses that must be there, and what happens when one is not.

    An expectation waives the requirement: a required artifact of status ``expected-failure`` does
    not block, and is not carried. Only ``missing`` does and is.
    """

    required: tuple[str, ...] = ()
    on_failure: OnFailure = "block"


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
        # A suite of tests has none: its table stands for itself.
        fits = all(files.values()) and files == _shared_files(then)
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
