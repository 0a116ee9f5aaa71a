"""Contracts: what passes, what does not and why, and contracts that are worth nothing."""

import json
from typing import Any

import numpy as np
import pytest

from tidemill.steps.work.contract import Contract, Produced, judge
from tidemill.steps.work.dtypes import Array, round_to
from tidemill.steps.work.perturb import mandatory, perturbed
from tidemill.steps.work.verdict import conclude

NOISE = {"max_abs": 1e-6, "rel_l2": 1e-6}


@pytest.fixture
def expected() -> Array:
    return np.linspace(-1.0, 2.0, 24).reshape(2, 12)


def produced(expected: Array, actual: Array | None = None, **other: Any) -> Produced:
    came = expected.astype(np.float32) if actual is None else actual
    given: dict[str, Any] = {"dtype": "f32", "dtypes": ["f32"], "noise": NOISE, **other}
    return Produced(sample="s", name="output0", actual=came, expected=expected, **given)


def verdict_of(
    *outputs: Produced, greedy: list[dict[str, Any]] | None = None, **numerics: Any
) -> dict[str, Any]:
    dtype = numerics.pop("dtype", "f32")
    contract = Contract.of(numerics, dtype=dtype)
    found = conclude([judge(one, contract) for one in outputs], contract, greedy=greedy or ())
    json.dumps(found, allow_nan=False)
    return found


def test_a_right_output_holds_and_every_perturbation_is_caught(expected: Array) -> None:
    verdict = verdict_of(produced(expected))
    assert (verdict["holds"], verdict["kind"], verdict["reasons"]) == (True, "full", [])
    assert verdict["perturbations"] == {
        "tried": [
            "all zeros",
            "scaled by 1 %",
            "rolled by one along the last axis",
            "one element off by 5 % of the largest magnitude",
            "one NaN",
        ],
        "missed": [],
    }
    assert verdict["summary"]["limit_max_abs"] == pytest.approx(8e-6)
    assert verdict["summary"]["limit_rel_l2"] == pytest.approx(8e-6)
    assert verdict["samples"][0]["outputs"][0]["holds"] is True


def test_an_error_above_the_noise_says_by_how_much(expected: Array) -> None:
    actual = expected + 1e-4
    reasons = verdict_of(produced(expected, actual))["reasons"]
    assert reasons == [
        "sample s output0: relative L2 9.7e-05 exceeds 8 times noise 1.0e-06",
        "sample s output0: max abs 1.0e-04 exceeds 8 times noise 1.0e-06",
    ]


def test_noise_that_is_zero_by_luck_falls_back_to_the_floor_of_the_dtype(expected: Array) -> None:
    lucky = {"max_abs": 0.0, "rel_l2": 0.0}
    assert verdict_of(produced(expected, noise=lucky))["holds"]
    verdict = verdict_of(produced(expected, expected * (1 + 1e-5), noise=lucky))
    assert verdict["reasons"] == [
        "sample s output0: relative L2 1.0e-05 exceeds 8 times f32 floor 1.2e-07",
        "sample s output0: max abs 2.0e-05 exceeds 8 times f32 floor 2.4e-07",
    ]


def test_noise_that_was_not_measured_falls_back_to_the_floor_too(expected: Array) -> None:
    verdict = verdict_of(produced(expected, noise={}))
    assert verdict["summary"]["limit_rel_l2"] == 8 * 2.0**-23


def test_an_absolute_tolerance_replaces_the_noise(expected: Array) -> None:
    absolute = {"max_abs": 2e-4, "reason": "the suite downstream asks for this"}
    assert verdict_of(produced(expected, expected + 1e-4), absolute=absolute)["holds"]
    verdict = verdict_of(produced(expected, expected + 3e-4), absolute=absolute)
    assert verdict["reasons"] == [
        "sample s output0: max abs 3.0e-04 exceeds the absolute tolerance 2.0e-04"
    ]


