"""Processes that share a store, interleaved at will: each stops before every request it makes.

An actor runs plain code in a thread of its own, and only one thread runs at a time. Whoever drives
decides who makes the next request, how much time passes before, and who is killed when. Time is
simulated; every host has a clock of its own that is wrong by a little or by years.
"""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tidemill.digest import Digest
from tidemill.keeping import Clock
from tidemill.retention import WINDOW_OVER_SECONDS, WINDOW_SECONDS
from tidemill.store.contract import Entry, Store

#: How long a request may be under way: what the protocol assumes of removals.
LATENCY_SECONDS = WINDOW_OVER_SECONDS - WINDOW_SECONDS
BEGINNING = datetime(2026, 11, 1, tzinfo=UTC)


#: No disk is waited for, where Linux gives its usual file system in memory.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - in fresh folders
#: Requests that others may see the effect of.
WRITES = frozenset({"create", "replace", "remove", "put"})


class Killed(BaseException):
    """The process is gone: nothing it does has any effect."""


class World:
    """Simulated time and the actors in it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.actors: list[Actor] = []
        self.here = Clock(now=self._now, elapsed=lambda: self.seconds, sleep=self._sleep)

    @property
    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self.seconds)

    def spawn(
        self,
        name: str,
        work: Callable[[], None],
        *,
        skew: timedelta,
        beat: Callable[[], None] = lambda: None,
    ) -> "Actor":
        """``beat`` is what it does in the background whenever time has passed."""
        actor = Actor(self, name, work, skew=skew, beat=beat)
        self.actors.append(actor)
        return actor

    def acting(self) -> "Actor | None":
        """The actor whose thread this is."""
        me = threading.current_thread()
        return next((actor for actor in self.actors if actor.thread is me), None)

    def pass_time(self, seconds: float) -> None:
        """Let time pass; what is being removed is removed before its request would time out."""
        until = self.seconds + seconds
        while True:
            flying = [actor for actor in self.actors if actor.alive and actor.asks == "remove"]
            first = min(flying, key=lambda actor: actor.asked_at, default=None)
            if first is None or first.asked_at + LATENCY_SECONDS > until:
                break
            self.seconds = max(self.seconds, first.asked_at + LATENCY_SECONDS)
            first.step()
        self.seconds = max(self.seconds, until)
        for actor in self.actors:
            if actor.alive:
                actor.beat()

    def _now(self) -> datetime:
        actor = self.acting()
        return self.now + (actor.skew if actor else timedelta())

    def _sleep(self, seconds: float) -> None:
        actor = self.acting()
        assert actor is not None, "only actors sleep"
        actor.pause("sleep", until=self.seconds + seconds)


class Actor:
    """One process. ``asks`` is the request that it is about to make; ``failure`` how it ended."""

    def __init__(
        self,
        world: World,
        name: str,
        work: Callable[[], None],
        *,
        skew: timedelta,
        beat: Callable[[], None],
    ) -> None:
        self.name, self.skew, self.beat, self.began = name, skew, beat, world.seconds
        self.asks, self.asked_at, self.wakes = "begin", world.seconds, 0.0
        self.alive, self.busy = True, False
        self.failure: BaseException | None = None
        self._world, self._work, self._killed = world, work, False
        self._go, self._back = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._back.acquire()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def step(self) -> None:
        """Make the request that it is about to make, and go on to before the next one.

        One that is busy with its own work makes none until ``busy`` is taken away.
        """
        if not self.alive or self.busy:
            return
        if self.asks == "sleep":
            self._world.pass_time(self.wakes - self._world.seconds)
        self._go.release()
        self._back.acquire()

    def kill(self) -> None:
        """End it here; the request that it is about to make is never made."""
        self._killed = True
        while self.alive:
            self._go.release()
            self._back.acquire()

    def work(self) -> None:
        """Be busy with something else than the store."""
        self.busy = True
        self.pause("work")

    def pause(self, asks: str, *, until: float = 0.0) -> None:
        """Wait for the next ``step``."""
        if not self._killed:
            self.asks, self.asked_at, self.wakes = asks, self._world.seconds, until
            self._back.release()
            self._go.acquire()
        if self._killed:
            raise Killed

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self._killed:
                self._work()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, the driver looks at it
            self.failure = error
        self.alive = False
        self._back.release()


class SteppedStore:
    """A store whose every request waits for its actor's turn.

    Blobs have the same stamp for ever, as objects have on a server that stamps by content: what
    was removed and written again looks the same.
    """

    def __init__(self, store: Store, world: World) -> None:
        self._store, self._world, self.url = store, world, store.url

    def put_blob(self, source: Path, *, digest: Digest) -> bool:
        self._turn("put")
        return self._store.put_blob(source, digest=digest)

    def put_bytes(self, data: bytes) -> Digest:
        self._turn("put")
        return self._store.put_bytes(data)

    def stat(self, name: str) -> Entry | None:
        self._turn("stat")
        # Not its own stat, which waits for a stamp that can be met again.
        beside = self._store.list(name.rpartition("/")[0])
        return next((_stamped(entry) for entry in beside if entry.name == name), None)

    def read(self, name: str) -> bytes | None:
        self._turn("read")
        return self._store.read(name)

    def read_blob(self, digest: Digest) -> bytes:
        self._turn("read")
        return self._store.read_blob(digest)

    def fetch_blob(self, digest: Digest, target: Path) -> int:
        self._turn("read")
        return self._store.fetch_blob(digest, target)

    def check_blob(self, digest: Digest) -> int:
        self._turn("read")
        return self._store.check_blob(digest)

    def create(self, name: str, data: bytes) -> bool:
        self._turn("create")
        return self._store.create(name, data)

    def replace(self, name: str, data: bytes) -> None:
        self._turn("replace")
        self._store.replace(name, data)

    def remove(self, name: str) -> None:
        self._turn("remove")
        self._store.remove(name)

    def list(self, prefix: str) -> Iterator[Entry]:
        self._turn("list")
        return iter([_stamped(entry) for entry in self._store.list(prefix)])

    def discard_blob(self, digest: Digest) -> None:
        self._turn("remove")
        self._store.discard_blob(digest)

    def _turn(self, asks: str) -> None:
        # A pool's threads have no turn of their own: what they read is read at once.
        if actor := self._world.acting():
            actor.pause(asks)


def _stamped(entry: Entry) -> Entry:
    return entry._replace(stamp="same") if entry.name.startswith("blobs/") else entry
