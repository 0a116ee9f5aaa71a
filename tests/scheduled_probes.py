"""UNets with a scheduler inside, small, against diffusers' own loop over the same model.

Run under the toolchain's interpreter in an empty folder; runs sdxl_probes.py too. Writes
``findings.json``.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import UNet2DConditionModel

from tests.diffusion_probes import distance, made
from tests.exporter_probes import message
from tests.sdxl_probes import (
    CONDITIONS,
    LATENTS,
    SCALE,
    STATES,
    Findings,
    predicted,
    prompts,
    spec_of,
    unet,
)
from tests.small_diffusion import UNET
from tests.small_sdxl import ANCESTRAL, EULER, UNET_XL
from tidemill.exporters.base import Spec
from tidemill.exporters.mlir import parameters_of
from tidemill.exporters.scheduled_unet import EXPORTER as SCHEDULED
from tidemill.exporters.scheduled_unet import IDLE, LONGEST, rows, scheduler_of

#: Not JSON.
JUNK: dict[str, Any] = {}
#: UNet, scheduler, guidance, numbers of steps.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], bool, tuple[int, ...]]] = {
    "XL": (UNET_XL, EULER, True, (1, 5)),
    "XL, one step in a hundred": (UNET_XL, EULER, False, (100,)),
    "noise levels of Karras": (UNET_XL, {**EULER, "use_karras_sigmas": True}, False, (4,)),
    "turbo": (UNET_XL, ANCESTRAL, False, (1, 4)),
    "ancestral and guided": (UNET_XL, ANCESTRAL, True, (3,)),
    "1.5": (UNET, {**EULER, "timestep_spacing": "linspace"}, True, (3,)),
    "2.1": (UNET, {**EULER, "prediction_type": "v_prediction"}, False, (3,)),
    "2.1, ancestral": (UNET, {**ANCESTRAL, "prediction_type": "v_prediction"}, False, (3,)),
}


def scheduled() -> Findings:
    """Every step of several runs gives the latents that diffusers' loop has there."""
    found: Findings = {"worst": {}}
    for label, (config, schedule, guidance, counts) in CASES.items():
        errors = [error for count in counts for error in run(config, schedule, guidance, count)]
        found["worst"][label] = max(errors)
        found.setdefault("steps", {})[label] = len(errors)
    found |= {"half": in_half(), "past the end": past_the_end(), "tables": tables()}
    spec = scheduled_spec(UNET_XL, EULER, guidance=True)
    SCHEDULED.export(spec, Path("scheduled.mlir"))
    names = set(made(UNet2DConditionModel, UNET_XL).state_dict())
    found["checkpoint's names"] = parameters_of(Path("scheduled.mlir")) == names
    found["refusals"] = schedule_refusals()
    return found


def inputs_of(config: Mapping[str, Any], schedule: Mapping[str, Any], *, guidance: bool) -> Any:
    """Example inputs in the program's order."""
    images = LATENTS[:1] if guidance else LATENTS
    number = np.array([0])
    return {
        "latents": images,
        "step": number,
        "steps": number + 1,
        **(CONDITIONS if config is UNET_XL else STATES),
        **({"noise": images} if schedule["_class_name"] == ANCESTRAL["_class_name"] else {}),
        **(SCALE if guidance else {}),
    }


def scheduled_spec(
    config: Mapping[str, Any], schedule: Mapping[str, Any], *, guidance: bool, dtype: str = "f32"
) -> Spec:
    """The spec of a UNet with a scheduler."""
    configs = {"unet/config.json": config, "scheduler/scheduler_config.json": schedule}
    arrays = inputs_of(config, schedule, guidance=guidance)
    return spec_of(configs, arrays, guidance=guidance, dtype=dtype)


def run(
    config: Mapping[str, Any], schedule: Mapping[str, Any], guidance: bool, count: int
) -> Iterator[float]:
    """The program's error at each step of diffusers' own loop."""
    model = made(UNet2DConditionModel, config)
    program = SCHEDULED.program(scheduled_spec(config, schedule, guidance=guidance), "f32")
    arrays = inputs_of(config, schedule, guidance=guidance)
    conditions = CONDITIONS if config is UNET_XL else STATES
    scheduler = getattr(diffusers, schedule["_class_name"]).from_config(schedule)
    scheduler.set_timesteps(count)
    latents = torch.from_numpy(arrays["latents"]) * scheduler.init_noise_sigma
    for step, time in enumerate(scheduler.timesteps):
        sample = scheduler.scale_model_input(torch.cat([latents] * (2 if guidance else 1)), time)
        noise = predicted(model, sample, time, conditions)
        if guidance:
            without, given = noise.chunk(2)
            noise = without + 7.5 * (given - without)
        fresh = torch.randn(latents.shape, generator=torch.Generator().manual_seed(step))
        given_arrays = {
            **arrays,
            "latents": latents.numpy(),
            "step": np.array([step]),
            "steps": np.array([count]),
            **({"noise": fresh.numpy()} if "noise" in arrays else {}),
        }
        generator = torch.Generator().manual_seed(step)
        latents = scheduler.step(noise, time, latents, generator=generator).prev_sample
        yield distance(program([*given_arrays.values()])[0], latents)


