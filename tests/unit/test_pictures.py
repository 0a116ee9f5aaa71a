"""Outputs called ``image``: how alike they look, and the pictures that a report shows."""

import base64
import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.test_verdict import produced
from tidemill.report.verdicts import read_verdict
from tidemill.steps.work.pictures import SHOWN_PIXELS, pictured

IMAGE = np.sin(np.arange(3 * 40 * 30, dtype=np.float32)).reshape(1, 3, 40, 30)
PNG = b"\x89PNG\r\n\x1a\n"


def picture_of(expected: NDArray[Any], found: NDArray[Any] | None = None, **more: Any) -> Any:
    one = produced(expected, found)
    return pictured(dataclasses.replace(one, name=more.get("name", "image")))


def test_an_image_is_measured_in_bytes_and_shown_beside_what_is_expected() -> None:
    seen = picture_of(IMAGE, IMAGE + 0.05)
    assert (seen["width"], seen["height"]) == (30, 40)
    assert 30 < seen["psnr_db"] < 40
    assert 0.9 < seen["ssim"] < 1
    files = [base64.b64decode(seen[side]) for side in ("found", "expected")]
    assert all(data.startswith(PNG) for data in files)
    assert files[0] != files[1]


def test_equal_bytes_have_no_distance_in_decibels() -> None:
    seen = picture_of(IMAGE, IMAGE + 1e-6)
    assert (seen["psnr_db"], seen["ssim"]) == (None, 1.0)
    assert seen["found"] == seen["expected"]


def test_a_large_picture_is_shown_thinned_out() -> None:
    seen = picture_of(np.zeros((1, 3, 4 * SHOWN_PIXELS, 8), np.float32))
    header = base64.b64decode(seen["found"])[16:24]
    assert np.frombuffer(header, ">u4").tolist() == [2, SHOWN_PIXELS]


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (IMAGE, "latents"),
        (IMAGE[:, :2], "image"),
        (np.full_like(IMAGE, np.nan), "image"),
    ],
    ids=["another name", "another shape", "no numbers"],
)
def test_what_is_no_picture_is_not_shown(found: NDArray[Any], name: str) -> None:
    assert picture_of(IMAGE, found, name=name) is None


def test_the_report_reads_what_the_step_writes() -> None:
    verdict = read_verdict({"holds": True, "pictures": [picture_of(IMAGE, IMAGE + 0.05)]})
    assert verdict is not None
    (picture,) = verdict.pictures
    assert picture.label == "image of s"
    assert picture.likeness.startswith("PSNR 3")
    assert base64.b64decode(picture.found).startswith(PNG)


@pytest.mark.parametrize("odd", ['" onerror="alert(1)', 7, None])
def test_what_is_no_base64_is_not_put_into_the_page(odd: object) -> None:
    verdict = read_verdict({"pictures": [{"found": odd, "expected": odd}]})
    assert verdict is not None
    assert (verdict.pictures[0].found, verdict.pictures[0].expected) == ("", "")
