"""The score network computes what its parts are defined to be, under the published names."""

from pathlib import Path
from typing import Any

import pytest

from tests.probing import probe

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return probe(toolchain_python, tmp_path_factory.mktemp("score"), "score_probes.py")


def test_every_part_is_what_it_is_defined_to_be(found: dict[str, Any]) -> None:
    assert {*found["parts"]} == {"convolution", "full attention", "linear attention", "time"}
    assert max(found["parts"].values()) < 2e-4
    assert found["parts"]["convolution"] < 1e-6


def test_names_and_shapes_are_those_of_the_published_weights(found: dict[str, Any]) -> None:
    # Of the sorted lines "name [shape]" of psdenoiser/denoiser_model.pt in 21cmPSDenoiser 1.0.2.
    assert found["names"] == {
        "digest": "d7082d6b8dd03df81a0976b2df7e9b6c4271c9f6a8d3b95d8e3690fabef3bf84",
        "tensors": 291,
        "values": 9_118_961,
    }


def test_the_compiled_network_is_the_eager_one(found: dict[str, Any]) -> None:
    compiled = found["compiled"]
    assert compiled["shape"] == [2, 1, 8, 4]
    assert compiled["relative"] < 1e-5
    assert compiled["time matters"] > 1e-2
    assert compiled["parameters"] > 100


@pytest.mark.parametrize("multiples", ["[]", "[1, 0]"])
def test_levels_without_a_width_are_refused(found: dict[str, Any], multiples: str) -> None:
    assert found["refusals"][multiples]["message"] == (
        f"options.multiples is {multiples}; it is a width for every level"
    )
