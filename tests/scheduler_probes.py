"""Samplers as programs against diffusers' own, over all their steps.

Run under the toolchain's interpreter in an empty folder. Writes ``findings.json``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch

from tests.exporter_probes import entries, message
from tidemill.exporters.base import InputSpec, Spec
from tidemill.exporters.diffusers_scheduler import EXPORTER, schedule_of
from tidemill.exporters.mlir import parameters_of

SHAPE = (2, 4, 4, 4)
STABLE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
KINDS = {
    "euler": "EulerDiscreteScheduler",
    "ddim": "DDIMScheduler",
    "flow": "FlowMatchEulerDiscreteScheduler",
}
UNCLIPPED = {"clip_sample": False, "set_alpha_to_one": False}
FLUX = {"use_dynamic_shifting": True, "shift": 3.0}
#: Label → kind, configuration, options.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "euler leading": ("euler", {**STABLE, "timestep_spacing": "leading"}, {"steps": 6}),
    "euler linspace": ("euler", STABLE, {"steps": 5}),
    "euler velocity": ("euler", {**STABLE, "prediction_type": "v_prediction"}, {"steps": 7}),
    "euler karras": ("euler", {**STABLE, "use_karras_sigmas": True}, {"steps": 5}),
    "euler trailing, one step": ("euler", {**STABLE, "timestep_spacing": "trailing"}, {"steps": 1}),
    "euler without terminal signal": (
        "euler",
        {**STABLE, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
        {"steps": 4},
    ),
    "ddim": ("ddim", {**STABLE, **UNCLIPPED}, {"steps": 6}),
    "ddim velocity": (
        "ddim",
        {**STABLE, **UNCLIPPED, "prediction_type": "v_prediction"},
        {"steps": 5},
    ),
    "ddim to alpha one": ("ddim", {**STABLE, "clip_sample": False}, {"steps": 3}),
    "flow": ("flow", {"shift": 3.0}, {"steps": 6}),
    "flow by image size": ("flow", FLUX, {"steps": 4, "image_tokens": 1024}),
    "flow of a fixed shift": ("flow", {"shift": 1.0}, {"steps": 4, "image_tokens": 1024}),
    "flow in fractions": ("flow", {"shift": 3.0}, {"steps": 3, "timestep": "fraction"}),
}


def spec_of(
    kind: str,
    config: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    role: str = "step",
    dtype: str = "f32",
) -> Spec:
    """A program's spec; its configuration is written."""
    named = {"_class_name": KINDS.get(kind, kind), **config}
    Path("scheduler_config.json").write_text(json.dumps(named), encoding="utf-8")
    latents = InputSpec(name="latents", dtype="float", shape=SHAPE)
    inputs = (
        (InputSpec(name="noise", dtype="float", shape=SHAPE),)
        if role == "start"
        else (
            latents,
            InputSpec(name="prediction", dtype="float", shape=SHAPE),
            InputSpec(name="index", dtype="i64", shape=(1,)),
        )
    )
    return Spec(
        dtype=dtype,
        options={**options, "role": role},
        inputs=inputs,
        dynamic={},
        config={"euler/scheduler_config.json": Path("scheduler_config.json")},
    )


def prediction_of(inputs: Any, time: Any) -> Any:
    """Stands for a network: bounded, of latents and time."""
    return np.tanh(np.asarray(inputs, dtype=np.float64) + float(time) / 500 - 1)


def theirs(kind: str, config: Mapping[str, Any], options: Mapping[str, Any]) -> list[list[Any]]:
    """(latents, input, timestep) before each step and after the last, by diffusers in float64."""
    scheduler = getattr(diffusers, KINDS[kind]).from_config(dict(config))
    steps = options["steps"]
    if "image_tokens" in options:
        # The line from (256, 0.5) to (4096, 1.15), by which FLUX's pipeline shifts.
        mu = {"mu": 0.5 + (options["image_tokens"] - 256) * 0.65 / 3840}
        given = mu if scheduler.config.use_dynamic_shifting else {}
        scheduler.set_timesteps(sigmas=list(np.linspace(1.0, 1 / steps, steps)), **given)
    else:
        scheduler.set_timesteps(steps)
    latents = noise().double() * getattr(scheduler, "init_noise_sigma", 1.0)
    rows = []
    for time in scheduler.timesteps:
        scaled = latents if kind == "flow" else scheduler.scale_model_input(latents, time)
        rows.append([latents, scaled, time])
        given = torch.from_numpy(prediction_of(scaled, time))
        latents = scheduler.step(given, time, latents, return_dict=False)[0].double()
    return [*rows, [latents, latents, torch.tensor(0.0)]]


