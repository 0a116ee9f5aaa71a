"""ONNX models: import, archive, reference and refusals."""

from pathlib import Path
from typing import Any

import pytest

from tests.probing import probe

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return probe(toolchain_python, tmp_path_factory.mktemp("o"), "onnx_probes.py", "model")


@pytest.fixture(scope="module")
def constants(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return probe(toolchain_python, tmp_path_factory.mktemp("c"), "onnx_probes.py", "constants")


def test_weights_that_are_constants_are_packed_under_their_names(
    constants: dict[str, Any],
) -> None:
    """Those of two branches have one name in the file, and the importer makes up all names."""
    assert constants["asked"] == sorted(constants["stored"])
    assert constants["stored"] == {
        "__matrix": 960,
        "matrix_row": 960,
        "table.1": 960,
        "__weight.1": 960,
        "__weight.2": 960,
    }
    assert constants["bits"]
    assert constants["same"]


def test_constants_that_were_lifted_mean_what_they_meant(constants: dict[str, Any]) -> None:
    assert constants["means"] == [True] * 6


def test_constants_below_the_threshold_stay_in_the_mlir(constants: dict[str, Any]) -> None:
    assert constants["inside"] == []


def test_a_compiled_model_takes_its_constants_from_the_archive(constants: dict[str, Any]) -> None:
    assert constants["error"] < 1e-5


def test_the_public_function_is_main_whatever_the_graph_is_called(found: dict[str, Any]) -> None:
    assert found["main"]


def test_mlir_does_not_depend_on_the_folder(found: dict[str, Any]) -> None:
    assert found["same"]


def test_large_initializers_are_external_and_packed_bit_for_bit(found: dict[str, Any]) -> None:
    assert found["external"] == found["asked"] == ["kernel_0", "matrix"]
    assert found["bits"]
    assert found["facts"]["parameters"] == 2


def test_the_f64_program_is_float64_and_right(found: dict[str, Any]) -> None:
    assert found["exact dtype"] == "float64"
    assert found["exact"] < 1e-13


def test_the_compiled_model_agrees(found: dict[str, Any]) -> None:
    assert found["error"] < 1e-5


def test_onnx_itself_is_still_wrong_about_one_spatial_axis(found: dict[str, Any]) -> None:
    """When this fails, onnx is mended and our GlobalMaxPool can go."""
    alone = found["onnx alone"]
    assert isinstance(alone, str) or alone > 0.1


def test_a_damaged_file_is_refused(found: dict[str, Any]) -> None:
    assert found["truncated"]["message"].startswith("short.onnx is not a readable ONNX model: ")
    assert found["empty"]["message"].startswith("empty.onnx is not a readable ONNX model: ")
    assert found["truncated"]["failure"] == found["empty"]["failure"] == "export"


def test_inputs_that_do_not_fit_are_all_named(found: dict[str, Any]) -> None:
    assert found["other name"]["message"] == (
        "the graph's inputs are ['signal'], the manifest's ['sound']"
    )
    assert found["twisted"]["message"] == (
        "the manifest's inputs do not fit the graph:"
        " signal is FLOAT, not i64; signal dimension 1 is 4, not 5"
    )


def test_half_precision_is_refused(found: dict[str, Any]) -> None:
    assert found["half"]["message"] == "an ONNX model runs in f32 or f64, not in f16"


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return probe(toolchain_python, tmp_path_factory.mktemp("forms"), "onnx_probes.py", "forms")


@pytest.mark.parametrize(
    ("form", "stored"), [("old", ["row", "t_0.1", "w_0"]), ("functions", None)]
)
def test_files_of_other_forms_come_through(
    forms: dict[str, Any], form: str, stored: list[str] | None
) -> None:
    """Initializers that are inputs as well, or outputs; weights in local functions."""
    found = forms[form]
    assert found["stored"] == stored if stored else len(found["stored"]) == 1
    assert found["error"] < 1e-5


def test_our_convolution_is_onnx_own_in_every_attribute(
    tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path
) -> None:
    """Also with a dilation for which onnx's own asks for gigabytes."""
    folder = tmp_path_factory.mktemp("conv")
    distances = probe(toolchain_python, folder, "onnx_probes.py", "convolutions")
    assert len(distances) == 14
    assert {name: far for name, far in distances.items() if not far < 1e-13} == {}
