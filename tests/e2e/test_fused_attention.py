"""Why `fp8_fused` of tiny-llama-paged is expected to fail on the cpu: IREE's attention in fp8.

When one of these fails, the compiler has changed: see whether the expectation still holds.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.probing import probe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("TIDEMILL_TEST_SHARKTANK_TOOLCHAIN"),
        reason="the sharktank toolchain is not synced (make test-long does it)",
    ),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    python = Path(os.environ["TIDEMILL_TEST_SHARKTANK_TOOLCHAIN"])
    return probe(python, tmp_path_factory.mktemp("attention"), "attention_probes.py")


def test_weights_of_attention_are_narrowed_by_tiles_over_a_sum_of_wide_ones(
    found: dict[str, Any],
) -> None:
    kernel = found["kernel"]
    assert kernel["wide"] > 5e-3
    assert 1e-3 < kernel["nearest"] < kernel["wide"]
    assert kernel["hole"] < 1e-6


def test_what_rounds_up_to_the_smallest_normal_number_becomes_zero(found: dict[str, Any]) -> None:
    assert found["conversion"]["nearest"] > 100
    assert found["conversion"]["hole"] == 0