def ours(
    kind: str, config: Mapping[str, Any], options: Mapping[str, Any], *, dtype: str = "f32"
) -> list[list[Any]]:
    """The same by the two programs."""
    start = EXPORTER.program(spec_of(kind, config, options, role="start", dtype=dtype), dtype)
    step = EXPORTER.program(spec_of(kind, config, options, dtype=dtype), dtype)
    *first, steps = start([noise().numpy()])
    assert steps.tolist() == [options["steps"]]
    rows = [first]
    scale = 1000 if options.get("timestep") == "fraction" else 1
    for index in range(options["steps"]):
        latents, scaled, time = rows[-1]
        given = prediction_of(scaled, scale * time[0]).astype(latents.dtype)
        rows.append(step([latents, given, np.array([index])]))
    return rows


def noise() -> torch.Tensor:
    """Float32 values of about variance 1."""
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))


def furthest(found: list[list[Any]], expected: list[list[Any]], *, scale: float = 1.0) -> float:
    """The greatest difference of all arrays, each as a part of its own greatest value."""
    assert len(found) == len(expected)
    worst = 0.0
    for row, wanted in zip(found, expected, strict=True):
        for one, other in zip(row, (*wanted[:2], wanted[2] * scale), strict=True):
            right = np.asarray(other, dtype=np.float64)
            apart = np.abs(np.asarray(one, dtype=np.float64) - right).max()
            worst = max(worst, float(apart / max(np.abs(right).max(), 1e-30)) if apart else 0.0)
    return worst


def walks() -> dict[str, float]:
    """Every case over all its steps."""
    return {
        label: furthest(ours(*case), theirs(*case), scale=1e-3 if "timestep" in case[2] else 1.0)
        for label, case in CASES.items()
    }


def narrow() -> dict[str, float]:
    """Latents in half types, as a part of the type's own epsilon."""
    case = CASES["euler leading"]
    expected = theirs(*case)
    epsilons = {"f16": 2.0**-10, "bf16": 2.0**-7}
    return {
        dtype: furthest(ours(*case, dtype=dtype), expected) / epsilon
        for dtype, epsilon in epsilons.items()
    }


def files() -> dict[str, Any]:
    """What is exported: constants only, no parameters, the same constants in a wide program."""
    kind, config, options = CASES["ddim velocity"]
    spec = spec_of(kind, config, options)
    EXPORTER.export(spec, Path("step.mlir"))
    facts = EXPORTER.pack(spec, Path("step.irpa"))
    given = [noise().numpy(), noise().numpy() / 2, np.array([2])]
    wide, plain = (EXPORTER.program(spec, precision)(given)[0] for precision in ("f64", "f32"))
    tables = schedule_of(spec)
    exact = given[0].astype(np.float64) * np.float64(tables.keep[2])
    exact += given[1].astype(np.float64) * np.float64(tables.take[2])
    return {
        "asked": sorted(parameters_of(Path("step.mlir"))),
        "packed": sorted(entries(Path("step.irpa"))),
        "entries": facts["entries"],
        "wide": [wide.dtype.name, float(np.abs(wide - exact).max())],
        "plain": float(np.abs(plain - exact).max()),
    }


def refusal(kind: str, config: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, str]:
    """What is said of a configuration."""
    return message(lambda: EXPORTER.program(spec_of(kind, config, options), "f32"))


def refusals() -> dict[str, Any]:
    """What no program can be made of."""
    bad: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
        "class": ("PNDMScheduler", STABLE, {"steps": 4}),
        "no steps": ("euler", STABLE, {}),
        "no number": ("euler", STABLE, {"steps": 0}),
        "clipped": ("ddim", STABLE, {"steps": 4}),
        "sample": ("euler", {**STABLE, "prediction_type": "sample"}, {"steps": 4}),
        "random": ("flow", {"stochastic_sampling": True}, {"steps": 4}),
        "size": ("flow", FLUX, {"steps": 4}),
        "tokens": ("euler", STABLE, {"steps": 4, "image_tokens": 64}),
        "too many": ("ddim", {**STABLE, **UNCLIPPED}, {"steps": 1001}),
        "schedule": ("euler", {"beta_schedule": "odd"}, {"steps": 4}),
        "uneven": ("ddim", {**STABLE, **UNCLIPPED, "timestep_spacing": "odd"}, {"steps": 4}),
    }
    found = {label: refusal(*case) for label, case in bad.items()}
    nothing = Spec(
        dtype="f32",
        options={"steps": 4},
        inputs=spec_of("euler", STABLE, {}).inputs,
        dynamic={},
        config={},
    )
    found["no file"] = message(lambda: EXPORTER.program(nothing, "f32"))
    Path("scheduler_config.json").write_text("[]", encoding="utf-8")
    unread = {"scheduler_config.json": Path("scheduler_config.json")}
    listed = Spec(
        dtype="f32", options={"steps": 4}, inputs=nothing.inputs, dynamic={}, config=unread
    )
    found["no object"] = message(lambda: EXPORTER.program(listed, "f32"))
    return found


if __name__ == "__main__":
    findings = {probe.__name__: probe() for probe in (walks, narrow, files, refusals)}
    Path("findings.json").write_text(json.dumps(findings), encoding="utf-8")
