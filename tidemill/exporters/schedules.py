"""Samplers of diffusion models as tables: one affine update a step. numpy only.

A deterministic first-order sampler maps latents x and a prediction p at step i to
``keep[i] · x + take[i] · p``, whatever it is called and whatever the network predicts. The numbers
follow from the sampler's noise levels by algebra in float64, and are rounded to float32 once.

* Euler (Karras et al. 2022, algorithm 1 without churn) on noise levels s:
  x + (s' - s) · (x - x0)/s, where x0 is x - s · p for predicted noise, and for predicted velocity
  x/(s² + 1) - p · s/√(s² + 1) (Salimans and Ho 2022, in the variance-exploding form).
* DDIM (Song et al. 2021, equation 12 with eta 0) on products a of alphas: √a' · x0 + √(1 - a') · e,
  where for predicted noise e is p, and for velocity x0 is √a · x - √(1 - a) · p and e is
  √a · p + √(1 - a) · x.
* Euler on a flow (Lipman et al. 2023): x + (s' - s) · p.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Table = NDArray[np.float32]
_Wide = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Everything that N steps need; latents start as ``start`` × noise.

    ``keep`` and ``take`` have N elements. ``input_scale`` (the network's input over the latents)
    and ``timesteps`` have one more, for what follows the last step: 1 and 0.
    """

    start: Table
    keep: Table
    take: Table
    input_scale: Table
    timesteps: Table


def euler(sigmas: ArrayLike, timesteps: ArrayLike, *, start: float, prediction: str) -> Schedule:
    """Euler's method on N + 1 noise levels; ``prediction`` is epsilon or v_prediction."""
    level, after = _pairs(sigmas)
    step = after - level
    if prediction == "epsilon":
        keep, take = np.ones_like(level), step
    else:
        square = level**2 + 1
        keep, take = 1 + step * level / square, step / np.sqrt(square)
    return _schedule(
        start=start, keep=keep, take=take, scale=1 / np.sqrt(level**2 + 1), timesteps=timesteps
    )


def ddim(alphas: ArrayLike, after: ArrayLike, *, timesteps: ArrayLike, prediction: str) -> Schedule:
    """DDIM with eta 0: products of alphas at each step, and ``after`` it."""
    now, then = _wide(alphas), _wide(after)
    signal, noise = np.sqrt(now), np.sqrt(1 - now)
    signal_then, noise_then = np.sqrt(then), np.sqrt(1 - then)
    if prediction == "epsilon":
        keep, take = signal_then / signal, noise_then - signal_then * noise / signal
    else:
        keep = signal_then * signal + noise_then * noise
        take = noise_then * signal - signal_then * noise
    return _schedule(start=1.0, keep=keep, take=take, scale=np.ones_like(now), timesteps=timesteps)


def flow(sigmas: ArrayLike, timesteps: ArrayLike) -> Schedule:
    """Euler's method on a flow, N + 1 positions from noise to data."""
    level, after = _pairs(sigmas)
    ones = np.ones_like(level)
    return _schedule(start=1.0, keep=ones, take=after - level, scale=ones, timesteps=timesteps)


def _schedule(
    *, start: float, keep: _Wide, take: _Wide, scale: _Wide, timesteps: ArrayLike
) -> Schedule:
    return Schedule(
        start=_narrow([start]),
        keep=_narrow(keep),
        take=_narrow(take),
        input_scale=_narrow([*scale, 1.0]),
        timesteps=_narrow([*_wide(timesteps), 0.0]),
    )


def _pairs(sigmas: ArrayLike) -> tuple[_Wide, _Wide]:
    levels = _wide(sigmas)
    return levels[:-1], levels[1:]


def _wide(values: Any) -> _Wide:
    return np.asarray(values, dtype=np.float64)


def _narrow(values: Any) -> Table:
    return np.asarray(values, dtype=np.float32)
