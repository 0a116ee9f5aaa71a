"""References rewritten without numpy are what numpy would write."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tidemill.client.npy import is_plain, rewrite
from tidemill.errors import StoreError
from tidemill.steps.work.dtypes import bf16_bits

SPECIAL = [0.0, -0.0, 1.1, -2.3, 1e-8, 6e-5, 65519.9, 65520.0, -7e4, 3.5e38, 1e300, -1e300]
NOT_FINITE = [np.inf, -np.inf, np.nan]
VALUES = np.concatenate([SPECIAL, NOT_FINITE, np.random.default_rng(1).normal(size=9)])


def rewritten(folder: Path, array: NDArray[Any], dtype: str) -> Path:
    source, target = folder / "source.npy", folder / "target"
    np.save(source, array)
    rewrite(source, target, dtype=dtype)
    return target


@pytest.mark.parametrize("stored", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("dtype", "holder"), [("f64", np.float64), ("f32", np.float32), ("f16", np.float16)]
)
def test_floats_are_rounded_as_numpy_rounds_them(
    tmp_path: Path, stored: type, dtype: str, holder: type
) -> None:
    with np.errstate(over="ignore"):
        array: NDArray[Any] = VALUES.astype(stored).reshape(2, -1)
        wanted: NDArray[Any] = array.astype(holder)
    made = np.load(rewritten(tmp_path, array, dtype))
    assert made.dtype == wanted.dtype
    assert np.array_equal(made, wanted, equal_nan=True)
    assert np.array_equal(np.signbit(made), np.signbit(wanted))


def test_bfloat16_is_bare_elements_rounded_as_references_are(tmp_path: Path) -> None:
    made = rewritten(tmp_path, VALUES, "bf16").read_bytes()
    assert made == bf16_bits(VALUES).tobytes()


def test_the_header_is_the_one_that_numpy_writes(tmp_path: Path) -> None:
    array = np.ones((3, 8))
    np.save(tmp_path / "numpy.npy", array.astype(np.float32))
    made = rewritten(tmp_path, array, "f32").read_bytes()
    wanted = (tmp_path / "numpy.npy").read_bytes()
    assert made[10 : made.index(b"\n")].rstrip() == wanted[10 : wanted.index(b"\n")].rstrip()
    assert made.index(b"\n") % 64 == 63


@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 4)])
def test_any_shape_is_kept(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    made = np.load(rewritten(tmp_path, array, "f32"))
    assert made.shape == shape
    assert np.array_equal(made, array)


@pytest.mark.parametrize("dtype", ["f32", "i64"])
def test_fortran_order_becomes_c_order(tmp_path: Path, dtype: str) -> None:
    kind = np.float64 if dtype == "f32" else np.int64
    array = np.asfortranarray(np.arange(24, dtype=kind).reshape(2, 3, 4))
    target = rewritten(tmp_path, array, dtype)
    assert (is_plain(tmp_path / "source.npy"), is_plain(target)) == (False, True)
    assert np.array_equal(np.load(target), array)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is no .npy file"),
        (b"PK\x03\x04 something else", "it is no .npy file"),
        (b"\x93NUMPY\x01\x00\x04\x00{'a:", "its header cannot be read"),
        (b"\x93NUMPY\x01\x00\x02\x00[]", "its header cannot be read"),
    ],
)
def test_what_is_no_array_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "source.npy").write_bytes(data)
    with pytest.raises(StoreError) as caught:
        rewrite(tmp_path / "source.npy", tmp_path / "target", dtype="f32")
    assert caught.value.message == f"source.npy: the reference cannot be used: {said}"


@pytest.mark.parametrize("cut", [8, 3])
def test_an_array_that_is_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    np.save(tmp_path / "source.npy", VALUES)
    whole = (tmp_path / "source.npy").read_bytes()
    (tmp_path / "source.npy").write_bytes(whole[:-cut])
    with pytest.raises(StoreError, match="it is cut short"):
        rewrite(tmp_path / "source.npy", tmp_path / "target", dtype="f32")


def test_integers_are_no_floats(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="it holds <i8, not float64 or float32"):
        rewritten(tmp_path, np.arange(3), "f32")
