"""A clip to text with an encoder and a decoder, whoever runs them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.speech.rules import best_tokens, prompt_of, rules_of
from tidemill.speech.vocabulary import Vocabulary

Array = NDArray[Any]
Program = Callable[[Sequence[Array]], list[Array]]


def write_down(
    encoder: Program, decoder: Program, /, features: Array, *, vocabulary: Vocabulary, limit: int
) -> list[int]:
    """The tokens of a clip without prompt and end: at most ``limit``.

    ``features`` [1, bins, frames] have the encoder's type. The decoder takes ids [1, n] and the
    encoder's states, and gives logits [1, n, vocabulary]; it has no memory, so that each call sees
    the whole text. Raises ValueError on NaN, of which the first would be the best each time.
    """
    rules = rules_of(vocabulary)
    (states,) = encoder([features])
    ids = list(prompt_of(vocabulary))
    begin = len(ids)
    while len(ids) - begin < limit:
        (logits,) = decoder([np.array([ids], dtype=np.int64), states])
        if np.isnan(logits[:, -1]).any():
            raise ValueError("the decoder gives logits that are not numbers (NaN)")
        token = int(best_tokens(logits[:, -1], rules, first=len(ids) == begin)[0])
        if token == rules.stop:
            break
        ids.append(token)
    return ids[begin:]
