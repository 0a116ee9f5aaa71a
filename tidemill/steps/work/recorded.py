"""Values of a sample that are not drawn: a clip's log-mel features, another reference's output."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tidemill.speech.mel import log_mel
from tidemill.speech.sound import read_wav
from tidemill.steps.work.dtypes import Array

_FEATURES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Files that samples are made from, by their names in the recipes."""

    sounds: Mapping[str, Path] = field(default_factory=dict)
    outputs: Mapping[str, Path] = field(default_factory=dict)

    def values(self, recipe: Mapping[str, Any], shape: tuple[int, ...]) -> Array:
        """What ``recipe`` asks for, to fill ``shape``. Raises ValueError that says why not."""
        if recipe["kind"] == "log_mel":
            return self._features(str(recipe["file"]), shape)
        try:
            given: Array = np.load(_found(self.outputs, str(recipe["of"])), allow_pickle=False)
        except EOFError as error:
            raise ValueError(f"{recipe['of']} cannot be read: {error}") from error
        return given

    def _features(self, name: str, shape: tuple[int, ...]) -> Array:
        """The same features for every row of a batch."""
        samples = read_wav(_found(self.sounds, name))
        if len(shape) != _FEATURES:
            raise ValueError(f"log_mel fills [batch, bins, frames], not {list(shape)}")
        batch, bins, frames = shape
        return np.broadcast_to(log_mel(samples, bins=bins, frames=frames), (batch, bins, frames))


def _found(files: Mapping[str, Path], name: str) -> Path:
    if name not in files:
        raise ValueError(f"{name} is not among the inputs")
    return files[name]
