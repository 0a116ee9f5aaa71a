"""Pictures as PNG files (RFC 2083), 8 bits a channel, grey or RGB. numpy and zlib only."""

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tidemill.errors import UsageError
from tidemill.pixels.quality import Array

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Colour types of the format, by channels.
COLOURS = {1: 0, 3: 2}
PLANE = 2


def to_bytes(image: Array) -> NDArray[np.uint8]:
    """One decoder output [3, height, width], about -1 to 1, as bytes [height, width, 3].

    Values beyond are cut off. NaN, which has no colour, raises UsageError.
    """
    if np.isnan(image).any():
        raise UsageError(
            "the picture has NaN in it",
            hint="the pipeline overflowed somewhere: try f32, and look at --trace",
        )
    unit = np.clip(image.astype(np.float64) / 2 + 0.5, 0, 1)
    pixels: NDArray[np.uint8] = np.rint(unit * 255).astype(np.uint8).transpose(1, 2, 0)
    return pixels


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write [height, width] or [height, width, 3] bytes. Raises UsageError on anything else."""
    path.write_bytes(png(pixels))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """The file of ``write_png``. Raises as it does."""
    channels = 1 if pixels.ndim == PLANE else pixels.shape[-1]
    if pixels.dtype != np.uint8 or channels not in COLOURS or not pixels.size:
        raise UsageError(
            f"a PNG is made of bytes, grey or RGB, not of {pixels.dtype} {pixels.shape}",
            hint="convert the picture with to_bytes",
        )
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, COLOURS[channels], 0, 0, 0)
    rows = pixels.reshape(height, width * channels)
    # Each row is stored as its difference from the row above (filter 2), which compresses better.
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.hstack([np.full((height, 1), 2, np.uint8), rows - above])
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 9)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
