"""PSNR and SSIM have the values that their definitions give; PNG files hold what was written."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tidemill.errors import UsageError
from tidemill.pixels.png import SIGNATURE, to_bytes, write_png
from tidemill.pixels.quality import psnr, ssim

RANDOM = np.random.default_rng(7)
PICTURE = RANDOM.integers(0, 256, (24, 17, 3), dtype=np.uint8)
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def by_definition(one: np.ndarray, other: np.ndarray) -> float:
    """The index of two pictures of exactly one window, from weights on a grid."""
    row, column = np.mgrid[-5:6, -5:6]
    weights = np.exp(-(row**2 + column**2) / (2 * 1.5**2))
    weights /= weights.sum()
    mean, mean_other = (weights * one).sum(), (weights * other).sum()
    variance = (weights * (one - mean) ** 2).sum()
    variance_other = (weights * (other - mean_other) ** 2).sum()
    covariance = (weights * (one - mean) * (other - mean_other)).sum()
    above = (2 * mean * mean_other + C1) * (2 * covariance + C2)
    return float(above / ((mean**2 + mean_other**2 + C1) * (variance + variance_other + C2)))


def test_psnr_follows_from_the_mean_square() -> None:
    other = PICTURE.astype(np.float64)
    other[0, 0, 0] += 10
    mean_square = 100 / PICTURE.size
    assert psnr(other, PICTURE, peak=255) == pytest.approx(10 * np.log10(255**2 / mean_square))
    assert psnr(PICTURE, PICTURE, peak=255) == float("inf")


def test_bytes_do_not_wrap_around() -> None:
    black, white = np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)
    assert psnr(black, white, peak=255) == 0
    assert psnr(white, black, peak=255) == 0


def test_ssim_of_one_window_is_the_published_formula() -> None:
    one = RANDOM.uniform(0, 255, (11, 11))
    other = one + RANDOM.normal(0, 20, (11, 11))
    assert ssim(one, other, peak=255) == pytest.approx(by_definition(one, other), rel=1e-12)


def test_ssim_is_the_mean_over_windows_and_channels() -> None:
    one = RANDOM.uniform(0, 255, (12, 11, 2))
    other = one[::-1].copy()
    windows = [
        by_definition(one[row : row + 11, :, channel], other[row : row + 11, :, channel])
        for row in (0, 1)
        for channel in (0, 1)
    ]
    assert ssim(one, other, peak=255) == pytest.approx(np.mean(windows), rel=1e-12)


def test_ssim_is_one_for_equal_pictures_symmetric_and_below_one_else() -> None:
    noisy = np.clip(PICTURE + RANDOM.normal(0, 5, PICTURE.shape), 0, 255)
    noisier = np.clip(PICTURE + RANDOM.normal(0, 80, PICTURE.shape), 0, 255)
    assert ssim(PICTURE, PICTURE, peak=255) == pytest.approx(1)
    assert ssim(noisy, PICTURE, peak=255) == pytest.approx(ssim(PICTURE, noisy, peak=255))
    assert ssim(noisier, PICTURE, peak=255) < 0.9 < ssim(noisy, PICTURE, peak=255) < 1


def test_ssim_of_flat_pictures_compares_brightness() -> None:
    dark, bright = np.full((20, 20), 50.0), np.full((20, 20), 200.0)
    expected = (2 * 50 * 200 + C1) / (50**2 + 200**2 + C1)
    assert ssim(dark, bright, peak=255) == pytest.approx(expected)


def test_ssim_of_a_negative_is_below_zero() -> None:
    board = np.where(np.indices((20, 20)).sum(0) % 2, 100.0, -100.0)
    assert ssim(board, -board, peak=255) < -0.9


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_other_sizes_and_nothing_are_not_compared(measure: object) -> None:
    for one, other in ((PICTURE, PICTURE[1:]), (PICTURE[:0], PICTURE[:0])):
        with pytest.raises(UsageError, match="cannot be compared"):
            measure(one, other, peak=255)  # type: ignore[operator]


def test_ssim_needs_room_for_a_window() -> None:
    with pytest.raises(UsageError, match=r"at least 11 by 11 pixels, not \(24, 10\)"):
        ssim(PICTURE[:, :10, 0], PICTURE[:, :10, 0], peak=255)


def test_a_decoder_output_becomes_bytes() -> None:
    image = np.array([-3.0, -1.0, 0.0, 1.0, 9.0, 0.5], np.float16).reshape(3, 1, 2)
    assert to_bytes(image).tolist() == [[[0, 128, 255], [0, 255, 191]]]


def test_nan_has_no_colour() -> None:
    with pytest.raises(UsageError, match="the picture has NaN in it"):
        to_bytes(np.full((3, 2, 2), np.nan))


def read_png(path: Path) -> tuple[tuple[int, ...], bytes]:
    """Header and scan lines of a file with one chunk of data; every checksum is checked."""
    data, place, chunks = path.read_bytes(), len(SIGNATURE), {}
    assert data.startswith(SIGNATURE)
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", data, place + 8 + length)[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        place += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    return struct.unpack(">IIBBBBB", chunks[b"IHDR"]), zlib.decompress(chunks[b"IDAT"])


@pytest.mark.parametrize("pixels", [PICTURE, PICTURE[..., 0].copy()], ids=["colours", "grey"])
def test_a_png_holds_its_pixels(tmp_path: Path, pixels: np.ndarray) -> None:
    write_png(tmp_path / "picture.png", pixels)
    header, lines = read_png(tmp_path / "picture.png")
    channels = pixels.size // (24 * 17)
    assert header == (17, 24, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    rows = np.frombuffer(lines, np.uint8).reshape(24, 1 + 17 * channels)
    assert set(rows[:, 0]) == {2}
    # Filter 2 stores differences from the row above, modulo 256.
    undone = np.cumsum(rows[:, 1:], axis=0, dtype=np.uint64).astype(np.uint8)
    assert np.array_equal(undone, pixels.reshape(24, 17 * channels))


def test_what_is_no_picture_of_bytes_is_not_written(tmp_path: Path) -> None:
    wrongs: tuple[Any, ...] = (PICTURE.astype(np.float32), PICTURE[..., :2], PICTURE[:0])
    for wrong in wrongs:
        with pytest.raises(UsageError, match="a PNG is made of bytes, grey or RGB"):
            write_png(tmp_path / "picture.png", wrong)
    assert not list(tmp_path.iterdir())
