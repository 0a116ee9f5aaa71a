"""Sampling loops of the two small models with real weights, over any program that computes them.

Written after the papers and the packages' behaviour. numpy only.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Program = Callable[[Sequence[Array]], list[Array]]

#: Of the terrain package: noise levels, and how heights are squeezed into -1 to 1.
SIGMA_MIN, SIGMA_MAX = 0.002, 80.0
HEIGHT_RANGE, BEND = 22.16864013671875, 0.1
#: Of the denoiser's variance-preserving SDE, whose time runs from 0 to 1 and is cut off at CUT.
BETA_MIN, BETA_MAX, CUT = 0.1, 20.0, 1e-3


def terrain(
    program: Program, *, seed: int, difficulty: float, sigmas: Sequence[float]
) -> list[Array]:
    """What multistep consistency sampling gives at each level (Song et al. 2023, algorithm 1).

    ``sigmas`` fall from SIGMA_MAX; the package itself stops after the first.
    """
    random = np.random.default_rng(seed)
    drawn: list[Array] = []
    for sigma in sigmas:
        noise = random.standard_normal((1, 1, 128, 128), dtype=np.float32)
        spread = np.float32(np.sqrt(sigma**2 - (SIGMA_MIN**2 if drawn else 0)))
        noisy = noise * spread + (drawn[-1] if drawn else 0)
        levels = np.array([sigma], np.float32), np.array([difficulty], np.float32)
        drawn.append(program([noisy.astype(np.float32), *levels])[0])
    return drawn


def heights(drawn: Array) -> Array:
    """A terrain [128, 128] in metres, its lowest point at 0."""
    unit = np.clip((drawn[0, 0].astype(np.float64) + 1) / 2, 0, 1)
    metres = BEND * np.sinh(unit * np.arcsinh(HEIGHT_RANGE / BEND))
    return np.asarray(metres - metres.min())


def spectra(
    program: Program, condition: Array, /, *, seed: int, steps: int
) -> tuple[list[Array], Array]:
    """Samples given ``condition`` by the probability-flow ODE (Song et al. 2021), Heun's method.

    Gives the state after each step, and the last one denoised. The package integrates the same
    equation with an adaptive method.
    """
    state = np.random.default_rng(seed).standard_normal(condition.shape)
    times = np.linspace(1.0, CUT, steps + 1)
    states = [state]
    for now, then in pairwise(times):
        slope = _slope(program, state, condition, time=now)
        guess = state + (then - now) * slope
        state = state + (then - now) * (slope + _slope(program, guess, condition, time=then)) / 2
        states.append(state)
    beta = BETA_MIN / 1000 + (BETA_MAX - BETA_MIN) / 1000 * int(CUT * 999) / 999
    score = _score(program, state, condition, time=CUT)
    return states, state - (np.sqrt(1 - beta) - 1) * state + beta * score


def _slope(program: Program, state: Array, condition: Array, /, *, time: float) -> Array:
    """The change of the state with time: drift, less half the diffusion squared times the score."""
    beta = BETA_MIN + time * (BETA_MAX - BETA_MIN)
    return np.asarray(-beta / 2 * (state + _score(program, state, condition, time=time)))


def _score(program: Program, state: Array, condition: Array, /, *, time: float) -> Array:
    """The score, from the network's estimate of the noise."""
    log_mean = -0.25 * time**2 * (BETA_MAX - BETA_MIN) - 0.5 * time * BETA_MIN
    spread = np.sqrt(1 - np.exp(2 * log_mean))
    times = np.full(len(state), time * 999, np.float32)
    (noise,) = program([state.astype(np.float32), condition, times])
    return np.asarray(-noise.astype(np.float64) / spread)


def noisy_spectra(count: int) -> Array:
    """Stand-ins for measured spectra, between -1 and 1: smooth slopes under heavy noise."""
    random = np.random.default_rng(21)
    across, along = np.linspace(-1, 1, 32)[:, None], np.linspace(-1, 1, 16)[None]
    slopes = random.uniform(0.1, 0.5, (count, 2, 1, 1))
    smooth = slopes[:, 0] * across + slopes[:, 1] * along
    measured = smooth + 0.12 * random.standard_normal((count, 32, 16))
    return np.asarray(np.clip(measured, -1, 1)[:, None], dtype=np.float32)
