"""Samplers of diffusion models (diffusers' schedulers) as programs without parameters.

Option ``role``:

* ``start``: ``noise`` of variance 1 → the first latents, the network's first input, its timestep
  [1], and N [1] i64, so that who runs the programs need not know what they were made for.
* ``step``: ``latents``, the network's ``prediction`` for them, and ``index`` [1] i64, which counts
  from 0 to ``steps`` - 1 → the next latents, the next input, the next timestep [1]. After the last
  step the input is the latents themselves and the timestep 0.

Latents may have any shape. Option ``steps`` is the number N of steps that the tables are made for.
The classes are EulerDiscreteScheduler, DDIMScheduler (with eta 0) and
FlowMatchEulerDiscreteScheduler; tables come from diffusers' own objects and are float32 constants
of the program, in which the update is computed too. Timesteps are float32 in every dtype: float16
has no 946.3. With option ``timestep: fraction`` they are from 0 to 1, as FLUX's transformer counts.

Option ``image_tokens`` makes the schedule of pipelines that give their own noise levels, 1 to 1/N,
and shift them by the size of the image where the file says so (FLUX: 4096 for 1024 × 1024).
"""

import json
from typing import Any

import diffusers
import numpy as np
import torch
from torch import nn

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Exporter, Spec
from tidemill.exporters.checks import choice, require_inputs
from tidemill.exporters.parameters import ParameterSource
from tidemill.exporters.schedules import Schedule, Table, ddim, euler, flow
from tidemill.exporters.synthetic import SyntheticSource
from tidemill.exporters.torch_exporter import TorchExporter

CONFIG = "scheduler_config.json"
PREDICTIONS = ("epsilon", "v_prediction")
EULER, DDIM, FLOW = (
    "EulerDiscreteScheduler",
    "DDIMScheduler",
    "FlowMatchEulerDiscreteScheduler",
)
#: What makes a step random or not affine.
REFUSED = ("clip_sample", "thresholding", "stochastic_sampling", "invert_sigmas")


class Start(nn.Module):
    """Noise to what the first call of the network needs."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.register_buffer("steps", torch.tensor([len(schedule.keep)]), persistent=False)
        _constants(self, start=schedule.start)
        _constants(self, input_scale=schedule.input_scale[:1], timestep=schedule.timesteps[:1])

    def forward(self, *arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Latents, the network's input, its timestep, the number of steps."""
        (noise,) = arrays
        latents = noise.to(torch.float32) * self.start
        scaled = latents * self.input_scale
        narrow = latents.to(noise.dtype), scaled.to(noise.dtype)
        return *narrow, self.timestep.clone(), self.steps.clone()


class Step(nn.Module):
    """One step of the sampler, whichever it is."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        _constants(self, keep=schedule.keep, take=schedule.take)
        _constants(self, input_scale=schedule.input_scale[1:], timesteps=schedule.timesteps[1:])

    def forward(self, *arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Latents, the network's input and timestep after step ``index``."""
        latents, prediction, index = arrays
        kept = latents.to(torch.float32) * self.keep[index]
        after = kept + prediction.to(torch.float32) * self.take[index]
        scaled = after * self.input_scale[index]
        return after.to(latents.dtype), scaled.to(latents.dtype), self.timesteps[index]


class DiffusersScheduler(TorchExporter):
    """Tables from scheduler_config.json."""

    def architecture(self, spec: Spec) -> Architecture:
        """The program of the role that the options name."""
        role = choice(spec, "role", among=("step", "start"))
        wanted = ("noise",) if role == "start" else ("latents", "prediction", "index")
        require_inputs(spec, wanted)
        # A float64 reference is to have the artifact's constants, not better ones.
        with torch._C.DisableTorchFunction():
            schedule = schedule_of(spec)
        program = Start(schedule) if role == "start" else Step(schedule)
        return Architecture(program=program, named=program)

    def weights(self, spec: Spec) -> ParameterSource:  # noqa: ARG002 - the same for every spec
        """Nothing: all numbers are constants of the program."""
        return SyntheticSource((), synthetic={"seed": 0, "scale": 0.0})


