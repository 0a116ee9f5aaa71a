"""The benchmarks of a run as rows: what IREE's tool measured, and the peers' rows below it. Pure.

What a record says is plain JSON and may be of an older shape: what is not there is shown as not
there, and nothing is invented.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.records import RunReport
from tidemill.report.text import number_text, one_line, plural, size_text

#: What the compiled module's own row is called.
OWN = "iree"
_SECOND, _WHOLE = 1000.0, 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What one call takes, in ms, over all repetitions; ``times`` is empty where ``why`` says why.

    ``ratio`` is how many times as long as the compiled module a peer takes.
    """

    who: str
    times: tuple[float, ...] = ()
    median: float | None = None
    iqr: float | None = None
    rate: float | None = None
    ratio: float | None = None
    first: float | None = None
    why: str = ""

    @property
    def median_text(self) -> str:
        """``8.12 ms``, or ``-``."""
        return ms_text(self.median)

    @property
    def range_text(self) -> str:
        """``8.01 ms to 8.4 ms``, or ``-``."""
        return f"{ms_text(min(self.times))} to {ms_text(max(self.times))}" if self.times else "-"

    @property
    def rate_text(self) -> str:
        """Tokens a second, or ``-``."""
        if self.rate is None:
            return "-"
        return f"{self.rate:.0f}" if self.rate >= _WHOLE else number_text(self.rate, digits=3)

    @property
    def ratio_text(self) -> str:
        """``1.22 x``, or empty."""
        return "" if self.ratio is None else f"{self.ratio:.2f} x"

    @property
    def note(self) -> str:
        """Why there is no number; or how long a peer's first call took, which compiles."""
        if self.why:
            return self.why
        return "" if self.first is None else f"first call {ms_text(self.first)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One function of one module on one machine; its own timing first, then those of peers."""

    address: str
    name: str
    function: str
    tokens: int | None
    machine: str
    dispatches: str
    size: str
    timings: tuple[Timing, ...]

    @property
    def longest(self) -> float:
        """The longest repetition of all timings, for pictures; 0 where there is none."""
        return max((max(one.times) for one in self.timings if one.times), default=0.0)

    def places(self, timing: Timing) -> tuple[str, ...]:
        """Where each repetition stands between 0 and the longest, in percent."""
        return tuple(f"{100 * time / self.longest:.2f}" for time in timing.times)


def benchmarks(report: RunReport) -> tuple[Measured, ...]:
    """Every function that was measured, by this run or before, in the order of its nodes."""
    return tuple(
        found
        for node in report.nodes
        if node.stage == "benchmark" and not node.failure
        for found in measured(node.address, node.facts)
    )


def measured(address: str, facts: Mapping[str, Any]) -> Iterator[Measured]:
    """The functions in the facts of one benchmark."""
    told = _mapping(facts.get("benchmark"))
    count, size = _number(facts.get("dispatch_count")), _number(told.get("vmfb_bytes"))
    for raw in map(_mapping, _sequence(told.get("functions"))):
        tokens = _number(raw.get("tokens"))
        yield Measured(
            address=address,
            name=_text(raw.get("name")),
            function=_text(raw.get("function")),
            tokens=None if tokens is None else int(tokens),
            machine=machine_text(told),
            dispatches="" if count is None else _dispatches(int(count)),
            size="" if size is None else size_text(int(size)),
            timings=(
                _timing(raw, OWN),
                *(_timing(_mapping(one), "") for one in _sequence(raw.get("peers"))),
            ),
        )


def machine_text(told: Mapping[str, Any]) -> str:
    """``AMD EPYC 9654, local-task, 8 threads, load 0.1 before``."""
    machine = _mapping(told.get("machine"))
    threads, load = _number(told.get("threads")), _number(told.get("load"))
    parts = [_text(machine.get("device")), _text(machine.get("driver"))]
    parts += [] if threads is None else [plural(int(threads), "thread")]
    parts += [] if load is None else [f"load {load:g} before"]
    return ", ".join(part for part in parts if part)


def lines(one: Measured) -> Iterator[str]:
    """One measured function in words, its own line first: what a terminal and ``show`` print."""
    for timing in one.timings:
        if timing.who == OWN:
            facts = [timing.median_text, f"iqr {ms_text(timing.iqr)}", timing.range_text]
            facts += [f"{timing.rate_text} tokens/s"] if timing.rate is not None else []
            facts += [part for part in (one.dispatches, one.size) if part]
            yield f"{one.name}: {', '.join(facts)}"
        elif timing.times:
            note = f", {timing.note}" if timing.note else ""
            yield f"  {timing.who}: {timing.median_text}, {timing.ratio_text} as long{note}"
        else:
            yield f"  {timing.who}: not measured: {timing.note}"
    if one.machine:
        yield f"  on {one.machine}"


def ms_text(value: float | None) -> str:
    """A time given in ms with three digits: ``0.0117 ms``, ``8.12 ms``, ``19.2 s``; or ``-``."""
    if value is None:
        return "-"
    if value >= _SECOND:
        return f"{number_text(value / _SECOND, digits=3)} s"
    return f"{number_text(value, digits=3)} ms"


def _dispatches(count: int) -> str:
    return f"{count} dispatch" if count == 1 else f"{count} dispatches"


def _timing(raw: Mapping[str, Any], who: str, /) -> Timing:
    times = tuple(time for time in map(_number, _sequence(raw.get("times_ms"))) if time is not None)
    return Timing(
        who=who or _text(raw.get("name")),
        times=times,
        median=_number(raw.get("median_ms")),
        iqr=_number(raw.get("iqr_ms")),
        rate=_number(raw.get("tokens_per_second")),
        ratio=_number(raw.get("ratio")),
        first=_number(raw.get("first_ms")),
        why=_text(raw.get("why")),
    )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


def _text(value: object) -> str:
    return one_line(value) if isinstance(value, str) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
