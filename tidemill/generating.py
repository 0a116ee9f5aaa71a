"""A released language model on a device: what ``talk`` drives. numpy and IREE's runtime only."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tidemill.errors import UsageError
from tidemill.images.programs import Program
from tidemill.texts.talk import Array

TYPES = {"f32": np.float32, "f16": np.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSizes:
    """Keys and values are each [layers, batch, heads, positions, width] of ``dtype``.

    A prompt has at most ``longest`` tokens; a text ends with one of ``ends``.
    """

    layers: int
    heads: int
    positions: int
    width: int
    dtype: str
    longest: int
    ends: frozenset[int]


def read_sizes(config: Path) -> CacheSizes:
    """What an artifact's config.json says of its cache. Raises UsageError when it says nothing."""
    try:
        raw = json.loads(config.read_text(encoding="utf-8"))
        ends = frozenset(int(one) for one in raw["ends"])
        sizes = CacheSizes(**raw["cache"], longest=int(raw["longest_prompt"]), ends=ends)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{config.name} does not say the shape of a cache: {error!r}",
            hint="name a component that exporter cached_lm, or one of its kin, has made",
        ) from error
    if sizes.dtype not in TYPES:
        raise UsageError(
            f"numpy has no {sizes.dtype}, in which the model's cache is",
            hint=f"take a variant in {' or '.join(TYPES)}",
        )
    return sizes


class CompiledModel:
    """One conversation with one row; see ``LanguageModel``."""

    def __init__(self, program: Program, *, sizes: CacheSizes) -> None:
        self._program = program
        shape = (sizes.layers, 1, sizes.heads, sizes.positions, sizes.width)
        empty = np.zeros(shape, TYPES[sizes.dtype])
        self._cache = (program.keep(empty), program.keep(empty))

    def prefill(self, ids: Array) -> Array:
        """See ``LanguageModel``."""
        (logits,) = self._program([ids, *self._cache], function="prefill")
        return logits

    def decode(self, ids: Array, places: Array) -> Array:
        """See ``LanguageModel``."""
        (logits,) = self._program([ids, places, *self._cache], function="decode")
        return logits