def in_half() -> float:
    """The error of a step in float16 beside one in float32, in last places of its results."""
    schedule = {**EULER, "prediction_type": "v_prediction"}
    model = made(UNet2DConditionModel, UNET).half()
    spec = scheduled_spec(UNET, schedule, guidance=False, dtype="f16")
    arrays = inputs_of(UNET, schedule, guidance=False)
    arrays |= {"latents": LATENTS * 20, "step": np.array([2]), "steps": np.array([20])}
    scheduler = diffusers.EulerDiscreteScheduler.from_config(schedule)
    scheduler.set_timesteps(20)
    scheduler.set_begin_index(2)
    time, latents = scheduler.timesteps[2], torch.from_numpy(arrays["latents"]).half().float()
    sample = scheduler.scale_model_input(latents, time).half()
    velocity = predicted(model, sample, time, STATES).float()
    expected = scheduler.step(velocity, time, latents).prev_sample.numpy()
    found = SCHEDULED.program(spec, "f16")([*arrays.values()])[0]
    return float(np.abs(found - expected).max() / np.spacing(np.abs(found).max()))


def past_the_end() -> bool:
    """Whether a step after the last one changes nothing."""
    made(UNet2DConditionModel, UNET_XL)
    spec = scheduled_spec(UNET_XL, ANCESTRAL, guidance=False)
    arrays = inputs_of(UNET_XL, ANCESTRAL, guidance=False)
    arrays |= {"step": np.array([4]), "steps": np.array([4])}
    return bool(np.array_equal(SCHEDULED.program(spec, "f32")([*arrays.values()])[0], LATENTS))


def tables() -> Findings:
    """For every number of steps: whose rows are not diffusers', and of which it makes more."""
    found = {}
    for label, schedule in (("euler", EULER), ("ancestral", ANCESTRAL)):
        scheduler = scheduler_of(scheduled_spec(UNET_XL, schedule, guidance=False))
        wrong, other = [], []
        for count in range(1, LONGEST + 1):
            table = rows(scheduler, count)
            times, levels = scheduler.timesteps.numpy(), scheduler.sigmas[:-1].double().numpy()
            size = len(times)
            right = (
                np.array_equal(table[:size, 0], times)
                and np.allclose(table[:size, 1], 1 / np.sqrt(levels**2 + 1), rtol=1e-7)
                and np.array_equal(table[size:], np.tile(IDLE, (LONGEST - size, 1)))
            )
            wrong += [] if right else [count]
            other += [] if size == count else [(count, size)]
        found[label] = {"wrong": wrong, "other": other}
    return found


def schedule_refusals() -> Findings:
    """What no scheduled UNet can be made of."""
    arrays = inputs_of(UNET_XL, EULER, guidance=False)

    def tried(schedule: Mapping[str, Any] | None, *, given: Mapping[str, Any] = arrays) -> Any:
        configs: dict[str, Any] = {"unet/config.json": UNET_XL}
        if schedule is not None:
            configs["scheduler/scheduler_config.json"] = schedule
        return message(lambda: SCHEDULED.program(spec_of(configs, given), "f32"))

    return {
        "no file": tried(None),
        "no JSON": tried(JUNK),
        "another scheduler": tried({**EULER, "_class_name": "PNDMScheduler"}),
        "no such noise": tried({**EULER, "beta_schedule": "odd"}),
        "prediction": tried({**EULER, "prediction_type": "sample"}),
        "too many": tried({**EULER, "num_train_timesteps": 979, "timestep_spacing": "trailing"}),
        "inputs": tried(ANCESTRAL),
    }


if __name__ == "__main__":
    with torch.no_grad():
        findings = {probe.__name__: probe() for probe in (prompts, unet, scheduled)}
    Path("findings.json").write_text(json.dumps(findings), encoding="utf-8")
