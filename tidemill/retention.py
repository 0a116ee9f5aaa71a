"""What may be removed from a store, and when. Pure rules; docs/adr/0013-retention.md says why.

Nothing is removed by age. A blob that no kept release, pin or lock names is first condemned by a
mark, and removed by a later sweep of that mark if nobody came to rely on it in between.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import msgspec

from tidemill.records import FORMAT

#: Last entries of a channel whose releases keep their blobs: as far as a rollback can go back.
ENTRIES_KEPT = 30
#: Between a mark and its sweep. A pull of what was released until then has this long to end.
GRACE = timedelta(days=7)
#: Whatever the grace, a mark is this old before its sweep: hosts may see a shared folder's names
#: this late (NFS keeps them for a minute).
SETTLED = timedelta(minutes=2)
#: A lease that gc has seen unchanged for so long is of a dead run: it is renewed every few minutes.
DEAD = timedelta(days=1)
#: Blobs are removed within this time after a window was announced …
WINDOW_SECONDS = 180.0
#: … so that nothing is removed any more this long after somebody has seen the announcement: the
#: rest is for one request that is under way, with what its client repeats.
WINDOW_OVER_SECONDS = 600.0

#: What a release does not need to be kept for: parameters and references are large, and are made
#: again from the same sources. What a failure leaves is swept once nobody has met it for a while.
SWEPT_KINDS = frozenset({"irpa", "quantised", "reference", "failure"})
#: A blob that nothing names: what a killed process had stored before it could write its record.
UNNAMED = "unnamed"
KINDS = (
    "irpa",
    "quantised",
    "reference",
    "failure",
    "source",
    "mlir",
    "config",
    "tokenizer",
    "vmfb",
    "verdict",
    "table",
    "benchmark",
    "log",
    UNNAMED,
)

_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_LOCKED = re.compile(rb'"release"\s*:\s*"([0-9a-f]{64})"')


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """What a person keeps: ``pins/<name>.json``. Either a release, or what an address glob picks.

    A glob keeps what it picks in every release of the store. ``expires`` is the last day it holds.
    """

    name: str
    reason: str
    owner: str
    created_at: datetime
    release: str = ""
    address: str = ""
    expires: date | None = None
    format: int = FORMAT


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A run at work: ``leases/<run>.json``, renewed until it ends; no ``beat`` comes twice.

    ``knows`` are the marks that were open when it began: it says which of their blobs it uses.
    """

    run: str
    host: str
    began_at: datetime
    beat: str
    knows: tuple[str, ...] = ()
    format: int = FORMAT


class Condemned(msgspec.Struct, frozen=True, kw_only=True):
    """A blob that a mark means to remove. ``stamp`` is what the store said then."""

    digest: str
    size: int
    stamp: str
    kinds: tuple[str, ...]


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What one gc means to remove, ``gc/<id>/mark.json``; it is open while this is there."""

    id: str
    at: datetime
    host: str
    candidates: tuple[Condemned, ...]
    format: int = FORMAT

    @property
    def size(self) -> int:
        """The bytes of all candidates."""
        return sum(one.size for one in self.candidates)


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """When a gc did something, and on which host: windows, and leases that it saw."""

    at: datetime
    host: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Digests that are kept for one reason. Those that name no blob do no harm."""

    reason: str
    digests: frozenset[str]


@dataclass(frozen=True, slots=True)
class Blob:
    """What a listing says of one blob."""

    size: int
    stamp: str


@dataclass(frozen=True, slots=True)
class Kept:
    """How many blobs, of how many bytes, stay for one reason. Each blob counts once."""

    reason: str
    blobs: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What would be removed, and why the rest stays."""

    candidates: tuple[Condemned, ...]
    kept: tuple[Kept, ...]

    @property
    def size(self) -> int:
        """The bytes of all candidates."""
        return sum(one.size for one in self.candidates)


def digests_in(document: bytes) -> frozenset[str]:
    """Everything in a document that looks like a sha256.

    Releases and channel entries are read so, not field by field: a field that this version does not
    know still keeps the blob that it names.
    """
    return frozenset(found.decode("ascii") for found in _DIGEST.findall(document))


def locked_releases(document: bytes) -> frozenset[str]:
    """The releases that a lock file names, as ``"release": "<64 digits>"`` anywhere in it."""
    return frozenset(found.decode("ascii") for found in _LOCKED.findall(document))


def unclaimed(blobs: Iterable[str], claims: Iterable[Claim]) -> frozenset[str]:
    """The blobs that no claim names."""
    return frozenset(blobs).difference(*(claim.digests for claim in claims))


def survey(
    blobs: Mapping[str, Blob],
    *,
    claims: Sequence[Claim],
    kinds: Mapping[str, frozenset[str]],
    swept: frozenset[str] = SWEPT_KINDS,
) -> Survey:
    """Judge every blob. ``kinds`` says what the unclaimed ones are; those not in it are unnamed.

    The first claim that names a blob is its reason. A blob of several kinds goes only when all of
    them are swept.
    """
    candidates, kept = list[Condemned](), dict[str, list[int]]()
    for digest in sorted(blobs):
        blob = blobs[digest]
        own = kinds.get(digest, frozenset({UNNAMED}))
        why = next((claim.reason for claim in claims if digest in claim.digests), "")
        if not why and (spared := sorted(own - swept)):
            why = f"of kind {spared[0]}, which is not swept"
        if why:
            kept.setdefault(why, []).append(blob.size)
        else:
            one = Condemned(
                digest=digest, size=blob.size, stamp=blob.stamp, kinds=tuple(sorted(own))
            )
            candidates.append(one)
    order = {claim.reason: number for number, claim in enumerate(claims)}
    reasons = sorted(kept, key=lambda why: (order.get(why, len(order)), why))
    return Survey(
        candidates=tuple(candidates),
        kept=tuple(Kept(why, len(kept[why]), sum(kept[why])) for why in reasons),
    )


def holds(pin: Pin, *, today: date) -> bool:
    """Whether a pin still keeps anything."""
    return pin.expires is None or today <= pin.expires


def sweepable_from(mark: Mark, *, grace: timedelta) -> datetime:
    """When a mark may be swept."""
    return mark.at + max(grace, SETTLED)


def is_dead(seen: Moment | None, *, now: datetime) -> bool:
    """Whether a run has ended without a word; ``seen`` is when gc first saw its lease as it is.

    Both times are gc's own: no clock of a host that runs something is trusted.
    """
    return seen is not None and now - seen.at >= DEAD


def waits_for(
    mark: Mark, leases: Iterable[tuple[Lease, Moment | None]], *, now: datetime
) -> list[Lease]:
    """The runs that must end before ``mark`` may be swept: those at work that do not know it.

    What such a run has built or found it has not told, so nothing is removed beside it.
    """
    return [
        lease for lease, seen in leases if mark.id not in lease.knows and not is_dead(seen, now=now)
    ]
