"""A compiled ONNX model that ends well with a result of the wrong shape, or an empty one."""

from pathlib import Path
from typing import Any

import pytest

from tests.probing import probe

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return probe(toolchain_python, tmp_path_factory.mktemp("d"), "detector_probes.py", "shapes")


def test_a_model_of_open_height_and_width_holds(found: dict[str, Any]) -> None:
    assert found["as it is"] == {"holds": True, "reasons": []}


def test_a_result_of_another_shape_does_not_hold(found: dict[str, Any]) -> None:
    assert not found["smaller"]["holds"]
    assert found["smaller"]["reasons"] == [
        "sample text output0: has shape (1, 4, 6, 6), expected (1, 4, 8, 12)"
    ]


def test_an_empty_result_does_not_hold(found: dict[str, Any]) -> None:
    assert not found["of no size"]["holds"]
    assert found["of no size"]["reasons"] == [
        "sample text output0: has nothing to compare: actual (1, 4, 0, 0) is empty"
    ]