def schedule_of(spec: Spec) -> Schedule:
    """The tables for the options and the configuration file. Raises WorkError."""
    steps = spec.options.get("steps")
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise _fault(f"options.steps is {steps!r}; it is the number of steps, at least 1")
    scheduler = _scheduler(_configuration(spec))
    kind, config = type(scheduler).__name__, scheduler.config
    _set_steps(scheduler, steps, spec=spec)
    times = scheduler.timesteps.numpy().astype(np.float64)
    if choice(spec, "timestep", among=("train", "fraction")) == "fraction":
        times = times / config.num_train_timesteps
    if kind == FLOW:
        return flow(scheduler.sigmas.numpy(), times)
    if kind == EULER:
        return euler(
            scheduler.sigmas.numpy(),
            times,
            start=float(scheduler.init_noise_sigma),
            prediction=config.prediction_type,
        )
    products, last = scheduler.alphas_cumprod.numpy(), float(scheduler.final_alpha_cumprod)
    now = scheduler.timesteps.numpy()
    before = now - config.num_train_timesteps // steps
    after = [products[time] if time >= 0 else last for time in before]
    return ddim(products[now], after, timesteps=times, prediction=config.prediction_type)


def _configuration(spec: Spec) -> dict[str, Any]:
    files = [path for name, path in spec.config.items() if name.rpartition("/")[2] == CONFIG]
    if len(files) != 1:
        raise _fault(f"expected one {CONFIG} among the configuration files, found {len(files)}")
    try:
        raw: dict[str, Any] = json.loads(files[0].read_text(encoding="utf-8"))
        name = raw["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise _fault(f"{CONFIG} is not JSON with a _class_name") from error
    if name not in (EULER, DDIM, FLOW):
        raise _fault(f"there is no program for a {name}; there are {EULER}, {DDIM} and {FLOW}")
    return raw


def _scheduler(raw: dict[str, Any]) -> Any:
    kind = getattr(diffusers, raw["_class_name"])
    try:
        scheduler = kind.from_config(raw)
    except (ValueError, TypeError, NotImplementedError, ImportError) as error:
        raise _fault(f"diffusers {diffusers.__version__} cannot make this: {error}") from error
    config = scheduler.config
    if refused := [name for name in REFUSED if config.get(name)]:
        raise _fault(f"the program computes a plain step; {CONFIG} sets {', '.join(refused)}")
    predicts = config.get("prediction_type", PREDICTIONS[0])
    if predicts not in PREDICTIONS:
        raise _fault(f"prediction_type is {predicts}; it can be {' or '.join(PREDICTIONS)}")
    return scheduler


def _set_steps(scheduler: Any, steps: int, *, spec: Spec) -> None:
    tokens, config = spec.options.get("image_tokens"), scheduler.config
    given: dict[str, Any] = {}
    if type(scheduler).__name__ == FLOW:
        if tokens is not None:
            given["sigmas"] = np.linspace(1.0, 1 / steps, steps)
        if config.use_dynamic_shifting:
            if tokens is None:
                raise _fault(f"{CONFIG} shifts by the image's size: say options.image_tokens")
            given["mu"] = _shift(int(tokens), config)
    elif tokens is not None:
        raise _fault(f"options.image_tokens is for a {FLOW}")
    try:
        scheduler.set_timesteps(
            **({} if "sigmas" in given else {"num_inference_steps": steps}), **given
        )
    except ValueError as error:
        raise _fault(f"diffusers makes no {steps} steps of this: {error}") from error
    if len(scheduler.timesteps) != steps:
        raise _fault(
            f"diffusers makes {len(scheduler.timesteps)} steps where {steps} are asked for"
        )


def _shift(tokens: int, config: Any) -> float:
    """The straight line through (base_image_seq_len, base_shift) and (max_…, max_shift)."""
    low, high = config.base_image_seq_len, config.max_image_seq_len
    slope = (config.max_shift - config.base_shift) / (high - low)
    return float(config.base_shift + slope * (tokens - low))


def _constants(module: nn.Module, **tables: Table) -> None:
    for name, table in tables.items():
        module.register_buffer(name, torch.from_numpy(table.copy()), persistent=False)


def _fault(message: str) -> WorkError:
    return WorkError(
        FailureClass.EXPORT, message, hint=f"correct the component's options or its {CONFIG}"
    )


EXPORTER: Exporter = DiffusersScheduler()
