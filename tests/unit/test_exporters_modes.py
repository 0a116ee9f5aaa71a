"""A float16 program sums in float32, whatever name a model has for a product."""

from pathlib import Path
from typing import Any

import pytest

from tests.probing import probe

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return probe(toolchain_python, tmp_path_factory.mktemp("modes"), "mode_probes.py")


def test_every_product_of_float16_is_summed_in_float32(found: dict[str, Any]) -> None:
    assert len(found["half"]) == 7
    assert [name for name, right in found["half"].items() if not right] == []


def test_products_of_other_types_are_left_alone(found: dict[str, Any]) -> None:
    assert found["others"] == {"torch.float32": True, "torch.bfloat16": True}
