"""How far one array is from another, in several measures. Pure; numpy only.

Everything is computed in float64 over the elements that are finite in both arrays. ``to_json``
gives plain JSON without NaN or infinity: a measure that is not defined is None.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.steps.work.dtypes import Array, bf16_bits, is_float, round_to

TOP_K = 5
_SIGNED = {"f16": np.int16, "f32": np.int32, "f64": np.int64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Measures of an output against what was expected.

    ``compared`` counts the elements that were. ``max_abs`` is the largest difference, ``scale`` the
    largest expected magnitude, ``rel_l2`` = |a-e| / |e|, ``cosine`` the angle's cosine,
    ``snr_db`` = 20 log10(|e| / |a-e|). ``ulp`` counts elements by their distance in representable
    numbers of the output's type, in buckets of powers of two. ``top1`` and ``top5`` are for logits.
    """

    shape: tuple[int, ...]
    expected_shape: tuple[int, ...]
    compared: int
    mask_equal: bool
    max_abs: float | None = None
    scale: float | None = None
    rel_l2: float | None = None
    cosine: float | None = None
    snr_db: float | None = None
    ulp: Mapping[str, int] | None = None
    top1: float | None = None
    top5: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        raw = dataclasses.asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in raw.items()}


def distance(actual: Array, expected: Array) -> Metrics:
    """Shape, NaN/Inf masks and the measures that a contract limits."""
    shapes: dict[str, Any] = {"shape": actual.shape, "expected_shape": expected.shape}
    if actual.shape != expected.shape:
        return Metrics(**shapes, compared=0, mask_equal=False)
    got, want = _wide(actual), _wide(expected)
    same_mask = masks_equal(got, want)
    both = np.isfinite(got) & np.isfinite(want)
    got, want = got[both], want[both]
    if not got.size:
        return Metrics(**shapes, compared=0, mask_equal=same_mask)
    error = got - want
    wrong, size = _norm(error), _norm(want)
    return Metrics(
        **shapes,
        compared=int(got.size),
        mask_equal=same_mask,
        max_abs=_finite(np.max(np.abs(error))),
        scale=_finite(np.max(np.abs(want))),
        rel_l2=_ratio(wrong, size),
        cosine=_cosine(got, want),
        snr_db=_finite(20 * math.log10(size / wrong)) if wrong and size else None,
    )


def compare(actual: Array, expected: Array, *, dtype: str, logits: bool = False) -> Metrics:
    """Every measure. ``dtype`` names the type in which representable numbers are counted."""
    metrics = distance(actual, expected)
    if not metrics.compared:
        return metrics
    more: dict[str, Any] = {}
    if is_float(actual) and dtype in (*_SIGNED, "bf16"):
        more["ulp"] = ulp_histogram(actual, expected, dtype=dtype)
    if logits and actual.ndim and actual.shape[-1] > 1:
        more["top1"] = top_agreement(actual, expected, k=1)
        more["top5"] = top_agreement(actual, expected, k=TOP_K)
    return dataclasses.replace(metrics, **more)


def masks_equal(actual: Array, expected: Array) -> bool:
    """Whether NaN, +Inf and -Inf sit at the same places."""
    return all(
        np.array_equal(test(actual), test(expected))
        for test in (np.isnan, np.isposinf, np.isneginf)
    )


def ulp_histogram(actual: Array, expected: Array, *, dtype: str) -> dict[str, int]:
    """Counts by distance: ``0``, ``1``, ``2-3``, ``4-7`` …, of elements finite in both arrays.

    ``expected`` is rounded to ``dtype`` first, so a correctly rounded result has distance 0.
    """
    got, want = round_to(actual, dtype), round_to(expected, dtype)
    both = np.isfinite(got) & np.isfinite(want)
    left, right = _ordered(got[both], dtype), _ordered(want[both], dtype)
    # The difference of two int64 may need 65 bits; modulo 2^64 it is right as unsigned.
    steps = np.where(left >= right, left - right, right - left).view(np.uint64)
    bucket = np.frexp(steps.astype(np.float64))[1]
    numbers, counts = np.unique(bucket, return_counts=True)
    return {_bucket_name(int(n)): int(c) for n, c in zip(numbers, counts, strict=True)}


def top_agreement(actual: Array, expected: Array, *, k: int) -> float:
    """Mean share of the ``k`` largest expected, along the last axis, among as many actual ones."""
    count = min(k, expected.shape[-1])
    best = [
        np.argsort(-_wide(a).reshape(-1, a.shape[-1]), axis=-1, kind="stable")[:, :count]
        for a in (actual, expected)
    ]
    shared = (best[0][:, :, None] == best[1][:, None, :]).any(axis=-1)
    return float(shared.mean())


def _bucket_name(exponent: int) -> str:
    low, high = 1 << max(exponent - 1, 0), (1 << exponent) - 1
    if exponent == 0:
        return "0"
    return str(low) if low == high else f"{low}-{high}"


def _ordered(values: Array, dtype: str) -> NDArray[np.int64]:
    """Integers in the order of the values, neighbours one apart; both zeros are 0."""
    bits = bf16_bits(values).view(np.int16) if dtype == "bf16" else values.view(_SIGNED[dtype])
    magnitude = bits.astype(np.int64) & np.iinfo(bits.dtype).max
    return np.where(bits < 0, -magnitude, magnitude)


def _wide(array: Array) -> NDArray[np.float64]:
    return np.asarray(array, dtype=np.float64)


def _norm(values: NDArray[np.float64]) -> float:
    largest = float(np.max(np.abs(values)))
    # Dividing first keeps squares of large and of tiny numbers in range.
    return largest * math.sqrt(float(np.sum((values / largest) ** 2))) if largest else 0.0


def _ratio(wrong: float, size: float) -> float | None:
    if not size:
        return None if wrong else 0.0
    return _finite(wrong / size)


def _cosine(left: NDArray[np.float64], right: NDArray[np.float64]) -> float | None:
    one, two = (float(np.max(np.abs(side))) for side in (left, right))
    if not one or not two:
        return None
    left, right = left / one, right / two
    return _finite(float(left @ right) / math.sqrt(float(left @ left) * float(right @ right)))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
