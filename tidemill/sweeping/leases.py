"""Which runs are at work, as far as gc can know; and what earlier ones have left behind."""

import contextlib
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from tidemill.keeping import Clock
from tidemill.records import encode
from tidemill.retention import Lease, Moment, is_dead
from tidemill.store.contract import Store
from tidemill.store.layout import SEEN, lease_name, mark_folder, mark_name, seen_name
from tidemill.store.reading import read_many

Leases = list[tuple[Lease, Moment | None]]


def read_leases(store: Store) -> Leases:
    """Every run that has not said that it ended, and when gc first saw its lease as it is now."""
    names = sorted(entry.name for entry in store.list("leases"))
    leases = [_lease(name, data) for name, data in read_many(store, names)]
    return [
        (lease, _moment(store.read(seen_name(lease.run, lease.beat)) or b"")) for lease in leases
    ]


def note(store: Store, leases: Iterable[tuple[Lease, Moment | None]], *, clock: Clock) -> None:
    """Write down when gc first saw each lease as it is: one that stays so is of a dead run."""
    for lease, seen in leases:
        if seen is None:
            store.create(seen_name(lease.run, lease.beat), encode(clock.moment()))


def tidy(store: Store, *, clock: Clock) -> None:
    """Note the leases; remove dead ones, notes of ended ones, and what closed marks have left."""
    leases = read_leases(store)
    note(store, leases, clock=clock)
    for lease, seen in leases:
        if is_dead(seen, now=clock.now()):
            store.remove(lease_name(lease.run))
    current = {seen_name(lease.run, lease.beat) for lease, _ in leases}
    for name in sorted(entry.name for entry in store.list(SEEN)):
        if name not in current:
            store.remove(name)
    for mark in sorted({entry.name.split("/")[1] for entry in store.list("gc")}):
        # Asked after the listing: a mark is the first document of its folder, and the first to go.
        if mark_folder(mark) != SEEN and store.stat(mark_name(mark)) is None:
            remove_folder(store, mark_folder(mark))


def remove_folder(store: Store, folder: str) -> None:
    """Remove every object below ``folder``."""
    for name in sorted(entry.name for entry in store.list(folder)):
        store.remove(name)


def _lease(name: str, data: bytes) -> Lease:
    """A damaged lease is one of a run that knows no mark: it is waited for until it is dead."""
    run = name.rpartition("/")[2].removesuffix(".json")
    with contextlib.suppress(ValueError):
        return msgspec.structs.replace(msgspec.json.decode(data, type=Lease), run=run)
    return Lease(run=run, host="unknown", began_at=datetime.fromtimestamp(0, UTC), beat="damaged")


def _moment(data: bytes) -> Moment | None:
    with contextlib.suppress(ValueError):
        return msgspec.json.decode(data, type=Moment)
    return None
