"""What repetitions of one measurement come to. Pure; standard library only."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]

_IN_MS = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}


class NoMeasurement(ValueError):  # noqa: N818 - it says what is so, as BlobMissing does
    """The tool has measured nothing, or not what was asked for."""


def repetitions_of(report: Mapping[str, Any], *, wanted: int) -> list[float]:
    """The time of one call in each repetition, in ms, of Google Benchmark's JSON.

    Raises NoMeasurement for an error in it, for fewer repetitions than ``wanted``, and for a time
    that is none.
    """
    runs = [one for one in report.get("benchmarks", ()) if one.get("run_type") == "iteration"]
    for one in runs:
        if one.get("error_occurred"):
            raise NoMeasurement(str(one.get("error_message") or "the benchmark failed"))
    if len(runs) != wanted:
        raise NoMeasurement(f"{len(runs)} repetitions were measured, {wanted} were asked for")
    times = [float(one["real_time"]) * _IN_MS[one["time_unit"]] for one in runs]
    if not all(0 < time < float("inf") for time in times):
        raise NoMeasurement("a repetition took no time")
    return times


def spread(times: Sequence[float], *, tokens: int | None) -> Json:
    """Median, quartiles, least and most of ``times`` in ms; tokens a second by the median."""
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    numbers = {
        "median_ms": middle,
        "iqr_ms": high - low,
        "min_ms": min(times),
        "max_ms": max(times),
        "times_ms": list(times),
    }
    rate = {"tokens_per_second": tokens / middle * 1e3} if tokens else {}
    return {**numbers, **rate}
