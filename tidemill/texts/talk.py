"""Greedy decoding with a language model of two functions. numpy only.

The same loop runs where an artifact is validated and where a person asks it something.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class LanguageModel(Protocol):
    """One conversation on one device: its cache is empty at first, and both functions write it."""

    def prefill(self, ids: Array) -> Array:
        """Read prompts [batch, length] i64; logits [batch, length, vocabulary]."""
        ...

    def decode(self, ids: Array, places: Array) -> Array:
        """Read one more token of each row, [batch, 1] i64, which stands at ``places`` [batch] i64.

        Gives logits [batch, vocabulary].
        """
        ...


def greedy(model: LanguageModel, prompt: Array, lengths: Array) -> Iterator[Array]:
    """The best next token of each row, [batch] i64, one after the other, without an end.

    ``prompt`` is [batch, length] i64, of which a row has its first ``lengths`` [batch] tokens.
    Whoever asks for more than the cache has room for gets what the model makes of that.
    """
    logits = model.prefill(prompt)
    best = np.argmax(logits[np.arange(len(prompt)), lengths - 1], axis=-1)
    places = np.array(lengths, dtype=np.int64)
    while True:
        yield best.astype(np.int64)
        logits = model.decode(best.astype(np.int64)[:, None], places)
        best, places = np.argmax(logits, axis=-1), places + 1