def test_an_absolute_tolerance_without_a_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="an absolute tolerance needs a written reason"):
        Contract.of({"absolute": {"max_abs": 1.0, "reason": " "}}, dtype="f32")


def test_top1_without_logits_is_refused() -> None:
    with pytest.raises(ValueError, match="top1 is demanded, but no output is named under logits"):
        Contract.of({"top1": 0.9}, dtype="f32")


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        (np.ones((1, 24)), "has shape (1, 24), expected (2, 12)"),
        (np.ones((1, 1, 0, 0)), "has nothing to compare: actual (1, 1, 0, 0) is empty"),
        (np.full((2, 12), np.nan), "has nothing to compare: no element is finite in both"),
    ],
)
def test_what_cannot_be_compared_fails(expected: Array, actual: Array, message: str) -> None:
    verdict = verdict_of(produced(expected, actual))
    assert verdict["reasons"] == [f"sample s output0: {message}"]
    assert verdict["summary"]["max_abs"] is None


def test_one_nan_fails_however_wide_the_limits_are(expected: Array) -> None:
    actual = expected.copy()
    actual[0, 3] = np.nan
    reasons = verdict_of(produced(expected, actual))["reasons"]
    assert reasons == [
        "sample s output0: has NaN or Inf where the reference has none, or lacks one"
    ]


def test_an_infinity_that_the_reference_has_too_is_right(expected: Array) -> None:
    expected[0, 3] = -np.inf
    assert verdict_of(produced(expected))["holds"]


def test_another_element_type_fails_though_the_values_agree(expected: Array) -> None:
    reasons = verdict_of(produced(expected, dtype="f64"))["reasons"]
    assert reasons == ["sample s output0: has element type f64, expected f32"]


def test_no_output_at_all_is_a_failure() -> None:
    assert verdict_of()["reasons"] == [
        "there is nothing to compare: no output of any sample was judged"
    ]


def test_a_contract_wider_than_the_values_is_vacuous(expected: Array) -> None:
    verdict = verdict_of(produced(expected, noise={"max_abs": 1.0, "rel_l2": 0.5}))
    assert (verdict["holds"], verdict["vacuous"]) == (False, True)
    assert verdict["reasons"] == [
        f"the contract is vacuous: sample s output0 would pass with {words}"
        for words in (
            "all zeros",
            "rolled by one along the last axis",
            "scaled by 1 %",
            "one element off by 5 % of the largest magnitude",
        )
    ]
    assert [one["mandatory"] for one in verdict["perturbations"]["missed"]] == [True] * 4


def test_a_small_perturbation_that_bf16_cannot_resolve_is_listed_but_not_demanded(
    expected: Array,
) -> None:
    actual = round_to(expected, "bf16")
    noise = {"max_abs": 5e-3, "rel_l2": 3e-3}
    one = produced(expected, actual, dtype="bf16", dtypes=["bf16"], noise=noise)
    verdict = verdict_of(one, dtype="bf16")
    assert (verdict["holds"], verdict["vacuous"]) == (True, False)
    assert verdict["perturbations"]["missed"] == [
        {"name": f"sample s output0: {words}", "mandatory": False}
        for words in ("scaled by 1 %", "one element off by 5 % of the largest magnitude")
    ]


@pytest.mark.parametrize(("narrowed", "holds"), [(True, True), (False, False)])
def test_a_program_of_eight_bits_has_to_resolve_what_eight_bits_can(
    expected: Array, narrowed: bool, holds: bool
) -> None:
    """One part in a hundred of float32 is a gross fault, and less than a step of int8."""
    noise = {"max_abs": 0.02 * float(np.abs(expected).max()), "rel_l2": 0.02}
    verdict = verdict_of(produced(expected, noise=noise), factor=3, narrowed=narrowed)
    assert verdict["holds"] is holds
    assert verdict["vacuous"] is not holds


