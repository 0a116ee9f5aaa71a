"""Samplers as programs take the steps that diffusers' own take, whatever the network predicts."""

from pathlib import Path
from typing import Any

import pytest

from tests.probing import probe

pytestmark = pytest.mark.toolchain

CASES = (
    "euler leading",
    "euler linspace",
    "euler velocity",
    "euler karras",
    "euler trailing, one step",
    "ddim",
    "ddim velocity",
    "ddim to alpha one",
    "flow",
    "flow by image size",
    "flow of a fixed shift",
    "flow in fractions",
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return probe(toolchain_python, tmp_path_factory.mktemp("schedulers"), "scheduler_probes.py")


@pytest.mark.parametrize("case", CASES)
def test_every_step_is_diffusers_own(found: dict[str, Any], case: str) -> None:
    assert 0 < found["walks"][case] < 1e-6


def test_a_schedule_without_terminal_signal_starts_from_thousands(found: dict[str, Any]) -> None:
    # Its first latents are 4096 × noise, whose last digits stay behind in what is left of them.
    assert found["walks"]["euler without terminal signal"] < 4096 * 2.0**-24


def test_every_case_is_looked_at(found: dict[str, Any]) -> None:
    assert {*found["walks"]} == {*CASES, "euler without terminal signal"}


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_latents_in_a_half_type_lose_its_epsilon_a_walk(found: dict[str, Any], dtype: str) -> None:
    assert 0 < found["narrow"][dtype] < 4


def test_a_sampler_has_constants_and_no_parameters(found: dict[str, Any]) -> None:
    files = found["files"]
    assert (files["asked"], files["packed"], files["entries"]) == ([], [], 0)


def test_a_wide_reference_has_the_constants_of_the_artifact(found: dict[str, Any]) -> None:
    assert found["files"]["wide"] == ["float64", 0]
    assert 0 < found["files"]["plain"] < 1e-6


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("class", "there is no program for a PNDMScheduler; there are EulerDiscreteScheduler, DD"),
        ("no steps", "options.steps is None; it is the number of steps, at least 1"),
        ("no number", "options.steps is 0; it is the number of steps, at least 1"),
        ("clipped", "the program computes a plain step; scheduler_config.json sets clip_sample"),
        ("sample", "prediction_type is sample; it can be epsilon or v_prediction"),
        ("random", "the program computes a plain step; scheduler_config.json sets stochastic_sa"),
        ("size", "scheduler_config.json shifts by the image's size: say options.image_tokens"),
        ("tokens", "options.image_tokens is for a FlowMatchEulerDiscreteScheduler"),
        ("too many", "diffusers makes no 1001 steps of this: `num_inference_steps`: 1001 cannot"),
        ("schedule", "cannot make this: odd is not implemented"),
        ("uneven", "diffusers makes no 4 steps of this: odd is not supported"),
        ("no file", "expected one scheduler_config.json among the configuration files, found 0"),
        ("no object", "scheduler_config.json is not JSON with a _class_name"),
    ],
)
def test_what_is_no_plain_sampler_is_refused(found: dict[str, Any], case: str, said: str) -> None:
    refusal = found["refusals"][case]
    assert refusal["failure"] == "export"
    assert said in refusal["message"]
