"""The driver of language models with functions ``prefill`` and ``decode`` and a cache in place.

A sample has ``prompt`` [batch, length], ``lengths`` [batch] and ``continuation`` [batch, steps],
all i64. Its outputs are the logits of the prompts [batch, length, vocabulary], zero where a row has
no token, and those after each token of the continuation [batch, steps, vocabulary].
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tidemill.errors import FailureClass, WorkError
from tidemill.steps.work.dtypes import HOLDERS, Array
from tidemill.steps.work.greedy import Plan
from tidemill.steps.work.runner import Session, Value
from tidemill.texts.talk import greedy

CONFIG = "config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheShape:
    """Keys and values are each [layers, batch, heads, positions, width] of ``dtype``."""

    layers: int
    heads: int
    positions: int
    width: int
    dtype: str


class Conversation:
    """One cache, and the two functions that write it: a ``LanguageModel``."""

    def __init__(self, session: Session, *, shape: CacheShape, batch: int) -> None:
        self._session = session
        self._prefill, self._decode = session.function("prefill"), session.function("decode")
        size = (shape.layers, batch, shape.heads, shape.positions, shape.width)
        empty = Value(array=np.zeros(size, HOLDERS[shape.dtype]), dtype=shape.dtype)
        self._cache = (session.keep(empty), session.keep(empty))
        self.dtype = ""  # of the logits, once there are any

    def prefill(self, ids: Array) -> Array:
        """See ``LanguageModel``."""
        return self._one(self._prefill, [_ids(ids)])

    def decode(self, ids: Array, places: Array) -> Array:
        """See ``LanguageModel``."""
        return self._one(self._decode, [_ids(ids), _ids(places)])

    def _one(self, function: Any, arguments: Sequence[Value]) -> Array:
        results = self._session.call(function, [*arguments, *self._cache])
        if len(results) != 1:
            raise WorkError(
                FailureClass.CRASH,
                f"a function of the language model gives {len(results)} results, not its logits",
                hint="compile what exporter cached_lm has made",
            )
        self.dtype = results[0].dtype
        return results[0].array


class CachedDriver:
    """See ``Driver``."""

    def __init__(self, session: Session, *, shape: CacheShape) -> None:
        self._session, self._shape = session, shape

    def call(self, arguments: Sequence[Value]) -> list[Value]:
        """Prefill, then one decode for each token of the continuation, whatever is likeliest."""
        prompt, lengths, continuation = (item.array for item in arguments)
        self._fits(lengths, continuation.shape[1])
        talk = Conversation(self._session, shape=self._shape, batch=len(prompt))
        first = talk.prefill(prompt)
        steps = [
            talk.decode(column[:, None], lengths + index)
            for index, column in enumerate(continuation.T)
        ]
        # What stands behind a row's end has no meaning. A result that is no such array is left as
        # it is, for the verdict to see.
        if first.ndim == 3:  # noqa: PLR2004 - batch, length, vocabulary
            beyond = np.arange(first.shape[1])[None, :] >= lengths[:, None]
            first = np.where(beyond[:, :, None], np.zeros((), first.dtype), first)
        return [Value(array=one, dtype=talk.dtype) for one in (first, np.stack(steps, axis=1))]

    def decode(self, arguments: Sequence[Value], *, plan: Plan) -> Array:
        """What the model itself goes on with after each prompt."""
        prompt, lengths, _ = (item.array for item in arguments)
        self._fits(lengths, plan.tokens)
        talk = Conversation(self._session, shape=self._shape, batch=len(prompt))
        return np.stack([*islice(greedy(talk, prompt, lengths), plan.tokens)], axis=1)

    def _fits(self, lengths: Array, more: int) -> None:
        longest = int(lengths.max()) + more
        if longest > self._shape.positions:
            raise WorkError(
                FailureClass.EXPORT,
                f"a row would have {longest} tokens, the cache has {self._shape.positions}",
                hint="shorten the sample, or raise options.positions in the manifest",
            )


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


def _ids(array: Array) -> Value:
    return Value(array=np.ascontiguousarray(array, dtype=np.int64), dtype="i64")
