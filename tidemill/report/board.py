"""What a live view knows: which nodes run, how far they are, how many are done. Pure.

Events are plain mappings, so that they cross processes: ``planned`` (total, up_to_date),
``started`` (address, stage, at), ``beat`` (address, stage, seconds, memory_bytes, line) and
``finished`` (address, stage, outcome, seconds). A node that is up to date is counted by ``planned``
and sends none of the others. An event or a key that is not known here is passed over: a drawing
must not end a run.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidemill.report.text import one_line

Event = Mapping[str, Any]
Node = tuple[str, str]


@dataclass(slots=True, kw_only=True)
class Running:
    """One node at work; ``since`` is on the clock of the view: seconds go on between beats."""

    stage: str
    address: str
    since: float
    memory_bytes: int = 0
    line: str = ""


@dataclass(slots=True, kw_only=True)
class Board:
    """The state that events build up; ``apply`` is the only thing that changes it."""

    total: int = 0
    up_to_date: int = 0
    finished: Counter[str] = field(default_factory=Counter)
    running: dict[Node, Running] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Nodes that need nothing more."""
        return self.up_to_date + self.finished.total()

    def apply(self, event: Event, *, now: float) -> None:
        """Take one event that arrived at ``now`` (seconds on any monotonic clock)."""
        name = event.get("event")
        if name == "planned":
            self.total = _count(event.get("total"))
            self.up_to_date = _count(event.get("up_to_date"))
        elif name == "started":
            self._at_work(event, since=now)
        elif name == "beat":
            node = self._at_work(event, since=now)
            seconds = event.get("seconds")
            node.since = now - seconds if isinstance(seconds, int | float) else node.since
            node.memory_bytes = _count(event.get("memory_bytes"))
            node.line = one_line(str(event.get("line") or "")) or node.line
        elif name == "finished":
            self.running.pop(node_of(event), None)
            self.finished[str(event.get("outcome", "built"))] += 1

    def _at_work(self, event: Event, *, since: float) -> Running:
        address, stage = node_of(event)
        fresh = Running(stage=stage, address=address, since=since)
        return self.running.setdefault((address, stage), fresh)


def node_of(event: Event) -> Node:
    """The address and stage that an event speaks of, cleaned for drawing."""
    return one_line(str(event.get("address", ""))), one_line(str(event.get("stage", "")))


def _count(value: object) -> int:
    return int(value) if isinstance(value, int | float) and value > 0 else 0
