"""Every storage request of a night on a real S3 server, spoiled in every way, one by one.

The writer works through a proxy; a reader looks at the server itself after every write. Then the
night is done again without faults, and must come to what it should have come to.
"""

import itertools
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.nights import CHANNEL, Reader, after, publish
from tests.faults.proxy import FAULTS, Faults, Proxy
from tests.servers import S3Server
from tidemill.channels import latest
from tidemill.errors import ExitCode, StoreError
from tidemill.store.s3 import S3Store
from tidemill.store.s3_client import Retry
from tidemill.trust.follow import Trust

#: Quick, so that thousands of schedules fit into minutes.
RETRY = Retry(attempts=4, first=0.0005, longest=0.002)
_FOR_GOOD = 400
_PER_PREFIX = 25

Plan = dict[int, str]


@dataclass
class Tally:
    """What happened in all schedules."""

    schedules: int = 0
    published: int = 0
    failed: int = 0
    faults: int = 0
    looks: int = 0
    violations: list[str] = field(default_factory=list)

    def add(self, violation: str, plan: object) -> None:
        """Note a violation, if there is one."""
        if violation:
            self.violations.append(f"{plan}: {violation}")


def single_plans(requests: int) -> Iterator[Plan]:
    """Each fault at each request: once, twice in a row, and from there on for good."""
    for fault, first in itertools.product(FAULTS, range(requests)):
        for times in (1, 2, _FOR_GOOD):
            yield dict.fromkeys(range(first, first + times), fault)


def random_plans(requests: int, *, seed: int) -> Iterator[Plan]:
    """Two to four faults anywhere, for ever."""
    chance = random.Random(seed)
    while True:
        places = chance.sample(range(requests + 6), chance.randint(2, 4))
        yield {place: chance.choice(FAULTS) for place in places}


@dataclass
class Spoiling:
    """Nights one after the other, each under its own plan."""

    server: S3Server
    proxy: Proxy
    name: str
    scratch: Path
    tally: Tally
    _number: int = 0
    _reader: Reader | None = None
    _writer: S3Store | None = None

    def requests_of_a_night(self) -> int:
        """How many requests a night without faults takes; the first one of a prefix takes more."""
        for _ in range(2):
            self.run({})
        return self.proxy.faults.count

    def run(self, plan: Plan) -> None:
        """One night under ``plan``, then again without faults."""
        if self._number % _PER_PREFIX == 0:
            self._begin(f"{self.name}-{self._number}")
        self._number += 1
        reader = self._reader
        assert reader is not None
        before = latest(reader.store, CHANNEL)
        problems: list[str] = []

        def look(_method: str = "") -> None:
            problems.append(reader.look())

        self.proxy.faults = Faults(plan=plan, after=look)
        problems.append(self._night(plan))
        self.tally.faults += len(self.proxy.faults.met)
        count = self.proxy.faults.count
        self.proxy.faults = Faults(after=look)
        try:
            publish(self._opened, self._number, scratch=self.scratch)
        except StoreError as error:
            problems.append(f"does not converge: {error.message}")
        else:
            problems.append(after(reader.store, self._number, before=before))
        problems.append(reader.look(again=True))
        if not plan:
            self.proxy.faults.count = count
        self.tally.schedules += 1
        for problem in problems:
            self.tally.add(problem, plan)

    def _night(self, plan: Plan) -> str:
        try:
            publish(self._opened, self._number, scratch=self.scratch)
        except StoreError as error:
            self.tally.failed += 1
            if not plan:
                return f"fails without a fault: {error.message}"
            return "" if error.exit_code == ExitCode.STORE else f"exit code {error.exit_code}"
        except Exception as error:  # noqa: BLE001 - whatever else it is, it is a violation
            return f"{type(error).__name__}: {error}"
        self.tally.published += 1
        assert self._reader is not None
        return self._reader.look()

    @property
    def looks(self) -> int:
        """How often the present reader has looked."""
        return self._reader.looks if self._reader else 0

    @property
    def _opened(self) -> S3Store:
        assert self._writer is not None
        return self._writer

    def _begin(self, prefix: str) -> None:
        if self._reader is not None:
            self.tally.looks += self._reader.looks
        url = self.server.store_url(prefix)
        through = url.replace(self.server.endpoint, self.proxy.endpoint)
        self._writer = S3Store(through, retry=RETRY)
        trust = Trust(Path(tempfile.mkdtemp(dir=self.scratch)))
        self._reader = Reader(S3Store(url, retry=RETRY), trust)
