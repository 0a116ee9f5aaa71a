"""gc among runs, pulls, promotions and pins, one request at a time: nothing that is kept is lost.

The store is a real one in a folder; runs, moves, pins and gc are the code that the commands run.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.property import trades
from tests.property.actors import MEMORY, WRITES, Actor, SteppedStore, World
from tests.property.trades import CHANNEL, CONTENTS, ENTRIES, LOG
from tidemill import channels, keeping
from tidemill.digest import Digest, digest_bytes
from tidemill.errors import StoreError
from tidemill.records import encode
from tidemill.retention import GRACE, Pin
from tidemill.store import open_store
from tidemill.store.contract import Store
from tidemill.store.layout import blob_name
from tidemill.sweeping.pins import add_pin, remove_pin

BLOBS = {digest_bytes(data) for data in CONTENTS}
MOST_ACTORS = 4
DAY = 86_400.0
#: Clocks of gc's hosts agree within minutes; those of runs are as wrong as may be.
GC_SKEW = timedelta(minutes=5)
GC_SKEWS = st.sampled_from([GC_SKEW, -GC_SKEW])
SKEWS = st.sampled_from([timedelta(days=days) for days in (0, -400, 400)])
ACTIONS = st.lists(st.integers(0, 3), min_size=1, max_size=2, unique=True)
#: Who makes how many writes, with what it reads before them; and then how many more reads (None:
#: all that it makes before its next write).
Turns = list[tuple[int, int, int | None]]
TURNS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from([0, 1, 2, 3, 5, 99]),
        st.sampled_from([None, None, 0, 1, 2]),
    ),
    max_size=6,
)


@dataclass
class Using:
    """What one actor relies on: it must be there until the actor ends, or until ``until``."""

    actor: Actor
    blobs: set[str] = field(default_factory=set)
    until: float = float("inf")


class Retention(RuleBasedStateMachine):
    """The store, who works with it, and what each of them relies on."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="tidemill-retention-", dir=MEMORY))
        self.world = World()
        self.inner = open_store(str(self.folder / "store"))
        self.store: Store = SteppedStore(self.inner, self.world)
        self.everybody: list[Using] = []
        #: Pin → what it keeps.
        self.pins: dict[str, set[str]] = {}
        self.removed = 0
        #: Release → its blobs; entry of the channel → its release.
        self.releases: dict[str, set[str]] = {}
        self.entries: dict[Path, str] = {}
        self.inner.put_bytes(LOG)
        self.clock, keeping.CLOCK = keeping.CLOCK, self.world.here
        # The channel has moved on, so that something may go.
        for actions in ([0, 1], [1], [2]):
            self.release_anew(actions)

    @initialize(marked=st.booleans(), beside=st.sampled_from(["nobody", "a run", "a pull"]))
    def begin(self, marked: bool, beside: str) -> None:
        """A gc has condemned it long ago or not; somebody may be using what is next to go."""
        if marked:
            self.pass_a_week()
        if beside == "a run":
            self.run(actions=[0], releases=False, skew=timedelta(), turns=[(0, 99, None)])
        if beside == "a pull":
            self.pull(turns=[(0, 99, None)])
            for actions in ([0], [3]):
                self.release_anew(actions)

    def teardown(self) -> None:
        for actor in self.world.actors:
            actor.kill()
        keeping.CLOCK = self.clock
        shutil.rmtree(self.folder)

    # Who works with the store.

    def spawn(self, name: str, work: Callable[[Using], None], *, skew: timedelta) -> Using:
        own: list[Using] = []
        name = f"{name}-{len(self.everybody)}"
        own.append(Using(self.world.spawn(name, lambda: work(own[0]), skew=skew)))
        self.everybody.append(own[0])
        return own[0]

    @property
    def alive(self) -> list[Using]:
        return [each for each in self.everybody if each.actor.alive]

    @property
    def busy(self) -> list[Actor]:
        return [each.actor for each in self.alive if each.actor.busy]

    @property
    def crowded(self) -> bool:
        return len(self.alive) >= MOST_ACTORS

    @precondition(lambda self: not self.crowded)
    @rule(actions=ACTIONS, releases=st.booleans(), skew=SKEWS, turns=TURNS)
    def run(self, actions: list[int], releases: bool, skew: timedelta, turns: Turns) -> None:
        """A run begins; it takes its time for each step."""

        def work(mine: Using) -> None:
            def made(digest: str) -> None:
                mine.blobs.add(digest)
                mine.actor.work()

            trades.run(
                self.store, actions, name=mine.actor.name, scratch=self.folder, made=made,
                releases=releases,
            )  # fmt: skip
            mine.blobs.clear()

        made = encode(trades.release_of([trades.artifact(each) for each in actions]))
        self.releases[digest_bytes(made)] = {digest_bytes(CONTENTS[each]) for each in actions}
        actor = self.spawn("run", work, skew=skew).actor
        actor.beat = lambda: trades.renew(self.inner, actor.name)
        self.take(turns)

    @precondition(lambda self: not self.crowded)
    @rule(which=st.integers(0, 9), skew=SKEWS, turns=TURNS)
    def promote(self, which: int, skew: timedelta, turns: Turns) -> None:
        """Somebody points the channel at any release that ever was."""
        release = sorted(self.releases)[which % len(self.releases)]

        def work(mine: Using) -> None:
            with contextlib.suppress(StoreError):  # it says that blobs are gone
                trades.move(self.store, release, run=mine.actor.name)

        self.spawn("promote", work, skew=skew)
        self.take(turns)

    @precondition(lambda self: not self.crowded)
    @rule(which=st.integers(0, 9), skew=SKEWS, turns=TURNS)
    def pin(self, which: int, skew: timedelta, turns: Turns) -> None:
        """Somebody pins any release that ever was."""
        release = sorted(self.releases)[which % len(self.releases)]

        def work(mine: Using) -> None:
            name, now = mine.actor.name, self.world.now
            pin = Pin(name=name, reason="r", owner="o", created_at=now, release=release)
            with contextlib.suppress(StoreError):  # it says that blobs are gone
                add_pin(self.store, pin)
                self.pins[name] = self.releases[release]

        self.spawn("pin", work, skew=skew)
        self.take(turns)

    @precondition(lambda self: not self.crowded)
    @rule(number=st.integers(0, 2), skew=SKEWS, turns=TURNS)
    def pin_address(self, number: int, skew: timedelta, turns: Turns) -> None:
        """Somebody pins an address, which keeps what is there of it."""
        one = trades.artifact(number)  # of a release that was made at the beginning

        def work(mine: Using) -> None:
            name, now = mine.actor.name, self.world.now
            pin = Pin(name=name, reason="r", owner="o", created_at=now, address=one.address)
            gone = add_pin(self.store, pin)
            self.pins[name] = set() if gone else {one.digest}

        self.spawn("pin", work, skew=skew)
        self.take(turns)

    @precondition(lambda self: self.pins and not self.crowded)
    @rule()
    def unpin(self) -> None:
        """Somebody takes a pin away."""
        name, _ = self.pins.popitem()
        self.spawn("unpin", lambda _: remove_pin(self.store, name), skew=timedelta())

    @precondition(lambda self: not self.crowded)
    @rule(turns=TURNS)
    def pull(self, turns: Turns) -> None:
        """A client copies what the channel points at; it may take as long as the grace period."""

        def work(mine: Using) -> None:
            head = channels.head(self.store, CHANNEL)
            assert head is not None
            mine.until = mine.actor.began + (GRACE - 2 * GC_SKEW).total_seconds()
            mine.blobs |= self.releases[head.release]
            for digest in sorted(mine.blobs):
                mine.actor.work()
                try:
                    self.store.read_blob(Digest(digest))
                except StoreError:
                    assert self.world.seconds > mine.until, "a pull lost a blob"

        self.spawn("pull", work, skew=timedelta())
        self.take(turns)

    @precondition(lambda self: not self.crowded)
    @rule(skew=GC_SKEWS, turns=TURNS)
    def gc(self, skew: timedelta, turns: Turns) -> None:
        """``tidemill gc --yes``."""

        def work(_: Using) -> None:
            self.removed += trades.gc(self.store, clock=self.world.here)

        self.spawn("gc", work, skew=skew)
        self.take(turns)

    # What happens.

    @rule(actions=ACTIONS)
    def release_anew(self, actions: list[int]) -> None:
        """A whole run, at once."""
        self.run(actions=actions, releases=True, skew=timedelta(), turns=[])
        self.finish(self.everybody[-1].actor)

    @rule()
    def pass_a_week(self) -> None:
        """A whole gc, at once, and then more than the grace period."""
        self.gc(skew=GC_SKEW, turns=[])
        self.finish(self.everybody[-1].actor)
        self.wait(8 * DAY)

    @precondition(lambda self: self.alive)
    @rule(turns=TURNS)
    def take(self, turns: Turns) -> None:
        """Those who are there make requests, in turns."""
        there = [each.actor for each in self.alive]
        for which, writes, reads in turns:
            actor = there[which % len(there)]
            for _ in range(writes):
                self.reads(actor, None)
                self.step(actor)
            self.reads(actor, reads)

    def reads(self, actor: Actor, most: int | None) -> None:
        for _ in range(1000 if most is None else most):
            if not actor.alive or actor.busy or actor.asks in WRITES:
                return
            self.step(actor)

    @precondition(lambda self: self.busy)
    @rule(which=st.integers(0, MOST_ACTORS - 1), turns=TURNS)
    def go_on(self, which: int, turns: Turns) -> None:
        """Somebody's own work is done."""
        self.busy[which % len(self.busy)].busy = False
        self.take(turns)

    @precondition(lambda self: self.alive)
    @rule(which=st.integers(0, MOST_ACTORS - 1))
    def kill(self, which: int) -> None:
        """Somebody is killed."""
        self.alive[which % len(self.alive)].actor.kill()

    @rule(seconds=st.sampled_from([1.0, 300.0, 3600.0, DAY, 8 * DAY]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        for each in self.alive if seconds >= DAY else ():
            # Who moves a channel or pins by hand does not take days about it.
            if each.actor.name.startswith(("promote", "pin")):
                self.finish(each.actor)
        self.world.pass_time(seconds)

    def finish(self, actor: Actor) -> None:
        while actor.alive:
            actor.busy = False
            self.step(actor)

    def step(self, actor: Actor) -> None:
        changes = actor.asks in WRITES
        actor.step()
        if changes or not actor.alive:
            self.look()

    # What must hold.

    @invariant()
    def look(self) -> None:
        """Whatever a kept release, a pin, a run or a pull relies on is there."""
        for each in self.everybody:
            if each.actor.failure:
                raise each.actor.failure
        there = {each for each in BLOBS if (self.folder / "store" / blob_name(each)).exists()}
        for release in self.kept():
            assert self.releases[release] <= there, "the channel lost a blob"
        for name, blobs in self.pins.items():
            assert blobs <= there, f"{name} lost a blob"
        for each in self.alive:
            if self.world.seconds < each.until:
                assert each.blobs <= there, f"{each.actor.name} lost a blob"

    def kept(self) -> list[str]:
        """The releases of the channel's last entries."""
        entries = (self.folder / "store/channels" / CHANNEL).glob("0*.json")
        for path in (newest := sorted(entries, reverse=True)[:ENTRIES]):
            if path not in self.entries:
                said = path.read_text()
                self.entries[path] = next(each for each in self.releases if each in said)
        return [self.entries[path] for path in newest]


def test_nothing_that_is_kept_is_ever_lost() -> None:
    run_state_machine_as_test(
        Retention,
        settings=settings(
            max_examples=100, stateful_step_count=15, deadline=None, derandomize=True,
            suppress_health_check=list(HealthCheck), database=None,
        ),
    )  # fmt: skip
