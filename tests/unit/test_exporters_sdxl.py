"""Stable Diffusion XL's programs compute what diffusers' pipeline computes around its models."""

from pathlib import Path
from typing import Any

import pytest

from tests.probing import probe

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return probe(toolchain_python, tmp_path_factory.mktemp("sdxl"), "scheduled_probes.py")


@pytest.fixture
def prompts(found: dict[str, Any]) -> Any:
    return found["prompts"]


@pytest.fixture
def unet(found: dict[str, Any]) -> Any:
    return found["unet"]


@pytest.fixture
def scheduled(found: dict[str, Any]) -> Any:
    return found["scheduled"]


def test_both_encoders_give_the_pipelines_conditions(prompts: dict[str, Any]) -> None:
    assert max(prompts["plain"]) < 1e-6
    assert max(prompts["guided"]) < 1e-6


def test_parameters_are_both_checkpoints_less_what_nothing_reads(prompts: dict[str, Any]) -> None:
    assert prompts["asked for"]
    positions = "text_model.embeddings.position_ids"
    assert prompts["names"]["text_encoder_2"] == [f"text_encoder_2.{positions}"]
    left = prompts["names"]["text_encoder"]
    assert left.pop(0) == f"text_encoder.{positions}"
    layer = "text_encoder.text_model.encoder.layers.1."
    norm = "text_encoder.text_model.final_layer_norm."
    assert len(left) == 18
    assert all(name.startswith((layer, norm)) for name in left)


def test_checkpoints_of_the_bare_models_are_understood(prompts: dict[str, Any]) -> None:
    assert prompts["bare names"]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("inputs", "the inputs are input_ids, input_ids_2, not input_ids, input_ids_2, neg"),
        ("one folder", "no configuration file lies in text_encoder_2/"),
        ("another model", "config.json is of a bert, not of a clip_text_model"),
        ("another depth", "unexpected: text_encoder.encoder.layers.1."),
    ],
)
def test_what_no_prompt_encoder_can_be_made_of_is_refused(
    prompts: dict[str, Any], case: str, said: str
) -> None:
    refusal = prompts["refusals"][case]
    assert refusal["failure"] == "export"
    assert said in refusal["message"]


def test_added_conditions_reach_the_unet(unet: dict[str, Any]) -> None:
    """Not always to the bit: torch's sums depend on the processor, and where memory lies."""
    assert unet["plain"] < 1e-5
    assert unet["guided"] < 1e-5
    assert unet["checkpoint's names"]


def test_a_unet_of_xl_without_its_conditions_is_refused(unet: dict[str, Any]) -> None:
    said = unet["missing conditions"]["message"]
    assert "encoder_hidden_states, text_embeds, time_ids, not" in said


def test_every_step_gives_the_latents_of_diffusers_loop(scheduled: dict[str, Any]) -> None:
    assert scheduled["steps"] == {
        "XL": 6,
        "XL, one step in a hundred": 100,
        "noise levels of Karras": 4,
        "turbo": 5,
        "ancestral and guided": 3,
        "1.5": 3,
        "2.1": 3,
        "2.1, ancestral": 3,
    }
    assert {name: error for name, error in scheduled["worst"].items() if error > 5e-6} == {}


def test_a_step_in_float16_is_rounded_once(scheduled: dict[str, Any]) -> None:
    assert scheduled["half"] < 0.6


def test_a_step_past_the_last_one_changes_nothing(scheduled: dict[str, Any]) -> None:
    assert scheduled["past the end"]


def test_the_table_has_every_number_of_steps(scheduled: dict[str, Any]) -> None:
    assert scheduled["tables"] == {
        "euler": {"wrong": [], "other": []},
        "ancestral": {"wrong": [], "other": [[61, 62]]},
    }


def test_the_table_is_no_parameter(scheduled: dict[str, Any]) -> None:
    assert scheduled["checkpoint's names"]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("no file", "expected one scheduler_config.json among the configuration files, found 0"),
        ("no JSON", "scheduler_config.json is not JSON with a _class_name"),
        ("another scheduler", "scheduler_config.json is of a PNDMScheduler, not of a Euler"),
        ("no such noise", "cannot make this: odd is not implemented"),
        ("prediction", "prediction_type is sample, not epsilon or v_prediction"),
        ("too many", "diffusers makes 101 steps of 100; 100 is the most"),
        ("inputs", "encoder_hidden_states, text_embeds, time_ids, noise, not latents"),
    ],
)
def test_what_no_schedule_can_be_made_of_is_refused(
    scheduled: dict[str, Any], case: str, said: str
) -> None:
    refusal = scheduled["refusals"][case]
    assert refusal["failure"] == "export"
    assert said in refusal["message"]
