"""sharktank's datasets read and computed without it, and the driver of its paged programs."""

from pathlib import Path
from typing import Any

import pytest

from tests.probing import probe

pytestmark = pytest.mark.toolchain
ROUNDING = 1e-6


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return probe(toolchain_python, tmp_path_factory.mktemp("shark"), "shark_probes.py")


def test_values_are_rounded_to_even_and_saturated(found: dict[str, Any]) -> None:
    """0, 0.26, 0.74, -0.76, 1e9 and -1e9 with a step of a half."""
    assert found["numbers"] == {
        "int8": [0, 0.5, 0.5, -1, 63.5, -64],
        "shifted": [0, 0.5, 0.5, -1, 59.5, -68],
        "fp8": [0, 0.25, 0.75, -0.75, 120, -120],
    }


def test_a_dataset_of_plain_tensors_is_the_model_itself(found: dict[str, Any]) -> None:
    assert found["models"]["plain"] == 0


@pytest.mark.parametrize("steps", ["tensor", "rows"])
def test_a_narrowed_weight_is_its_whole_number_of_steps(found: dict[str, Any], steps: str) -> None:
    weight = found["models"]["weight"]
    assert weight[steps] == 0
    assert weight[f"{steps} moved"] > 1000 * ROUNDING


@pytest.mark.parametrize("place", ["input", "attention"])
def test_activations_are_narrowed_where_the_dataset_says(found: dict[str, Any], place: str) -> None:
    assert found["models"][place]["same"] < ROUNDING
    assert found["models"][place]["moved"] > 1000 * ROUNDING


def test_noise_is_drawn_with_other_roundings_and_leaves_the_model_as_it_was(
    found: dict[str, Any],
) -> None:
    draws = found["draws"]
    assert draws["count"] == [24, 24]
    assert draws["again"]
    assert draws["untouched"]
    # One value lies beside the middle of two steps: in some draws it falls to the other side.
    assert draws["nearest"] < 1e-5
    assert draws["farthest"] > 1e-3


def test_what_narrows_no_activations_is_the_model_without_quantisers(found: dict[str, Any]) -> None:
    assert found["draws"]["unnarrowed"] < 1e-6 < found["draws"]["narrowed"]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("a tensor is missing", "no tensor for lm_head"),
        ("an unknown kind", "output.weight is a BlockScaled of an unknown layout"),
        ("a tensor without a place", "tensor blk.0.router.weight has no place"),
        ("an unknown quantiser", "quantiser blk.0.kv_cache.quantizer is of a kind"),
        ("no archive", "it is no IREE parameter archive"),
        ("no dataset", "it has no '__SHARK_DATASET__'"),
    ],
)
def test_a_dataset_that_is_not_understood_is_refused(
    found: dict[str, Any], case: str, said: str
) -> None:
    assert said in found["refusals"][case]


def test_a_sample_becomes_one_prefill_and_a_decode_for_each_token(found: dict[str, Any]) -> None:
    calls = found["driver"]["calls"]
    assert [call["function"] for call in calls] == ["prefill_bs2", "decode_bs2", "decode_bs2"]
    prefill, first, second = (call["given"] for call in calls)
    assert prefill == [[[1, 2, 3, 4, 5, 0, 0, 0], [6, 7, *[0] * 6]], [5, 2], [[1, 2], [3, 4]]]
    assert first == [[[8], [10]], [6, 3], [5, 2], [[1, 2], [3, 4]]]
    assert second == [[[9], [11]], [7, 4], [6, 3], [[1, 2], [3, 4]]]


def test_one_narrow_cache_serves_all_calls_of_a_sample(found: dict[str, Any]) -> None:
    assert {call["cache"] for call in found["driver"]["calls"]} == {"f8E4M3FNUZ [9, 6]"}


def test_outputs_hold_the_tokens_that_there_are(found: dict[str, Any]) -> None:
    assert found["driver"]["outputs"] == [[1, 2, 3, 4, 5, 6, 7], [[8, 9], [10, 11]]]


def test_no_page_is_handed_out_twice_and_the_first_never(found: dict[str, Any]) -> None:
    assert found["driver"]["table"] == [[1, 2, 3], [4, 5, 6]]
    assert found["driver"]["too long"] == "2 rows of 17 tokens need 10 pages, the cache has 8"


def test_a_module_without_the_batch_or_its_config_says_so(found: dict[str, Any]) -> None:
    assert "1 rows, but the module has prefill for 2" in found["driver"]["other batch"]
    assert "does not say what the pages are" in found["driver"]["no config"]
