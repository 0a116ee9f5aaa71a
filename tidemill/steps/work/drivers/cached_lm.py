"""The driver of language models with functions ``prefill`` and ``decode`` and a cache in place.

Samples are those of ``talking``; the prompts' logits are [batch, length, vocabulary], zero where a
row has no token.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tidemill.errors import FailureClass, WorkError
from tidemill.steps.work.drivers.talking import Talk, TalkDriver
from tidemill.steps.work.dtypes import HOLDERS, Array
from tidemill.steps.work.runner import Session, Value

CONFIG = "config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheShape:
    """Keys and values are each [layers, batch, heads, positions, width] of ``dtype``."""

    layers: int
    heads: int
    positions: int
    width: int
    dtype: str


class Conversation(Talk):
    """The functions ``prefill`` and ``decode`` over keys and values."""

    def __init__(self, session: Session, *, shape: CacheShape, batch: int) -> None:
        self._prefill, self._decode = session.function("prefill"), session.function("decode")
        size = (shape.layers, batch, shape.heads, shape.positions, shape.width)
        empty = Value(array=np.zeros(size, HOLDERS[shape.dtype]), dtype=shape.dtype)
        super().__init__(session, cache=(session.keep(empty), session.keep(empty)))

    def prefill(self, ids: Array) -> Array:
        """See ``LanguageModel``."""
        return self.ask(self._prefill, [ids])

    def decode(self, ids: Array, places: Array) -> Array:
        """See ``LanguageModel``."""
        return self.ask(self._decode, [ids, places])


class CachedDriver(TalkDriver):
    """See ``Driver``."""

    def __init__(self, session: Session, *, shape: CacheShape) -> None:
        self._session, self._shape = session, shape

    def talk(self, prompt: Array, lengths: Array, more: int) -> Conversation:
        """A conversation of the prompt's rows; there is one room for all of them."""
        longest = int(lengths.max()) + more
        if longest > self._shape.positions:
            raise WorkError(
                FailureClass.EXPORT,
                f"a row would have {longest} tokens, the cache has {self._shape.positions}",
                hint="shorten the sample, or raise options.positions in the manifest",
            )
        return Conversation(self._session, shape=self._shape, batch=len(prompt))

    def trimmed(self, logits: Array, lengths: Array) -> Array:
        """[batch, length, vocabulary], zero where a row has no token."""
        beyond = np.arange(logits.shape[1])[None, :] >= lengths[:, None]
        return np.where(beyond[:, :, None], np.zeros((), logits.dtype), logits)


def cache_shape(config: Mapping[str, Path]) -> CacheShape:
    """What config.json says of the cache. Raises WorkError when it is not there or says nothing."""
    try:
        raw = json.loads(config[CONFIG].read_text(encoding="utf-8"))["cache"]
        return CacheShape(**raw)
    except (KeyError, TypeError, ValueError) as error:
        raise WorkError(
            FailureClass.INFRASTRUCTURE,
            f"{CONFIG} beside the MLIR does not say the shape of the cache: {error!r}",
            hint="export the component again",
        ) from error


def open_driver(
    session: Session,
    *,
    fields: Mapping[str, Any],  # noqa: ARG001 - the module's own file says it all
    config: Mapping[str, Path],
) -> CachedDriver:
    """The driver of a module whose config.json is among ``config``."""
    return CachedDriver(session, shape=cache_shape(config))
