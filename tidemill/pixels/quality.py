"""How alike two pictures are: PSNR, and SSIM as its authors published it. Pure; numpy only.

SSIM: Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image Quality Assessment: From Error
Visibility to Structural Similarity", IEEE Transactions on Image Processing 13 (4), 2004: a Gaussian
window of 11 × 11 with a standard deviation of 1.5, K1 = 0.01, K2 = 0.03, the mean over all windows
that lie inside the picture. Colours: the mean over the channels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.errors import UsageError

Array = NDArray[Any]
_Wide = NDArray[np.float64]

WINDOW = 11
DEVIATION = 1.5
K1, K2 = 0.01, 0.03


def psnr(found: Array, expected: Array, *, peak: float) -> float:
    """The peak signal-to-noise ratio in dB; infinite for equal arrays.

    ``peak`` is the largest value that a sample can have: 255 for bytes. Raises UsageError when the
    shapes differ or there is nothing to compare.
    """
    one, other = _pair(found, expected)
    error = float(np.mean((one - other) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(peak**2 / error))


def ssim(found: Array, expected: Array, *, peak: float) -> float:
    """The mean structural similarity of two pictures [height, width] or [height, width, channels].

    1 for equal pictures, below for all others. Raises UsageError as ``psnr`` does, and when a side
    is shorter than the window.
    """
    one, other = _pair(found, expected)
    if one.ndim not in {2, 3} or min(one.shape[:2]) < WINDOW:
        raise UsageError(
            f"SSIM compares pictures of at least {WINDOW} by {WINDOW} pixels, not {one.shape}",
            hint="use PSNR for anything smaller",
        )
    planes = zip(np.atleast_3d(one).T, np.atleast_3d(other).T, strict=True)
    return float(np.mean([_of_plane(*pair, peak=peak) for pair in planes]))


def _of_plane(one: _Wide, other: _Wide, *, peak: float) -> float:
    mean, mean_other = _smooth(one), _smooth(other)
    variance = _smooth(one * one) - mean**2
    variance_other = _smooth(other * other) - mean_other**2
    covariance = _smooth(one * other) - mean * mean_other
    c1, c2 = (K1 * peak) ** 2, (K2 * peak) ** 2
    above = (2 * mean * mean_other + c1) * (2 * covariance + c2)
    below = (mean**2 + mean_other**2 + c1) * (variance + variance_other + c2)
    return float(np.mean(above / below))


def _smooth(plane: _Wide) -> _Wide:
    """The weighted mean around each pixel whose whole window lies inside the picture."""
    for axis in (0, 1):
        windows = np.lib.stride_tricks.sliding_window_view(plane, WINDOW, axis=axis)
        plane = windows @ _weights()
    return plane


def _weights() -> _Wide:
    """One side of the window; the Gaussian is the product of its sides."""
    distances = np.arange(WINDOW) - WINDOW // 2
    bell = np.exp(-(distances**2) / (2 * DEVIATION**2))
    weights: _Wide = bell / bell.sum()
    return weights


def _pair(found: Array, expected: Array) -> tuple[_Wide, _Wide]:
    if found.shape != expected.shape or not found.size:
        raise UsageError(
            f"arrays of shape {found.shape} and {expected.shape} cannot be compared",
            hint="give two pictures of the same size",
        )
    return found.astype(np.float64), expected.astype(np.float64)
