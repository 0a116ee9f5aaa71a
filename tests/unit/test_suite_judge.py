"""What makes the result of a conformance test wrong: type, shape, emptiness, values."""

from typing import Any

import numpy as np
import pytest

from tidemill.steps.work.suite.judge import difference

ONE = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)


def told(came: list[Any], wanted: list[Any]) -> str:
    """The difference within the tolerances of onnx's node tests."""
    return difference(came, wanted, rtol=1e-3, atol=1e-7)


def test_equal_results_pass() -> None:
    assert told([ONE, ONE > 2], [ONE.copy(), ONE > 2]) == ""


def test_values_within_the_tests_tolerance_pass() -> None:
    assert told([ONE * np.float32(1.0009)], [ONE]) == ""


def test_values_beyond_it_are_counted_with_the_largest_difference() -> None:
    off = ONE.copy()
    off[1, 1] = 4.5
    assert told([off], [ONE]) == "output 0 differs in 1 of 4 values, by up to 5.0e-01"


def test_an_empty_result_where_values_are_expected_is_wrong() -> None:
    empty = np.empty((1, 1, 0, 0), np.float32)
    wanted = np.ones((1, 1, 8, 8), np.float32)
    assert told([empty], [wanted]) == (
        "output 0 is empty: it has shape (1,1,0,0), expected (1,1,8,8)"
    )


def test_an_empty_result_of_the_expected_shape_passes() -> None:
    empty = np.empty((0, 3), np.float32)
    assert told([empty], [empty.copy()]) == ""


def test_a_shape_that_would_broadcast_is_wrong() -> None:
    assert told([ONE[:1]], [ONE]) == "output 0 has shape (1,2), expected (2,2)"


def test_a_scalar_is_not_a_vector_of_one() -> None:
    one = np.array([1.0])
    assert told([one], [one[0].reshape(())]) == "output 0 has shape (1), expected ()"


def test_another_element_type_is_wrong_though_the_values_are_equal() -> None:
    wanted = ONE.astype(np.float64)
    assert told([ONE], [wanted]) == "output 0 has element type float32, expected float64"


def test_the_number_of_outputs_counts() -> None:
    assert told([ONE], [ONE, ONE]) == "1 outputs came, 2 are expected"
    assert told([], [ONE]) == "0 outputs came, 1 are expected"


def test_nan_is_equal_to_nan_and_to_nothing_else() -> None:
    nan = np.array([np.nan, 1.0])
    assert told([nan], [nan.copy()]) == ""
    wrong = np.array([0.0, 1.0])
    assert told([wrong], [nan]) == "output 0 differs in 1 of 2 values, none of them finite in both"


def test_infinities_have_a_sign() -> None:
    up, down = np.array([np.inf]), np.array([-np.inf])
    assert told([up], [up.copy()]) == ""
    assert told([up], [down]).startswith("output 0 differs in 1 of 1 values")


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63)])
def test_whole_numbers_that_no_double_holds_are_equal_to_themselves(value: int) -> None:
    assert told([np.array([value])], [np.array([value])]) == ""


def test_truth_values_are_compared_exactly() -> None:
    yes, no = np.array([True, True]), np.array([True, False])
    assert told([yes], [no]) == "output 0 differs in 1 of 2 values"


def test_complex_values_are_compared_in_both_parts() -> None:
    one = np.array([1 + 2j], dtype=np.complex64)
    assert told([one], [one.copy()]) == ""
    assert told([one.conj()], [one]) == "output 0 differs in 1 of 1 values, by up to 4.0e+00"
