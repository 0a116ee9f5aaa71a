"""The noise floor of programs that round in steps: the worst of several runs and all samples."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tidemill.exporters.base import Exporter, Spec
from tidemill.steps.work import reference
from tidemill.steps.work.contract import Contract, Produced, judge
from tidemill.steps.work.dtypes import Array
from tidemill.steps.work.noise import level, worst
from tidemill.steps.work.reference import Sample
from tidemill.steps.work.samples import Argument
from tidemill.steps.work.verdict import conclude

SPEC = Spec(dtype="f32", options={}, inputs=(), dynamic={}, config={})


def test_the_worst_of_two_is_told_and_all_else_is_of_the_first() -> None:
    first = {"max_abs": 0.1, "rel_l2": 0.3, "top1": 0.9, "ulp": {"0": 1}, "mask_equal": True}
    second = {"max_abs": 0.2, "rel_l2": 0.1, "top1": 0.8, "ulp": {"1": 1}, "mask_equal": False}
    assert worst(first, second) == {**first, "max_abs": 0.2, "top1": 0.8}


def test_what_was_not_measured_is_no_worse() -> None:
    assert worst({"max_abs": None, "top1": None}, {"max_abs": 0.5}) == {
        "max_abs": 0.5,
        "top1": None,
    }


def test_every_sample_has_the_noise_of_the_worst_one() -> None:
    entries: list[dict[str, Any]] = [
        {"outputs": [{"name": "a", "noise": {"max_abs": far}}, {"name": "b", "noise": {}}]}
        for far in (0.1, 0.4)
    ]
    level(entries)
    assert [one["outputs"][0]["noise"] for one in entries] == [{"max_abs": 0.4}] * 2
    assert [one["outputs"][1]["noise"] for one in entries] == [{}, {}]


class Plain:
    """Halves of its input, off by a millionth."""

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        return [(arrays[0] * 0.5 * (1 + 1e-6)).astype(np.float32)]


class Stepping(Plain):
    """The same, of which the second further run of the first sample is a whole step away."""

    def draws(self, arrays: Sequence[Array]) -> Iterator[list[Array]]:
        for step in (0.0, 0.25, 0.0):
            fallen = step if arrays[0][0, 0] == 2 else 0.0
            yield [(arrays[0] * 0.5 + fallen).astype(np.float32)]

    def unnarrowed(self, arrays: Sequence[Array]) -> list[Array]:
        return [arrays[0] * 0.5 + 1]


class Made:
    """An exporter whose program in the artifact's type is ``program``."""

    def __init__(self, program: Any) -> None:
        self._program = program

    def program(self, spec: Spec, precision: str) -> Any:
        assert (spec, precision) == (SPEC, "f32")
        return self._program


@pytest.mark.parametrize(
    ("program", "noise"), [(Plain(), [1e-6, 4e-6]), (Stepping(), [0.25, 0.25])]
)
def test_a_program_with_draws_is_measured_by_the_worst_of_them(
    tmp_path: Path, program: Any, noise: list[float]
) -> None:
    """Its second sample has no such step; it may have one with other roundings all the same."""
    samples: list[Sample] = []
    entries: list[dict[str, Any]] = []
    for index, size in enumerate((2.0, 8.0)):
        array = np.array([[size, 1.0]])
        argument = Argument(name="x", array=array, dtype="f32", shape=(1, 2), kind="values")
        samples.append(Sample(name=f"s{index}", dims={}, arguments=[argument], greedy=None))
        np.save(tmp_path / f"s{index}.npy", array * 0.5)
        output = {"name": "y", "file": f"s{index}.npy", "stored": "f64", "noise": {}}
        entries.append({"name": f"s{index}", "outputs": [output]})
    reference._measure(
        cast("Exporter", Made(program)),
        samples,
        entries=entries,
        spec=SPEC,
        precision="f64",
        folder=tmp_path,
    )
    found = [one["outputs"][0]["noise"]["max_abs"] for one in entries]
    assert found == pytest.approx(noise, rel=0.1)
    far = {one["outputs"][0].get("unnarrowed", {}).get("max_abs") for one in entries}
    assert far == ({1.0} if isinstance(program, Stepping) else {None})
    assert json.dumps(entries)


EXPECTED = np.array([[1.0, -2.0, 0.5, 3.0]])


@pytest.mark.parametrize(
    ("factor", "weak"), [(2.0, []), (3.9, []), (4.1, ["unnarrowed"]), (8.0, ["unnarrowed"])]
)
def test_a_contract_refuses_what_narrows_nothing_or_is_vacuous(
    factor: float, weak: list[str]
) -> None:
    """Wide noise is no licence: it has to tell the program from one without its narrowing."""
    produced = Produced(
        sample="s",
        name="y",
        actual=EXPECTED,
        dtype="f32",
        expected=EXPECTED,
        dtypes=["f32"],
        noise={"max_abs": 0.05, "rel_l2": 0.01},
        unnarrowed={"max_abs": 0.2, "rel_l2": 0.04},
    )
    told = judge(produced, Contract(dtype="f32", factor=factor, narrowed=True))
    assert told["holds"]
    assert "unnarrowed" in told["tried"]
    assert told["vacuous"] == weak
    verdict = conclude([told], Contract(dtype="f32", factor=factor, narrowed=True))
    words = "sample s y would pass with activations that are not narrowed"
    assert any(words in reason for reason in verdict["reasons"]) == bool(weak)
