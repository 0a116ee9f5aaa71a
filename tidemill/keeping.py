"""How a process keeps from gc what it relies on: a word for each blob, and a lease for a run.

A blob in the store may be condemned by a mark. Who wants to rely on it says so first, and then
waits until no removal that was begun before can be under way; only then does it look whether the
blob is there. gc announces removals first, and then looks who has said so. One of the two always
sees the other; docs/adr/0013-retention.md has the whole argument. Nobody holds a lock.
"""

import contextlib
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from tidemill.errors import StoreError
from tidemill.records import Release, encode
from tidemill.retention import WINDOW_OVER_SECONDS, Lease, Mark, Moment
from tidemill.store.contract import Store
from tidemill.store.layout import (
    blob_name,
    kept_name,
    lease_name,
    mark_folder,
    mark_name,
)

RENEW_SECONDS = 300.0
_POLL_SECONDS = 2.0
_WINDOW = re.compile(r"window-(\d+)(-ended)?\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Where time comes from: UTC for documents, seconds since the machine's start for waiting.

    The latter go on while a machine sleeps, as those of the other hosts do.
    """

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    elapsed: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    sleep: Callable[[float], None] = time.sleep

    def moment(self) -> Moment:
        """Now, here."""
        return Moment(at=self.now(), host=socket.gethostname())


CLOCK = Clock()


class Keeper:
    """Keeps blobs of one store for this process. Does nothing before ``learn``."""

    def __init__(self, store: Store, *, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock or CLOCK
        self._condemned: dict[str, frozenset[str]] = {}
        self._kept: set[tuple[str, str]] = set()
        self._first_seen: dict[tuple[str, int], float] = {}

    def learn(self) -> tuple[str, ...]:
        """Read the marks that are open now, and return their ids. Raises StoreError."""
        marks = read_marks(self._store)
        self._condemned = {m.id: frozenset(one.digest for one in m.candidates) for m in marks}
        return tuple(self._condemned)

    def keep(self, digests: Iterable[str]) -> frozenset[str]:
        """Say that these blobs are relied on, before looking whether they are there.

        Returns those that a known mark has condemned. One that is still there afterwards stays
        until its marks are closed, and longer if a kept release names it by then. Raises
        StoreError.
        """
        condemned = frozenset[str]()
        if not self._condemned:  # ten thousand look-ups pay for nothing
            return condemned
        wanted = frozenset(digests)
        for mark, named in self._condemned.items():
            fresh = [each for each in sorted(wanted & named) if (mark, each) not in self._kept]
            for digest in fresh:
                self._store.create(kept_name(mark, digest), encode(self._clock.moment()))
            if fresh:
                self.wait_out(mark)
            self._kept.update((mark, digest) for digest in fresh)
            condemned |= wanted & named
        return condemned

    def hold(self, release: Release) -> None:
        """Make sure that a channel may point at ``release``: its blobs are there and stay.

        To be called before a channel moves or a pin is relied on. Raises StoreError, which says
        what is gone.
        """
        self.learn()
        named = {one.digest: one for one in release.artifacts if one.digest}
        self.keep(named)
        there = {entry.name: entry.size for entry in self._store.list("blobs")}
        gone = [one for one in named.values() if there.get(blob_name(one.digest)) != one.size]
        if gone:
            more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
            raise StoreError(
                f"{gone[0].file}{more} of that release cannot be had from {self._store.url}: gc has"
                " removed the blob since nothing kept named it, or it was damaged",
                hint="run its pipeline again, which builds it again; or choose another release",
            )

    def wait_out(self, mark: str) -> int:
        """Wait until nothing that was being removed under ``mark`` so far is under way any more.

        Returns the number of the last window that is over, 0 when there was none.
        """
        number, ended = last_window(self._store, mark)
        over = self._first_seen.setdefault((mark, number), self._clock.elapsed())
        over += WINDOW_OVER_SECONDS
        latest = number
        # Who opens the next window has waited for this one.
        while not ended and latest == number and (left := over - self._clock.elapsed()) > 0:
            self._clock.sleep(min(left, _POLL_SECONDS))
            latest, ended = last_window(self._store, mark)
        return number


def read_marks(store: Store) -> list[Mark]:
    """The open marks, oldest first. A damaged one is left out: it never leads to a removal."""
    marks = []
    for entry in store.list("gc"):
        if entry.name.endswith("/mark.json"):
            with contextlib.suppress(ValueError):
                mark = msgspec.json.decode(store.read(entry.name) or b"", type=Mark)
                marks += [mark] if entry.name == mark_name(mark.id) else []
    return sorted(marks, key=lambda mark: (mark.at, mark.id))


def last_window(store: Store, mark: str) -> tuple[int, bool]:
    """The last window that was opened under a mark (0: none), and whether it has ended."""
    listed = (entry.name.rpartition("/")[2] for entry in store.list(mark_folder(mark)))
    found = [(int(m[1]), bool(m[2])) for name in listed if (m := _WINDOW.fullmatch(name))]
    return max(found, default=(0, True))


@contextlib.contextmanager
def at_work(store: Store, *, run: str, keeper: Keeper) -> Iterator[str]:
    """Keep, while the body runs, what it finds or makes in the store: the lease of a run.

    Only what is looked up inside is kept. Yields "" or, when the lease cannot be written, words
    that say so: the run goes on, and what it releases is still seen to be there. A lease that is
    left by a killed process is found dead by gc after a while.
    """
    lease = Lease(run=run, host=socket.gethostname(), began_at=CLOCK.now(), beat=_beat())
    name, stop, trouble = lease_name(run), threading.Event(), ""
    try:
        store.create(name, encode(lease))
        # The lease first, then the marks: a mark that is not seen here sees the lease.
        lease = msgspec.structs.replace(lease, beat=_beat(), knows=keeper.learn())
        store.replace(name, encode(lease))
    except StoreError as error:
        trouble = f"gc was not told of this run, and may remove what it found: {error.message}"
    thread = threading.Thread(target=_renew, args=(store, lease, stop), name="lease", daemon=True)
    thread.start()
    try:
        yield trouble
    finally:
        stop.set()
        thread.join()
        with contextlib.suppress(StoreError):
            store.remove(name)


def _renew(store: Store, lease: Lease, stop: threading.Event) -> None:
    while not stop.wait(RENEW_SECONDS):
        lease = msgspec.structs.replace(lease, beat=_beat())
        with contextlib.suppress(StoreError):  # the next one may succeed; gc is patient
            store.replace(lease_name(lease.run), encode(lease))


def _beat() -> str:
    return uuid.uuid4().hex
