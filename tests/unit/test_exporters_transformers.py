"""SD3's and FLUX.1's families compute what diffusers and transformers compute."""

from pathlib import Path
from typing import Any

import pytest

from tests.probing import probe

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("transformers")
    return probe(toolchain_python, folder, "transformer_probes.py")


@pytest.mark.parametrize("label", ["sd3", "sd35"])
def test_sd3_predicts_what_diffusers_predicts(found: dict[str, Any], label: str) -> None:
    assert found["sd3"][label]["plain"] < 1e-6
    assert found["sd3"][label]["checkpoint's names"]


@pytest.mark.parametrize("label", ["sd3", "sd35"])
def test_guidance_inside_is_the_pipelines_formula(found: dict[str, Any], label: str) -> None:
    assert found["sd3"][label]["guided"] < 1e-6


@pytest.mark.parametrize("label", ["dev", "schnell"])
def test_flux_predicts_what_diffusers_predicts(found: dict[str, Any], label: str) -> None:
    assert found["flux"][label]["same"] < 1e-6
    assert found["flux"][label]["checkpoint's names"]


@pytest.mark.parametrize("label", ["dev", "schnell"])
def test_the_probe_would_see_wrong_places(found: dict[str, Any], label: str) -> None:
    assert found["flux"][label]["places"] > 0.01


def test_float64_programs_compute_nothing_in_float32(found: dict[str, Any]) -> None:
    seen = [found["sd3"]["sd35"], found["flux"]["dev"], found["t5"]]
    assert [part["float32"] for part in seen] == [[], [], []]


@pytest.mark.parametrize("weights", ["own", "both"])
def test_t5_gives_transformers_own_states(found: dict[str, Any], weights: str) -> None:
    assert found["t5"][weights] == 0
    assert found["t5"]["checkpoint's names"]


def test_three_encoders_are_joined_as_the_pipeline_does_it(found: dict[str, Any]) -> None:
    assert found["prompt"]["shapes"] == [[2, 39, 48], [2, 40]]
    assert found["prompt"]["plain"] == [0, 0]
    assert max(found["prompt"]["guided"]) < 1e-6
    assert found["prompt"]["checkpoints' names"]


@pytest.mark.parametrize(
    ("family", "case", "said"),
    [
        ("sd3", "refusal", "pooled_projections, guidance_scale, not hidden_states"),
        ("flux", "dev without guidance", "txt_ids, guidance, not hidden_states"),
        ("flux", "schnell with guidance", "txt_ids, not hidden_states"),
        ("flux", "another class", "config.json is of a SD3Transformer2DModel; this exporter makes"),
        ("t5", "another model", "config.json is of a clip_text_model, not of a t5"),
        ("prompt", "a folder is missing", "no configuration file lies in text_encoder_3/"),
    ],
)
def test_what_nothing_can_be_made_of_is_refused(
    found: dict[str, Any], family: str, case: str, said: str
) -> None:
    refusal = found[family][case]
    assert refusal["failure"] == "export"
    assert said in refusal["message"]
