"""A store in which something may go, and time that passes when it is told to."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.unit.shop import Shop, open_shop
from tidemill.keeping import Clock
from tidemill.retention import Mark
from tidemill.store.contract import Store
from tidemill.sweeping import Roots, Sweeper, Swept

#: The variants that the second release of the channel does not have.
GONE = ("minilm/encoder/f32", "stories/decode/f32")


class Hours:
    """A clock for tests. ``asleep`` is called before each sleep."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 20, 3, tzinfo=UTC)
        self.slept: list[float] = []
        self.asleep: Callable[[], None] = lambda: None
        self.clock = Clock(now=lambda: self.now, elapsed=self._elapsed, sleep=self._sleep)

    def go(self, **duration: float) -> None:
        self.now += timedelta(**duration)

    def _elapsed(self) -> float:
        return self.now.timestamp()

    def _sleep(self, seconds: float) -> None:
        self.asleep()
        self.slept.append(seconds)
        self.go(seconds=seconds)


class Yard:
    """A shop whose channel has moved on to a release with one variant, and gc of it."""

    def __init__(self, folder: Path) -> None:
        self.hours = Hours()
        self.shop: Shop = open_shop(folder)
        self.store: Store = self.shop.store
        self.all = list(self.shop.artifacts)
        self.going = {
            one.digest
            for one in self.all
            if one.address in GONE and one.kind in ("irpa", "reference")
        }
        self.shop.artifacts[:] = [one for one in self.all if one.address not in GONE]
        self.shop.artifacts[:] = [
            one for one in self.shop.artifacts if not one.address.startswith(GONE)
        ]
        self.shop.publish()
        # A blob that has just been written has no stamp that can be met again.
        time.sleep(0.03)

    def gc(self, *, store: Store | None = None, **more: Any) -> Sweeper:
        """A gc that keeps one entry of each channel."""
        grace = {"grace": more.pop("grace")} if "grace" in more else {}
        roots = Roots(store=store or self.store, **{"entries": 1, **more})
        return Sweeper(store or self.store, roots=roots, clock=self.hours.clock, **grace)

    def marked(self) -> Mark:
        """What a gc has just marked."""
        gc = self.gc()
        mark = gc.mark(gc.plan())
        assert mark is not None
        return mark

    def swept(self) -> Swept:
        """What the sweep of the one mark that is due came to."""
        gc = self.gc()
        (mark,) = gc.due()
        return gc.sweep(mark)

    def there(self) -> set[str]:
        """The blobs of the store."""
        return {entry.name.rpartition("/")[2] for entry in self.store.list("blobs")}

    def files(self) -> dict[str, bytes]:
        """Everything in the store."""
        return {
            path.relative_to(self.shop.root).as_posix(): path.read_bytes()
            for path in sorted(self.shop.root.rglob("*"))
            if path.is_file()
        }
