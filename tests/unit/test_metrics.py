"""The measures: exact values on small arrays, and what is not defined is None."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.steps.work.dtypes import (
    Array,
    bf16_bits,
    from_bf16_bits,
    load_array,
    possible_names,
    round_to,
    save_array,
)
from tidemill.steps.work.metrics import compare, distance, masks_equal, ulp_histogram


def array(*values: float, dtype: str = "float64") -> Array:
    return np.array(values, dtype=dtype)


def test_equal_arrays_have_no_error_and_no_signal_to_noise() -> None:
    metrics = distance(array(3, -4), array(3, -4))
    assert (metrics.max_abs, metrics.rel_l2, metrics.cosine) == (0.0, 0.0, 1.0)
    assert metrics.snr_db is None
    assert (metrics.scale, metrics.compared, metrics.mask_equal) == (4.0, 2, True)


def test_measures_have_their_textbook_values() -> None:
    metrics = distance(array(3, 4.5), array(3, 4))
    assert metrics.max_abs == 0.5
    assert metrics.rel_l2 == pytest.approx(0.1)
    assert metrics.snr_db == pytest.approx(20.0)
    assert metrics.cosine == pytest.approx((9 + 18) / (5 * math.hypot(3, 4.5)))


def test_a_relative_error_against_nothing_is_not_defined() -> None:
    metrics = distance(array(1, 0), array(0, 0))
    assert (metrics.rel_l2, metrics.cosine, metrics.snr_db) == (None, None, None)
    assert metrics.max_abs == 1.0


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_very_large_and_very_small_values_do_not_leave_the_range(scale: float) -> None:
    metrics = distance(array(3, 4.5) * scale, array(3, 4) * scale)
    assert metrics.rel_l2 == pytest.approx(0.1)
    assert metrics.cosine == pytest.approx(0.99846, abs=1e-5)


def test_other_shapes_are_not_compared() -> None:
    metrics = distance(np.ones((2, 3)), np.ones((3, 2)))
    assert (metrics.shape, metrics.expected_shape) == ((2, 3), (3, 2))
    assert (metrics.compared, metrics.max_abs) == (0, None)


def test_an_empty_array_compares_nothing() -> None:
    assert compare(np.empty((1, 0)), np.empty((1, 0)), dtype="f64").compared == 0


def test_masks_tell_nan_and_both_infinities_apart() -> None:
    inf, nan = math.inf, math.nan
    assert masks_equal(array(1, nan, inf, -inf), array(2, nan, inf, -inf))
    assert not masks_equal(array(inf), array(-inf))
    assert not masks_equal(array(nan), array(inf))
    assert not distance(array(1, nan), array(1, 2)).mask_equal


def test_only_elements_finite_in_both_are_measured() -> None:
    metrics = distance(array(1, math.nan, math.inf), array(1.5, 7, math.inf))
    assert (metrics.compared, metrics.max_abs) == (1, 0.5)


def test_ulp_buckets_are_powers_of_two() -> None:
    one = np.float32(1)
    actual = np.array([one + n * np.float32(2.0**-23) for n in (0, 0, 1, 2, 3, 4, 9)], np.float32)
    found = ulp_histogram(actual, np.ones(7), dtype="f32")
    assert found == {"0": 2, "1": 1, "2-3": 2, "4-7": 1, "8-15": 1}


def test_ulp_distance_crosses_zero_and_both_zeros_are_one_place() -> None:
    tiny = np.float16(2.0**-24)
    actual = np.array([-0.0, tiny, tiny], np.float16)
    expected = np.array([0.0, -tiny, 0.0])
    assert ulp_histogram(actual, expected, dtype="f16") == {"0": 1, "1": 1, "2-3": 1}


def test_ulp_distance_of_the_ends_of_float64_does_not_overflow() -> None:
    biggest = np.finfo(np.float64).max
    assert ulp_histogram(array(biggest), array(-biggest), dtype="f64") == {
        "9223372036854775808-18446744073709551615": 1
    }


def test_ulps_of_bf16_are_counted_in_bf16() -> None:
    actual = np.array([1 + 2.0**-7, 1.0], np.float32)
    assert ulp_histogram(actual, array(1.0, 1.001), dtype="bf16") == {"0": 1, "1": 1}


def test_integers_have_no_ulps() -> None:
    assert compare(np.array([1]), np.array([1]), dtype="i64").ulp is None


def test_top_agreement_counts_rows_and_members() -> None:
    expected = np.array([[9, 8, 7, 6, 5, 0, 0.5], [0, 1, 2, 3, 4, 5, 6]])
    actual = expected.copy()
    actual[0] = [8.5, 9, 7, 6, 0, 5, 0.5]
    metrics = compare(actual, expected, dtype="f64", logits=True)
    assert metrics.top1 == 0.5
    assert metrics.top5 == pytest.approx((4 / 5 + 1) / 2)


def test_facts_are_json_without_nan() -> None:
    metrics = compare(array(math.nan, 1), array(0, 0), dtype="f64")
    text = json.dumps(metrics.to_json(), allow_nan=False)
    assert json.loads(text)["shape"] == [2]


@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_bf16_rounding_is_idempotent_and_keeps_nan_and_infinity(values: list[float]) -> None:
    wide = np.array(values, np.float32)
    once = from_bf16_bits(bf16_bits(wide))
    assert np.array_equal(from_bf16_bits(bf16_bits(once)), once, equal_nan=True)
    assert np.array_equal(np.isnan(once), np.isnan(wide))
    assert np.isinf(once[np.isinf(wide)]).all()


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (1 + 2.0**-8, 1.0),
        (1 + 3 * 2.0**-8, 1 + 2.0**-6),
        (1 + 2.0**-8 + 2.0**-20, 1 + 2.0**-7),
        (3.4e38, math.inf),
        (-0.0, -0.0),
    ],
)
def test_bf16_rounds_to_nearest_with_ties_to_even(value: float, rounded: float) -> None:
    result = float(round_to(array(value), "bf16")[0])
    assert (result, math.copysign(1, result)) == (rounded, math.copysign(1, rounded))


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16", "i64", "i32", "bool"])
@pytest.mark.parametrize("shape", [(), (2, 3), (0, 3)])
def test_every_element_type_comes_back_from_disk(
    tmp_path: Path, dtype: str, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "x.npy"
    original = round_to(np.arange(int(np.prod(shape))).reshape(shape) % 2, dtype)
    save_array(path, original, dtype=dtype)
    again = load_array(path, dtype=dtype)
    assert again.dtype == original.dtype
    assert np.array_equal(again, original)


def test_a_file_of_another_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    save_array(path, array(1), dtype="f32")
    with pytest.raises(ValueError, match=r"x\.npy holds float32, not bf16"):
        load_array(path, dtype="bf16")


def test_one_value_proves_that_a_bf16_variant_returns_float32() -> None:
    assert possible_names(array(1, 2, dtype="float32"), "bf16") == ["bf16", "f32"]
    assert possible_names(array(1, 0.1, dtype="float32"), "bf16") == ["f32"]
    assert possible_names(array(1, 2, dtype="float32"), "f32") == ["f32"]
    assert possible_names(array(1, dtype="int64"), "bf16") == ["i64"]
