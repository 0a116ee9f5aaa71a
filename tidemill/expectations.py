"""Known failures: which outcome they turn amber, and when they are themselves the problem. Pure."""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tidemill.address import matches
from tidemill.manifest.targets import Expectation, InheritedExpectation
from tidemill.records import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What happened to one node, as expectations see it. ``failure`` is None when it passed."""

    address: str
    stage: str
    failure: Failure | None
    ended: bool = True


def expected(
    failure: Failure, *, expectations: Iterable[Expectation], today: datetime.date
) -> Expectation | None:
    """The unexpired expectation that covers a failure: same stage, class, address, diagnostic."""
    for expectation in expectations:
        if (
            expectation.stage == failure.step
            and expectation.failure == failure.failure
            and matches(expectation.address, failure.address)
            and any(expectation.match in line for line in failure.lines)
            and not expired(expectation, today=today)
        ):
            return expectation
    return None


def unmatched(
    expectations: Iterable[Expectation], *, nodes: Iterable[tuple[str, str]]
) -> list[str]:
    """The expectations that fit none of ``nodes`` (stage, address): mistyped, or left over.

    A model need not have every component of the one that it fails like.
    """
    known = list(nodes)
    return [
        f"expectation {one.address} ({one.stage}, {one.failure}) fits no node of any manifest:"
        f" {one.owner} must correct or remove it"
        for one in expectations
        if not isinstance(one, InheritedExpectation)
        and not any(stage == one.stage and matches(one.address, at) for stage, at in known)
    ]


def expired(expectation: Expectation, *, today: datetime.date) -> bool:
    """Whether the expectation's last day is over."""
    return datetime.date.fromisoformat(expectation.expires) < today


def problems(
    seen: Sequence[Seen], *, expectations: Iterable[Expectation], today: datetime.date
) -> list[str]:
    """What is wrong with the expectations themselves: expired, or everything they cover passes.

    Inherited ones may pass: those of the model that they come from are watched.
    """
    found = []
    for expectation in expectations:
        covered = [
            node
            for node in seen
            if node.stage == expectation.stage and matches(expectation.address, node.address)
        ]
        words = f"expectation {expectation.address} ({expectation.stage}, {expectation.failure})"
        if isinstance(expectation, InheritedExpectation):
            words += f", which is one of {expectation.of},"
        if covered and expired(expectation, today=today):
            found.append(
                f"{words} expired on {expectation.expires}: {expectation.owner} must decide"
                f" ({expectation.issue})"
            )
        elif isinstance(expectation, InheritedExpectation):
            continue
        elif covered and all(node.ended and node.failure is None for node in covered):
            found.append(
                f"{words} is met by nothing any more: it passes. Remove it and close"
                f" {expectation.issue}"
            )
    return found
