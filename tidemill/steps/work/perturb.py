"""Deliberately wrong outputs, on which every contract is tried. Pure; numpy only.

A contract that accepts one of them would accept a broken artifact. ``MANDATORY`` says which ones
it has to refuse, by the artifact's dtype:

* ``zeros``, ``rolled`` and ``nan`` are gross faults (nothing computed, wrong layout, overflow) and
  must be refused for every dtype.
* ``nudged`` (5 %) and ``scaled`` (1 %) are small. Rounding alone moves values by one epsilon of the
  dtype, and errors of a deep model by several, so a small perturbation is mandatory where it is at
  least 16 epsilon: both for f32 (16 epsilon: 2e-6), 5 % for f16 (1.6 %), neither for bf16 (13 %).
  They are tried and reported all the same.
* ``unnarrowed`` is what a program that narrows its activations would give if it did not: measured
  by the reference, and to be refused.
* Integer and boolean outputs have no rounding: everything that can be tried on them is mandatory.
"""

from collections.abc import Iterator

import numpy as np

from tidemill.steps.work.dtypes import EPSILON, Array, is_float

NUDGE, SCALE = 0.05, 0.01
SMALL_IN_EPSILONS = 16
GROSS = frozenset({"zeros", "rolled", "nan"})

WORDS = {
    "zeros": "all zeros",
    "scaled": "scaled by 1 %",
    "rolled": "rolled by one along the last axis",
    "nudged": "one element off by 5 % of the largest magnitude",
    "nan": "one NaN",
    "off": "one element off by one",
    "unnarrowed": "activations that are not narrowed",
}


def mandatory(expected: Array, dtype: str) -> frozenset[str]:
    """The perturbations that a contract for an artifact of ``dtype`` has to refuse."""
    if not is_float(expected):
        return frozenset({"zeros", "rolled", "off"})
    small = {
        name
        for name, size in (("nudged", NUDGE), ("scaled", SCALE))
        if size >= SMALL_IN_EPSILONS * EPSILON[dtype]
    }
    return GROSS | small


def perturbed(expected: Array) -> Iterator[tuple[str, Array]]:
    """Each perturbation that changes ``expected``, by name; ``expected`` itself stays as it is."""
    finite = np.isfinite(expected)
    if not finite.any():
        return
    scale = np.max(np.abs(np.asarray(expected[finite], dtype=np.float64)))
    where = np.unravel_index(np.flatnonzero(finite)[finite.sum() // 2], expected.shape)
    if scale:
        yield "zeros", np.where(finite, np.zeros_like(expected), expected)
    if expected.ndim and expected.shape[-1] > 1:
        rolled = np.roll(expected, 1, axis=-1)
        if not np.array_equal(rolled, expected, equal_nan=is_float(expected)):
            yield "rolled", rolled
    if not is_float(expected):
        boolean = expected.dtype == np.bool_
        yield (
            "off",
            _with(expected, where, value=not expected[where] if boolean else expected[where] ^ 1),
        )
        return
    if scale:
        yield "scaled", expected * expected.dtype.type(1 + SCALE)
        yield "nudged", _with(expected, where, value=expected[where] + NUDGE * scale)
    yield "nan", _with(expected, where, value=np.nan)


def _with(expected: Array, where: tuple[np.intp, ...], *, value: object) -> Array:
    changed = expected.copy()
    changed[where] = value
    return changed