def test_what_is_mandatory_follows_from_the_dtype() -> None:
    value = np.ones(3)
    assert mandatory(value, "f32") == {"zeros", "rolled", "nan", "scaled", "nudged"}
    assert mandatory(value, "f16") == {"zeros", "rolled", "nan", "nudged"}
    assert mandatory(value, "bf16") == {"zeros", "rolled", "nan"}
    assert mandatory(np.ones(3, np.int64), "bf16") == {"zeros", "rolled", "off"}


def test_perturbing_leaves_the_expected_output_alone(expected: Array) -> None:
    before = expected.copy()
    wrong = dict(perturbed(expected))
    assert np.array_equal(expected, before)
    assert all(not np.array_equal(one, before) for one in wrong.values())
    changed = wrong["nudged"] - before
    assert np.count_nonzero(changed) == 1
    assert changed.max() == pytest.approx(0.05 * 2.0)


def test_an_output_that_is_zero_in_every_sample_tells_nothing() -> None:
    verdict = verdict_of(produced(np.zeros((2, 3))))
    assert verdict["reasons"] == [
        "the contract is vacuous: output0 is zero in every sample, so nothing can be told from it"
    ]


def test_one_zero_sample_is_fine_when_another_is_not(expected: Array) -> None:
    assert verdict_of(produced(np.zeros((2, 3))), produced(expected))["holds"]


@pytest.mark.parametrize("values", [[[0, 5, 3]], [[True, False, True]]])
def test_integers_and_booleans_must_be_equal(values: list[list[int]]) -> None:
    expected = np.array(values)
    right = produced(expected, expected, dtype="x", dtypes=["x"], noise={})
    assert verdict_of(right)["holds"]
    wrong = expected.copy()
    wrong[0, 1] = 1
    verdict = verdict_of(produced(expected, wrong, dtype="x", dtypes=["x"], noise={}))
    assert not verdict["holds"]
    assert verdict["vacuous"] is False


def test_top1_below_the_demand_says_what_torch_reaches() -> None:
    expected = np.eye(4) + np.roll(np.eye(4), 1, axis=1) * 0.999
    actual = expected.copy()
    actual[0, 1] = 1.001
    one = produced(expected, actual, noise={"max_abs": 1e-3, "rel_l2": 1e-4, "top1": 0.75})
    assert verdict_of(one, logits=["output0"], top1=0.75)["holds"]
    assert verdict_of(one, logits=["output0"], top1=0.99)["reasons"] == [
        "sample s output0: top-1 agreement 0.7500 is below 0.99; torch in f32 itself reaches 0.7500"
    ]


def test_logits_that_name_no_output_are_a_reason(expected: Array) -> None:
    verdict = verdict_of(produced(expected), logits=["scores"], top1=0.9)
    assert verdict["reasons"] == ["logits names 'scores', which is no output; outputs are output0"]


def test_greedy_tokens_must_all_be_equal(expected: Array) -> None:
    right = {"sample": "s", "tokens": 64, "equal": 64, "first_difference": None}
    verdict = verdict_of(produced(expected), greedy=[right])
    assert (verdict["greedy"]["tokens"], verdict["greedy"]["equal"]) == (64, 64)
    wrong = {"sample": "s", "tokens": 64, "equal": 60, "first_difference": 12}
    verdict = verdict_of(produced(expected), greedy=[right, wrong])
    assert verdict["reasons"] == [
        "sample s: 60 of 64 greedy tokens equal the reference's;"
        " the first difference is at token 12"
    ]
    none = {"sample": "s", "tokens": 0, "equal": 0, "first_difference": None}
    assert verdict_of(produced(expected), greedy=[none])["reasons"] == [
        "sample s: there are no greedy tokens to compare"
    ]


def test_the_summary_is_of_the_output_closest_to_its_limit(expected: Array) -> None:
    near = produced(expected, expected * (1 + 5e-6))
    verdict = verdict_of(produced(expected), near)
    assert verdict["summary"]["rel_l2"] == pytest.approx(5e-6, rel=1e-3)
