"""Samples whose values cannot fill their inputs are told of when the manifest is read."""

from pathlib import Path

import pytest

from tests.unit.edits import COMPONENT, edited, kind, problems_of

AT = f"27: {COMPONENT}.samples[0].inputs.ids"


def found(root: Path, recipe: str, *, dtype: str = "i64", shape: str = "[batch]") -> list[str]:
    """The problems of the one sample (batch 2) with ``recipe`` for an input."""
    return problems_of(
        root,
        model=edited(kind(recipe), ("{dtype: i64, shape: [batch, 64]}",
                                    f"{{dtype: {dtype}, shape: {shape}}}")),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "recipe", "problem"),
    [
        ("i64", "{kind: values, values: [nineteen, 3]}",
            ".values[0]: 'nineteen' is no number, and the input is i64"),
        ("float", "{kind: values, values: [1.5, x]}",
            ".values[1]: 'x' is no number, and the input is float"),
        ("i64", "{kind: values, values: [1.5, 2.5]}",
            ".values[0]: 1.5 is no whole number, and the input is i64 (1 more are so)"),
        ("i64", "{kind: values, values: [1, ~]}",
            ".values[1]: None is no number, and the input is i64"),
        ("i32", "{kind: values, values: [0, 2147483648]}", ".values[1]: 2147483648 is not within"
            " -2147483648 to 2147483647, and the input is i32"),
        ("bool", "{kind: values, values: [true, 2]}",
            ".values[1]: 2 is not within 0 to 1, and the input is bool"),
        ("i64", "{kind: values, values: [1, 2, 3]}",
            ".values: has shape [3], but the input is [batch: 2]"),
        ("i64", "{kind: values, values: [[1], [2]]}",
            ".values: has shape [2, 1], but the input is [batch: 2]"),
        ("i64", "{kind: values, values: [[1], [2, 3]]}",
            ".values: is ragged: lists beside each other must be of one length"),
        ("i64", "{kind: normal, seed: 1}",
            ".kind: normal values are fractions, and the input is i64"),
        ("bool", "{kind: uniform, seed: 1}",
            ".kind: uniform values are fractions, and the input is bool"),
        ("i64", "{kind: integers, seed: 1, low: 9, high: 9}",
            ": low 9 is not below high 9, which is excluded"),
        ("i64", "{kind: integers, seed: 1, low: 0.5, high: 9}", ".low: 0.5 is no whole number"),
        ("i32", "{kind: integers, seed: 1, low: 0, high: 3000000000}",
            ": 2999999999 is not within -2147483648 to 2147483647, and the input is i32"),
        ("float", "{kind: normal, seed: -1}", ".seed: -1 is no seed: it must be at least 0"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_say_where(
    tmp_path: Path, dtype: str, recipe: str, problem: str
) -> None:
    assert AT + problem in found(tmp_path, recipe, dtype=dtype)


@pytest.mark.parametrize(
    ("dtype", "recipe"),
    [
        ("i64", "{kind: values, values: [1, 2.0]}"),
        ("bool", "{kind: values, values: [true, 0]}"),
        ("bool", "{kind: integers, seed: 1, low: 0, high: 2}"),
        ("float", "{kind: values, values: [1, 2.5]}"),
        ("float", "{kind: integers, seed: 1, low: 0, high: 2}"),
        ("i64", "{kind: normal, seed: 1, mean: 3.0, std: 0}"),
    ],
)
def test_values_that_fit_are_no_problem(tmp_path: Path, dtype: str, recipe: str) -> None:
    assert found(tmp_path, recipe, dtype=dtype) == []


@pytest.mark.parametrize("axis", ["[2, 4]", "[{a: 1}]", "7", "[two]"])
def test_sizes_come_from_the_matrix_too_however_wrong_it_is(tmp_path: Path, axis: str) -> None:
    model = edited(
        kind("{kind: values, values: [1, 2]}"),
        ("[batch, 64]", "[batch]"),
        ("    dimensions:\n      batch: {min: 1, max: 8}\n", f"    matrix: {{batch: {axis}}}\n"),
        ("        dims: {batch: 2}\n", ""),
    )
    problems = problems_of(tmp_path, model=model)
    shaped = [line for line in problems if "has shape" in line]
    assert shaped == (
        [f"25: {COMPONENT}.samples[0].inputs.ids.values: has shape [2], but the input is"
         " [batch: 2 or 4]"]
        if axis == "[2, 4]"
        else []
    )  # fmt: skip
    assert problems


def test_a_scalar_has_one_value(tmp_path: Path) -> None:
    assert found(tmp_path, "{kind: values, values: [5]}", shape="[]") == [
        f"{AT}.values: has shape [1], but the input is []"
    ]
