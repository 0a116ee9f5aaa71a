"""What the tool's report comes to; a report without the numbers that were asked for is none."""

from typing import Any

import pytest

from tidemill.steps.work.spread import NoMeasurement, repetitions_of, spread


def repetition(time: float, *, unit: str = "ms", **more: Any) -> dict[str, Any]:
    return {"run_type": "iteration", "real_time": time, "time_unit": unit, **more}


def report(*runs: dict[str, Any]) -> dict[str, Any]:
    mean = {"run_type": "aggregate", "aggregate_name": "mean", "real_time": 9.0, "time_unit": "ms"}
    return {"benchmarks": [*runs, mean]}


def test_repetitions_are_told_in_ms_whatever_their_unit_and_without_aggregates() -> None:
    runs = report(
        repetition(2.0), repetition(3e6, unit="ns"), repetition(4e3, unit="us"),
        repetition(0.005, unit="s"),
    )  # fmt: skip
    assert repetitions_of(runs, wanted=4) == pytest.approx([2.0, 3.0, 4.0, 5.0])


def test_an_error_in_the_report_is_no_measurement_and_is_quoted() -> None:
    wrong = repetition(0.0, error_occurred=True, error_message="INVALID_ARGUMENT; input0 shape")
    with pytest.raises(NoMeasurement, match="INVALID_ARGUMENT; input0 shape"):
        repetitions_of(report(repetition(2.0), wrong), wanted=2)


@pytest.mark.parametrize("runs", [[], [2.0], [2.0, 2.0, 2.0, 2.0]])
def test_fewer_or_more_repetitions_than_asked_for_are_no_measurement(runs: list[float]) -> None:
    with pytest.raises(NoMeasurement, match=f"{len(runs)} repetitions were measured, 3 were"):
        repetitions_of(report(*map(repetition, runs)), wanted=3)


@pytest.mark.parametrize("time", [0.0, -1.0, float("inf"), float("nan")])
def test_a_time_that_is_none_is_no_measurement(time: float) -> None:
    with pytest.raises(NoMeasurement, match="a repetition took no time"):
        repetitions_of(report(repetition(2.0), repetition(time)), wanted=2)


def test_an_outlier_moves_neither_the_median_nor_the_quartiles() -> None:
    calm = spread([4.0, 1.0, 3.0, 2.0, 5.0], tokens=None)
    assert calm == {
        "median_ms": 3.0, "iqr_ms": 2.0, "min_ms": 1.0, "max_ms": 5.0,
        "times_ms": [4.0, 1.0, 3.0, 2.0, 5.0],
    }  # fmt: skip
    noisy = spread([4.0, 1.0, 3.0, 2.0, 500.0], tokens=None)
    assert (noisy["median_ms"], noisy["iqr_ms"]) == (3.0, 2.0)


def test_tokens_a_second_follow_from_the_median() -> None:
    assert spread([2.0, 4.0, 3.0], tokens=6)["tokens_per_second"] == pytest.approx(2000)
