"""Whisper's log-mel features (Radford et al. 2022, section 2.2), as its authors compute them.

Frames of 25 ms every 10 ms under a periodic Hann window, reflected at both ends; power spectrum;
triangles of unit area on Slaney's mel scale (linear to 1 kHz, then logarithmic) from 0 to 8 kHz;
logarithm to base 10, at most 8 below the loudest; (x + 4) / 4. Computed in float64, so that a
last-place difference between libraries hardly ever survives the rounding to the artifact's type.
"""

import numpy as np
from numpy.typing import NDArray

from tidemill.speech.sound import RATE

Array = NDArray[np.float64]

WINDOW = 400
STEP = 160
_FLOOR, _RANGE = 1e-10, 8.0
#: Slaney's scale: 15 mel for each 1000 Hz up to there, then 27 mel for each factor 6.4.
_KNEE_HZ, _KNEE_MEL, _FACTOR, _FACTOR_MEL = 1000.0, 15.0, 6.4, 27.0


def log_mel(samples: Array, *, bins: int, frames: int) -> Array:
    """Features [bins, frames] of a clip, which silence fills up to ``frames`` steps.

    Raises ValueError when the clip is longer.
    """
    length = frames * STEP
    if len(samples) > length:
        raise ValueError(
            f"the clip is {len(samples) / RATE:.1f} s long, the model takes {length / RATE:.1f} s"
        )
    filled = np.pad(samples, (0, length - len(samples)))
    padded = np.pad(filled, WINDOW // 2, mode="reflect")
    # One frame more than is used would fit at the end; Whisper drops it.
    cut = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP][:frames]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.abs(np.fft.rfft(cut * window)) ** 2
    loud = np.log10(np.maximum(triangles(bins) @ power.T, _FLOOR))
    scaled: Array = (np.maximum(loud, loud.max() - _RANGE) + 4) / 4
    return scaled


def triangles(bins: int) -> Array:
    """The weights [bins, frequencies] of each frequency of a frame in each mel bin."""
    frequencies = np.arange(WINDOW // 2 + 1) * (RATE / WINDOW)
    edges = _hertz(np.linspace(0.0, _mel(RATE / 2), bins + 2))
    width = np.diff(edges)
    away = edges[:, np.newaxis] - frequencies
    rising = -away[:-2] / width[:-1, np.newaxis]
    falling = away[2:] / width[1:, np.newaxis]
    area = 2.0 / (edges[2:] - edges[:-2])
    weights: Array = np.maximum(0.0, np.minimum(rising, falling)) * area[:, np.newaxis]
    return weights


def _mel(hertz: float) -> float:
    above = np.log(hertz / _KNEE_HZ) / np.log(_FACTOR) * _FACTOR_MEL
    return float(_KNEE_MEL + above)


def _hertz(mel: Array) -> Array:
    above = _KNEE_HZ * np.exp((mel - _KNEE_MEL) / _FACTOR_MEL * np.log(_FACTOR))
    hertz: Array = np.where(mel < _KNEE_MEL, mel * (_KNEE_HZ / _KNEE_MEL), above)
    return hertz
