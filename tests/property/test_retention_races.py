"""A sweep against each of those who may rely on what it removes: all orders of two, one by one.

One makes some requests, the other some, the first goes on to its end, then the other does. Where
the state machine of test_retention_machine draws, this goes through.
"""

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.property import trades
from tests.property.actors import MEMORY, WRITES, Actor, SteppedStore, World
from tests.property.trades import CONTENTS, LOG
from tidemill import keeping
from tidemill.digest import digest_bytes
from tidemill.errors import StoreError
from tidemill.records import encode
from tidemill.retention import Mark, Pin
from tidemill.store import open_store
from tidemill.store.contract import Store
from tidemill.store.layout import blob_name
from tidemill.sweeping.pins import add_pin

DAY = 86_400.0
MANY = 10_000
A = digest_bytes(CONTENTS[0])


class Scene:
    """A store in which blob A was condemned a week ago, a sweep of it, and somebody else."""

    def __init__(self, template: Path, folder: Path, mark: Mark) -> None:
        shutil.copytree(template, folder)
        self.folder, self.mark = folder, mark
        self.world = World()
        self.world.seconds = 8 * DAY
        keeping.CLOCK = self.world.here
        self.inner = open_store(str(folder / "store"))
        self.store: Store = SteppedStore(self.inner, self.world)
        self.release = digest_bytes(encode(trades.release_of([trades.artifact(0)])))
        #: Whether somebody has come to rely on A.
        self.relies = False
        self.removed = 0

    def sweep(self) -> None:
        with contextlib.suppress(StoreError):  # another gc was quicker
            done = trades.sweeper(self.store, clock=self.world.here).sweep(self.mark)
            self.removed += len(done.removed)

    def promote(self) -> None:
        with contextlib.suppress(StoreError):  # it is told that A is gone
            trades.move(self.store, self.release, run="by-hand")
            self.relies = True

    def pin(self) -> None:
        made = Pin(name="p", reason="r", owner="o", created_at=self.world.now, release=self.release)
        with contextlib.suppress(StoreError):  # it is told that A is gone
            add_pin(self.store, made)
            self.relies = True

    def pin_address(self) -> None:
        address = trades.artifact(0).address
        made = Pin(name="p", reason="r", owner="o", created_at=self.world.now, address=address)
        gone = add_pin(self.store, made)
        self.relies = not gone

    def run(self) -> None:
        def made(digest: str) -> None:
            assert digest == A
            self.relies = True

        trades.run(self.store, [0], name="night", scratch=self.folder, made=made)

    def sweep_beside_a_run(self) -> None:
        self.sweep()

    def begin(self, other: str) -> tuple[Actor, Actor]:
        """The sweep and the other; before them a run that has found A and goes on working."""
        if other == "sweep_beside_a_run":
            run = self.spawn(self.run)
            while not self.relies:
                run.step()
        return self.spawn(self.sweep), self.spawn(getattr(self, other))

    def spawn(self, work: Callable[[], None]) -> Actor:
        return self.world.spawn("it", work, skew=timedelta())

    def look(self) -> None:
        for actor in self.world.actors:
            if actor.failure:
                raise actor.failure
        if self.relies:
            assert (self.folder / "store" / blob_name(A)).exists(), "A was lost"


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(keeping, "CLOCK", keeping.CLOCK)  # each scene sets its own
    with tempfile.TemporaryDirectory(prefix="tidemill-races-", dir=MEMORY) as folder:
        yield Path(folder)


def template(place: Path) -> Mark:
    """A store whose channel has moved on from A, which has been marked."""
    world = World()
    keeping.CLOCK = world.here
    store = open_store(str(place / "template/store"))
    store.put_bytes(LOG)
    for number, actions in enumerate(([0], [1], [2])):
        trades.run(store, actions, name=f"night-{number}", scratch=place)
    gc = trades.sweeper(SteppedStore(store, world), clock=world.here)
    mark = gc.mark(gc.plan())
    assert mark is not None
    assert [one.digest for one in mark.candidates] == [A]
    return mark


def length(actor: Actor) -> tuple[int, list[int]]:
    """How many requests it makes when nobody is beside it; before and after which it writes."""
    steps, stops = 0, set[int]()
    while actor.alive:
        if actor.asks in WRITES:
            stops |= {steps, steps + 1}
        actor.step()
        steps += 1
    return steps, sorted(stops)


def go(actor: Actor, steps: int) -> None:
    for _ in range(steps):
        actor.step()


@pytest.mark.parametrize(
    "other", ["promote", "pin", "pin_address", "run", "sweep", "sweep_beside_a_run"]
)
def test_in_no_order_of_two_is_anything_lost_that_is_relied_on(place: Path, other: str) -> None:
    mark = template(place)
    steps, _ = length(Scene(place / "template", place / "one", mark).begin("sweep")[0])
    others, stops = length(Scene(place / "template", place / "two", mark).begin(other)[1])
    orders = [
        *itertools.product([True], range(steps), [*stops, others]),
        *itertools.product([False], [steps], range(others)),
    ]
    relied = removed = 0
    for number, (sweeps_first, first, then) in enumerate(orders):
        scene = Scene(place / "template", place / str(number), mark)
        gc, it = scene.begin(other)
        turns = ((gc, first), (it, then), (gc, MANY), (it, MANY))
        for actor, most in turns if sweeps_first else (*turns[1:], turns[0]):
            go(actor, most)
            scene.look()
        relied += scene.relies
        removed += scene.removed
        for actor in scene.world.actors:
            actor.kill()
        shutil.rmtree(scene.folder)
    # Both ends are met, or nothing was tried.
    assert removed or other == "sweep_beside_a_run"
    assert relied or other == "sweep"
