"""Synthetic weights: values from a seed, the same on every machine.

For gated or huge models. Element i of a tensor is the i-th output of SplitMix64 (Steele, Lea,
Flood 2014), whose state starts at the first eight bytes of sha256("<seed>:<name>"). Its upper 24
bits, as a signed integer times 2**-23, are uniform in [-1, 1) and exact in float32; one float32
multiplication by ``scale`` follows, which IEEE 754 fixes. So no library's random generator and no
platform's mathematics has a say.

A one-dimensional ``weight`` (norms) is 1 + that; a ``running_var`` is 1 + its magnitude; integer
and boolean tensors are zero.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tidemill.exporters.parameters import PIECE, Needed, Shape

STEP = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)


class SyntheticSource:
    """A value for each needed parameter. ``synthetic`` is ``{"seed": int, "scale": float}``."""

    def __init__(self, needed: Sequence[Needed], *, synthetic: Mapping[str, Any]) -> None:
        self._needed = {item.name: item for item in needed}
        self._seed = int(synthetic["seed"])
        self._scale = np.float32(synthetic["scale"])

    def shapes(self) -> Mapping[str, Shape]:
        """Exactly what is needed."""
        return {name: item.shape for name, item in self._needed.items()}

    def pieces(self, name: str) -> Iterator[torch.Tensor]:
        """The values of one parameter, float32 or its own integer type."""
        item = self._needed[name]
        count = torch.Size(item.shape).numel()
        for start in range(0, count, PIECE):
            stop = min(start + PIECE, count)
            if item.dtype.is_floating_point:
                yield torch.from_numpy(self._values(item, start=start, stop=stop))
            else:
                yield torch.zeros(stop - start, dtype=item.dtype)

    def _values(self, item: Needed, *, start: int, stop: int) -> NDArray[np.float32]:
        unit = uniform(f"{self._seed}:{item.name}", start=start, stop=stop)
        values = unit * self._scale
        if item.name.endswith("running_var"):
            return np.float32(1) + np.abs(values)
        if len(item.shape) == 1 and item.name.endswith("weight"):
            return np.float32(1) + values
        return values


def uniform(label: str, *, start: int, stop: int) -> NDArray[np.float32]:
    """Elements ``start`` to ``stop`` of the stream that ``label`` names, each in [-1, 1)."""
    state = np.uint64(int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "little"))
    mixed = state + np.arange(start + 1, stop + 1, dtype=np.uint64) * STEP
    mixed = (mixed ^ (mixed >> np.uint64(30))) * MIX_1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * MIX_2
    mixed ^= mixed >> np.uint64(31)
    signed = (mixed >> np.uint64(40)).astype(np.int64) - (1 << 23)
    return signed.astype(np.float32) * np.float32(2.0**-23)
