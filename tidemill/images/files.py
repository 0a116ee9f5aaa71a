"""Arrays that a caller gives, and a folder for those on the way to a picture, as .npy files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tidemill.errors import UsageError
from tidemill.pixels.quality import Array


def read_array(file: Path, *, shape: Sequence[int], what: str) -> Array:
    """The array in ``file``. Raises UsageError unless it is one of this shape."""
    try:
        array: Array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UsageError(f"{file} is no array: {error}", hint="give a .npy file") from error
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{file} holds several arrays", hint="give a .npy file with one")
    if array.shape != tuple(shape):
        raise UsageError(
            f"{file} has shape {array.shape}; the model takes {what} {tuple(shape)}",
            hint="give an array of that shape",
        )
    return array


def keep_array(folder: Path, name: str, /, *, step: int, array: Array) -> None:
    """Write ``STEP-NAME.npy`` into ``folder``, which is made; names sort by step."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{step:03}-{name}.npy", array)
