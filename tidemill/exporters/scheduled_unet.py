"""A UNet with its Euler scheduler inside (diffusers): latents → the latents one step later.

Inputs: ``latents`` [images, channels, height/8, width/8]; ``step`` [1] i64, which counts from 0;
``steps`` [1] i64, how many there are, 1 to 100; the conditions of ``diffusers_unet``; ``noise``
like ``latents`` if the scheduler is the ancestral one, which adds noise at every step; and with
option ``guidance`` a last ``guidance_scale`` [1] and two rows of conditions an image. Output: like
``latents``. The first latents are noise times the scheduler's ``init_noise_sigma``.

``scheduler_config.json`` is of an EulerDiscreteScheduler or an EulerAncestralDiscreteScheduler.
What it says about spacing and noise levels becomes one constant table with a row for every step of
every number of steps, 200 KB. So one compiled program serves all of them, and its callers need no
scheduler: a table for one number of steps would want a program for each, and tables as inputs would
leave the scheduler's arithmetic to every caller. A step past the last one leaves the latents as
they are. Scaling and stepping are done in float32 in every half type, as diffusers does.
"""

import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from torch import nn

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Exporter, Spec
from tidemill.exporters.checks import require_inputs
from tidemill.exporters.diffusers_unet import SCALE, Denoiser, unet_of
from tidemill.exporters.schedules import Table, euler
from tidemill.exporters.torch_exporter import TorchExporter

FILE = "scheduler_config.json"
EULER, ANCESTRAL = "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"
PREDICTIONS = ("epsilon", "v_prediction")
LONGEST = 100
#: Timestep, input scale, parts kept of latents, taken of the prediction, and added of noise.
IDLE: Table = np.array([0.0, 1.0, 1.0, 0.0, 0.0], dtype=np.float32)


class ScheduledUnet(nn.Module):
    """One step of the scheduler around one prediction."""

    def __init__(self, denoiser: Denoiser, *, table: Table, adds_noise: bool) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.adds_noise = adds_noise
        self.register_buffer("table", torch.from_numpy(table), persistent=False)

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        """The latents one step later."""
        latents, step, steps, *others = arrays
        noise = others.pop(-2 if self.denoiser.guidance else -1) if self.adds_noise else None
        row = self.table.index_select(0, (steps - 1) * LONGEST + step)
        time, scale, keep, take, add = row.unbind(1)
        wide = latents.float()
        prediction = self.denoiser((wide * scale).to(latents.dtype), time, *others)
        later = wide * keep + prediction.float() * take
        if noise is not None:
            later = later + noise.float() * add
        return later.to(latents.dtype)


class ScheduledUnetExporter(TorchExporter):
    """Architecture from the UNet's config.json and the scheduler's scheduler_config.json."""

    def architecture(self, spec: Spec) -> Architecture:
        """The UNet and its scheduler behind the declared inputs."""
        guidance = bool(spec.options.get("guidance", False))
        unet, conditions = unet_of(spec)
        # The table is part of the program: a float64 reference has the artifact's, no better one.
        with torch._C.DisableTorchFunction():
            scheduler = scheduler_of(spec)
            table = np.concatenate([rows(scheduler, steps) for steps in range(1, LONGEST + 1)])
        adds_noise = type(scheduler).__name__ == ANCESTRAL
        noise, last = ("noise",) if adds_noise else (), (SCALE,) if guidance else ()
        require_inputs(spec, ("latents", "step", "steps", *conditions, *noise, *last))
        denoiser = Denoiser(unet, guidance=guidance)
        program = ScheduledUnet(denoiser, table=table, adds_noise=adds_noise)
        return Architecture(program=program, named=unet)


def rows(scheduler: Any, steps: int) -> Table:
    """LONGEST rows of the table: those of a run of ``steps`` steps, and idle ones behind them.

    A run is what diffusers makes of it, which may be one step more (62 of 61 where spacing is
    trailing). Raises WorkError on a run that is longer than the table.
    """
    scheduler.set_timesteps(steps)
    levels = scheduler.sigmas.numpy().astype(np.float64)
    if len(levels) > LONGEST + 1:
        raise _fault(f"diffusers makes {len(levels) - 1} steps of {steps}; {LONGEST} is the most")
    level, after = levels[:-1], levels[1:]
    ancestral = type(scheduler).__name__ == ANCESTRAL
    add = after * np.sqrt(level**2 - after**2) / level if ancestral else np.zeros_like(level)
    down = np.sqrt(after**2 - add**2)
    times = scheduler.timesteps.numpy()
    # Every second step between these levels is one of the run.
    pairs = np.stack([level, down], 1).ravel()
    plan = euler(pairs, times, start=pairs[0], prediction=scheduler.config.prediction_type)
    result = np.tile(IDLE, (LONGEST, 1))
    columns = (times, plan.input_scale[:-1:2], plan.keep[::2], plan.take[::2], add)
    result[: len(times)] = np.stack(columns, 1)
    return result


def scheduler_of(spec: Spec) -> Any:
    """The diffusers scheduler of the one ``scheduler_config.json`` of ``spec``.

    Raises WorkError when the file is missing, no JSON, of no Euler scheduler, or says what
    diffusers or this program cannot do.
    """
    found = [path for name, path in spec.config.items() if Path(name).name == FILE]
    if len(found) != 1:
        raise _fault(f"expected one {FILE} among the configuration files, found {len(found)}")
    try:
        raw = json.loads(found[0].read_text(encoding="utf-8"))
        name = raw["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise _fault(f"{FILE} is not JSON with a _class_name") from error
    if name not in {EULER, ANCESTRAL}:
        raise _fault(f"{FILE} is of a {name}, not of a {EULER} or {ANCESTRAL}")
    try:
        scheduler = getattr(diffusers, name).from_config(raw)
    except (ValueError, TypeError, NotImplementedError, ImportError) as error:
        raise _fault(f"diffusers {diffusers.__version__} cannot make this: {error}") from error
    if scheduler.config.prediction_type not in PREDICTIONS:
        predicts = scheduler.config.prediction_type
        raise _fault(f"prediction_type is {predicts}, not {' or '.join(PREDICTIONS)}")
    return scheduler


def _fault(message: str) -> WorkError:
    return WorkError(FailureClass.EXPORT, message, hint=f"correct the component's {FILE}")


EXPORTER: Exporter = ScheduledUnetExporter()
