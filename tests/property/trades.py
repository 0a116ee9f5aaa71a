"""What runs, movers and gc do with a store: the code that the commands run, on a store given."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import msgspec

from tests.signing import SIGNER
from tidemill import channels, moves
from tidemill.cache import Cache, Hit
from tidemill.digest import digest_bytes
from tidemill.errors import StoreError
from tidemill.keeping import Clock, at_work
from tidemill.records import ActionResult, Artifact, Output, Release, encode
from tidemill.retention import Lease
from tidemill.store.contract import Store
from tidemill.store.layout import lease_name
from tidemill.store.verified import Verified
from tidemill.sweeping import Roots, Sweeper

CHANNEL = "nightly"
#: How many entries of the channel gc keeps.
ENTRIES = 2
#: What each action makes; two make the same bytes.
CONTENTS = (b"a", b"b", b"b", b"c")
LOG = b"what a step says"


def run(
    store: Store,
    actions: list[int],
    *,
    name: str,
    scratch: Path,
    made: Callable[[str], None] = lambda _: None,
    releases: bool = True,
) -> None:
    """A run: look up or build, then release. ``made`` is told what it relies on from now on."""
    cache = Cache(store, Verified(scratch / name), scratch / name / "index")
    with at_work(store, run=name, keeper=cache.keeper) as untold:
        assert untold == ""
        artifacts = [_build(store, cache, number, made) for number in actions]
        if releases:
            move(store, channels.put_release(store, release_of(artifacts)), run=name)


def release_of(artifacts: list[Artifact]) -> Release:
    return Release(pipeline="p", toolchain="t", tools={}, artifacts=tuple(artifacts))


def artifact(number: int) -> Artifact:
    """What an action publishes."""
    address, data = f"model/part/v{number}", CONTENTS[number]
    return Artifact(
        address=address, kind="irpa", file=f"{address}/model.irpa", digest=digest_bytes(data),
        size=len(data), key=_key(number), status="validated",
    )  # fmt: skip


def _key(number: int) -> str:
    return digest_bytes(b"action %d" % number)


def _build(store: Store, cache: Cache, number: int, made: Callable[[str], None]) -> Artifact:
    """As the engine does: look up; else store, then record."""
    one = artifact(number)
    found = cache.look_up("pack", one.key)
    if not isinstance(found, Hit):
        cache.keeper.keep((one.digest,))
        store.put_bytes(CONTENTS[number])
        cache.record(_record_of(one), replacing=found.damaged)
    made(one.digest)
    return one


def _record_of(one: Artifact) -> ActionResult:
    output = Output(name="model.irpa", kind="irpa", digest=one.digest, size=one.size)
    log = Output(name="log.txt", kind="log", digest=digest_bytes(LOG), size=len(LOG))
    return ActionResult(
        key=one.key, step="pack", address=one.address, outputs=(output,), log=log, facts={},
        parts={}, seconds=1.0, peak_memory_bytes=1, host="h", finished_at="",
    )  # fmt: skip


def move(store: Store, release: str, *, run: str) -> None:
    """Point the channel at a release. Raises StoreError when blobs of it are gone."""
    at = channels.latest(store, CHANNEL)
    with contextlib.suppress(moves.LostRace):
        moves.move(store, CHANNEL, release=release, expecting=at, run=run, reason="", signer=SIGNER)


def renew(store: Store, run: str) -> None:
    """What the thread of a run's lease does."""
    if data := store.read(lease_name(run)):
        lease = msgspec.json.decode(data, type=Lease)
        store.replace(lease_name(run), encode(msgspec.structs.replace(lease, beat=uuid4().hex)))


def sweeper(store: Store, *, clock: Clock) -> Sweeper:
    return Sweeper(store, roots=Roots(store=store, entries=ENTRIES), clock=clock)


def gc(store: Store, *, clock: Clock) -> int:
    """``tidemill gc --yes``; how many blobs it has removed."""
    made, removed = sweeper(store, clock=clock), 0
    made.mark(made.plan())
    for mark in made.due():
        with contextlib.suppress(StoreError):  # another gc was quicker
            removed += len(made.sweep(mark).removed)
    return removed
