"""Inputs of samples: the same everywhere, of the right shape and type, or an error that says it."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.base import Dimension, InputSpec, Spec
from tidemill.steps.work.samples import (
    Argument,
    make_sample,
    plan_greedy,
    random_integers,
    random_normal,
    random_uniform,
)

NORMAL = {"kind": "normal", "seed": 1}
#: Computed once; a change means that every reference in every store is made from other inputs.
FROZEN = {
    "uniform": "04cb301accba852a",
    "normal": "b1311d1465e4da7d",
    "integers": "54ff89575ceb81d6",
}


def spec_of(
    *inputs: InputSpec, dtype: str = "f32", sizes: dict[str, tuple[int, int]] | None = None
) -> Spec:
    bounds = (sizes or {}).items()
    dynamic = {name: Dimension(min=low, max=high) for name, (low, high) in bounds}
    return Spec(dtype=dtype, options={}, inputs=inputs, dynamic=dynamic, config={})


def one_input(recipe: Any, *, dtype: str = "float", variant: str = "f32") -> Argument:
    spec = spec_of(InputSpec(name="x", dtype=dtype, shape=(2, 3)), dtype=variant)
    return make_sample(spec, {"name": "s", "inputs": {"x": recipe}}, tokenizers={})[0]


def problem_of(spec: Spec, sample: dict[str, Any], **tokenizers: Path) -> str:
    with pytest.raises(WorkError) as caught:
        make_sample(spec, {"name": "s", **sample}, tokenizers=tokenizers)
    assert caught.value.failure is FailureClass.EXPORT
    assert caught.value.hint == "correct the sample in the manifest"
    return caught.value.message


def test_random_values_are_frozen() -> None:
    found = {
        "uniform": hashlib.sha256(random_uniform(7, 1000).tobytes()).hexdigest()[:16],
        "normal": hashlib.sha256(random_normal(7, 1000).tobytes()).hexdigest()[:16],
        "integers": hashlib.sha256(
            random_integers(7, 1000, low=-5, high=1000).tobytes()
        ).hexdigest()[:16],
    }
    assert found == FROZEN


def test_random_values_have_the_promised_distribution() -> None:
    uniform, normal = random_uniform(3, 100_000), random_normal(3, 100_000)
    assert 0 <= uniform.min() < uniform.max() < 1
    assert uniform.mean() == pytest.approx(0.5, abs=0.01)
    assert (normal.mean(), normal.std()) == (
        pytest.approx(0, abs=0.02),
        pytest.approx(1, abs=0.02),
    )
    assert (np.abs(normal) < 1).mean() == pytest.approx(0.68, abs=0.02)
    drawn = random_integers(3, 10_000, low=2, high=5)
    assert sorted(set(drawn.tolist())) == [2, 3, 4]


def test_other_seeds_give_other_values() -> None:
    assert not np.array_equal(random_uniform(1, 8), random_uniform(2, 8))


@pytest.mark.parametrize(
    ("variant", "holder"), [("f32", np.float32), ("f16", np.float16), ("bf16", np.float32)]
)
def test_a_float_input_takes_the_dtype_of_the_variant(variant: str, holder: type) -> None:
    argument = one_input(NORMAL, variant=variant)
    assert argument.dtype == variant
    assert argument.array.dtype == np.dtype(holder)
    assert argument.array.shape == (2, 3)


def test_bf16_values_are_bf16_numbers() -> None:
    bits = one_input(NORMAL, variant="bf16").array.view(np.uint32)
    assert not (bits & 0xFFFF).any()


def test_uniform_and_normal_are_scaled() -> None:
    argument = one_input({"kind": "uniform", "seed": 1, "low": 10.0, "high": 11.0})
    assert ((argument.array >= 10) & (argument.array <= 11)).all()
    shifted = one_input({"kind": "normal", "seed": 1, "mean": 5.0, "std": 0.0})
    assert (shifted.array == 5).all()


def test_bounds_of_integers_may_come_as_whole_floats() -> None:
    argument = one_input({"kind": "integers", "seed": 1, "low": 0.0, "high": 2.0}, dtype="bool")
    assert argument.array.dtype == np.bool_


def test_dynamic_sizes_come_from_the_sample() -> None:
    spec = spec_of(
        InputSpec(name="x", dtype="float", shape=("batch", 3, "seq")),
        sizes={"batch": (1, 4), "seq": (1, 64)},
    )
    sample = {"name": "s", "dims": {"batch": 2, "seq": 5}, "inputs": {"x": NORMAL}}
    assert make_sample(spec, sample, tokenizers={})[0].shape == (2, 3, 5)


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ({}, "sample s: gives no size for dimension seq"),
        ({"seq": 0}, "sample s: sets dimension seq to 0, outside its bounds 1 to 64"),
        ({"seq": 65}, "sample s: sets dimension seq to 65, outside its bounds 1 to 64"),
        (
            {"seq": 2, "batch": 1},
            "sample s: sets dimension batch, which is not declared (known: seq)",
        ),
    ],
)
def test_a_wrong_dimension_is_named(dims: dict[str, int], message: str) -> None:
    spec = spec_of(InputSpec(name="x", dtype="float", shape=(1, "seq")), sizes={"seq": (1, 64)})
    assert problem_of(spec, {"dims": dims, "inputs": {"x": NORMAL}}) == message


def test_a_shape_with_an_undeclared_dimension_is_named() -> None:
    spec = spec_of(InputSpec(name="x", dtype="float", shape=(1, "seq")))
    message = "sample s: input x uses dimension seq, which is not declared"
    assert problem_of(spec, {"inputs": {"x": NORMAL}}) == message


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "sample s: says nothing about input x"),
        ({"x": NORMAL, "y": NORMAL}, "sample s: has input y, but the program has x"),
        ({"x": {"kind": "gamma"}}, "sample s: input x: unknown kind 'gamma'"),
        ({"x": {"kind": "normal"}}, "sample s: input x: kind normal needs 'seed'"),
        (
            {"x": {"kind": "normal", "seed": 1, "low": 2}},
            "sample s: input x: normal takes no 'low'",
        ),
        (
            {"x": {"kind": "values", "values": [[1, 2]]}},
            "sample s: input x has shape (1, 2), but the program takes (2, 3)",
        ),
        (
            {"x": {"kind": "values", "values": [["a"] * 3] * 2}},
            "sample s: input x is not made of numbers",
        ),
        (
            {"x": {"kind": "values", "values": [[1e6] * 3] * 2}},
            "sample s: input x has values beyond the range of f16",
        ),
        (
            {"x": {"kind": "integers", "seed": 1, "low": 4, "high": 4}},
            "sample s: input x: low 4 is not below high 4",
        ),
        ({"x": {"kind": "text", "field": "ids"}}, "sample s: input x: kind text needs 'ids'"),
    ],
)
def test_a_wrong_recipe_is_named(inputs: dict[str, Any], message: str) -> None:
    spec = spec_of(InputSpec(name="x", dtype="float", shape=(2, 3)), dtype="f16")
    assert problem_of(spec, {"inputs": inputs}) == message


def test_ragged_values_are_named() -> None:
    spec = spec_of(InputSpec(name="x", dtype="i64", shape=(2, 2)))
    message = problem_of(spec, {"inputs": {"x": {"kind": "values", "values": [[1], [2, 3]]}}})
    assert message.startswith("sample s: input x: setting an array element with a sequence")


@pytest.mark.parametrize("values", [[[0.5, 1]], [[2**40, 1]]])
def test_values_that_an_integer_input_cannot_hold_are_refused(values: list[list[float]]) -> None:
    spec = spec_of(InputSpec(name="x", dtype="i32", shape=(1, 2)))
    message = problem_of(spec, {"inputs": {"x": {"kind": "values", "values": values}}})
    assert message == "sample s: input x has values that i32 cannot hold"


def test_a_tokenizer_that_is_not_an_input_is_named() -> None:
    spec = spec_of(InputSpec(name="x", dtype="i64", shape=(1, 2)))
    text = {"tokenizer": "tokenizer.json", "texts": ["a"], "length": 2}
    sample = {"text": text, "inputs": {"x": {"kind": "text", "field": "ids"}}}
    assert problem_of(spec, sample) == (
        "sample s: its tokenizer tokenizer.json is not among the inputs"
    )


IDS = InputSpec(name="ids", dtype="i64", shape=("batch", "seq"))
MASK = InputSpec(name="mask", dtype="i64", shape=("batch", "seq"))
SIZES = {"batch": (1, 4), "seq": (1, 10)}


def arguments_for(spec: Spec, mask: list[list[int]]) -> list[Argument]:
    inputs = {
        "ids": {"kind": "values", "values": [[1, 2, 3]]},
        "mask": {"kind": "values", "values": mask},
    }
    named = {item.name: inputs[item.name] for item in spec.inputs}
    sample = {"name": "s", "dims": {"batch": 1, "seq": 3}, "inputs": named}
    return make_sample(spec, sample, tokenizers={})


def test_greedy_decoding_grows_tokens_and_mask_up_to_the_bound() -> None:
    spec = spec_of(IDS, MASK, sizes=SIZES)
    arguments = arguments_for(spec, [[1, 1, 1]])
    plan = plan_greedy(spec, arguments, tokens=8, sample="s")
    assert (plan.tokens, plan.masks) == (8, (1,))


def test_greedy_decoding_beyond_the_bound_is_refused() -> None:
    spec = spec_of(IDS, MASK, sizes=SIZES)
    with pytest.raises(WorkError) as caught:
        plan_greedy(spec, arguments_for(spec, [[1, 1, 1]]), tokens=9, sample="s")
    assert caught.value.message == (
        "sample s: cannot decode greedily: dimension seq would reach 11, above its max 10"
    )


def test_greedy_decoding_with_padding_is_refused() -> None:
    spec = spec_of(IDS, MASK, sizes=SIZES)
    with pytest.raises(WorkError) as caught:
        plan_greedy(spec, arguments_for(spec, [[1, 1, 0]]), tokens=2, sample="s")
    assert caught.value.message == (
        "sample s: cannot decode greedily: input mask must be a mask of ones to grow with it"
    )


def test_greedy_decoding_needs_a_dynamic_length() -> None:
    spec = spec_of(InputSpec(name="ids", dtype="i64", shape=(1, 3)))
    inputs = {"ids": {"kind": "values", "values": [[1, 2, 3]]}}
    arguments = make_sample(spec, {"name": "s", "inputs": inputs}, tokenizers={})
    with pytest.raises(WorkError) as caught:
        plan_greedy(spec, arguments, tokens=2, sample="s")
    assert caught.value.message == (
        "sample s: cannot decode greedily: input ids must hold the tokens: shape [batch, length],"
        " integer, with a dynamic length"
    )
