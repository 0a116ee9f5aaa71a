"""Outputs called ``image`` are pictures: how alike they look, and what a report shows of them."""

import base64

import numpy as np
from numpy.typing import NDArray

from tidemill.pixels.png import png, to_bytes
from tidemill.pixels.quality import WINDOW, psnr, ssim
from tidemill.steps.work.contract import Json, Produced

NAME = "image"
#: A side of what is shown; larger pictures are thinned out. What is measured is the whole.
SHOWN_PIXELS = 96
_RANK, _COLOURS = 4, 3
_PEAK = 255.0


def pictured(one: Produced) -> Json | None:
    """The first picture of an output [batch, 3, height, width]; None where there is none to see.

    PSNR in dB (None: equal) and SSIM are of bytes, as people see them; the pictures are PNG files
    in base64.
    """
    found, expected = one.actual.astype(np.float64), one.expected.astype(np.float64)
    shape = expected.shape
    drawn = found.shape == shape and len(shape) == _RANK and shape[1] == _COLOURS
    if one.name != NAME or not drawn or not expected.size:
        return None
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return None
    here, there = to_bytes(found[0]), to_bytes(expected[0])
    return {
        "sample": one.sample,
        "name": one.name,
        "width": shape[3],
        "height": shape[2],
        "psnr_db": None if np.array_equal(here, there) else psnr(here, there, peak=_PEAK),
        "ssim": ssim(here, there, peak=_PEAK) if min(here.shape[:2]) >= WINDOW else None,
        "found": _shown(here),
        "expected": _shown(there),
    }


def _shown(pixels: NDArray[np.uint8]) -> str:
    step = -(-max(pixels.shape[:2]) // SHOWN_PIXELS)
    return base64.b64encode(png(np.ascontiguousarray(pixels[::step, ::step]))).decode("ascii")
