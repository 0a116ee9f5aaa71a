"""The diffusion families compute what diffusers and transformers compute, under their names."""

from pathlib import Path
from typing import Any

import pytest

from tests.probing import probe

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return probe(toolchain_python, tmp_path_factory.mktemp("diffusion"), "diffusion_probes.py")


@pytest.fixture
def unet(found: dict[str, Any]) -> Any:
    return found["unet"]


@pytest.fixture
def vae(found: dict[str, Any]) -> Any:
    return found["vae"]


@pytest.fixture
def text(found: dict[str, Any]) -> Any:
    return found["text"]


def test_a_unet_predicts_what_diffusers_predicts(unet: dict[str, Any]) -> None:
    assert unet["plain"] < 1e-5
    assert unet["checkpoint's names"]


def test_guidance_inside_is_the_pipelines_formula(unet: dict[str, Any]) -> None:
    assert unet["guided"] < 1e-6


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("inputs", "with these options the inputs are sample, timestep, encoder_hidden_states,"),
        ("class", "config.json is of a AutoencoderKL; this exporter makes UNet2DConditionModel"),
        ("conditions", "takes conditions beside the text states (class_embed_type)"),
        ("no diffusers file", "config.json is not JSON with a _class_name"),
        ("blocks", "cannot make this UNet2DConditionModel: Must provide the same number"),
    ],
)
def test_what_no_unet_can_be_made_of_is_refused(unet: dict[str, Any], case: str, said: str) -> None:
    refusal = unet["refusals"][case]
    assert refusal["failure"] == "export"
    assert said in refusal["message"]


@pytest.mark.parametrize("label", ["plain", "shifted"])
def test_both_halves_of_an_autoencoder_are_diffusers_own(vae: dict[str, Any], label: str) -> None:
    assert vae[label]["decode"] == 0
    assert vae[label]["encode"] < 1e-6
    assert vae[label]["halves"]


def test_an_old_checkpoints_names_are_understood(vae: dict[str, Any]) -> None:
    assert vae["renamed"] == 16
    assert vae["old names"] == 0


def test_a_direction_that_is_none_is_refused(vae: dict[str, Any]) -> None:
    assert vae["refusal"]["message"] == ("options.direction is 'both'; it can be decode or encode")


def test_every_choice_of_a_text_encoders_outputs_is_transformers_own(text: dict[str, Any]) -> None:
    found = {name: text[name] for name in ("hidden", "pooled", "both", "projected")}
    assert found == {"hidden": [0], "pooled": [0], "both": [0, 0], "projected": [0, 0]}
    assert text["checkpoint's names"]


def test_a_projection_that_nothing_would_use_is_refused(text: dict[str, Any]) -> None:
    message = text["idle projection"]["message"]
    assert message == "options.projection changes the pooled output only, and outputs is hidden"


def test_a_configuration_of_another_family_is_refused(text: dict[str, Any]) -> None:
    assert text["another model"]["message"] == (
        "config.json is of a bert, not of a clip_text_model"
    )
