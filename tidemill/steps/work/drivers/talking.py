"""What drivers of language models share: a sample is a conversation, held with a cache in place.

A sample has ``prompt`` [batch, length], ``lengths`` [batch] and ``continuation`` [batch, steps],
all i64. Its outputs are the logits of the prompts, see ``trimmed``, and those after each token of
the continuation [batch, steps, vocabulary].
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from tidemill.errors import FailureClass, WorkError
from tidemill.steps.work.dtypes import Array
from tidemill.steps.work.greedy import Plan
from tidemill.steps.work.runner import Buffer, Session, Value
from tidemill.texts.talk import greedy

#: Batch, length, vocabulary.
RANK = 3


class Talk(ABC):
    """One conversation: a ``LanguageModel`` over functions that take i64 arrays and a cache."""

    def __init__(self, session: Session, *, cache: Sequence[Buffer]) -> None:
        self._session, self._cache = session, cache
        #: The element types of the logits so far.
        self.dtypes: list[str] = []

    @abstractmethod
    def prefill(self, ids: Array) -> Array:
        """Logits of the prompts [batch, length, vocabulary]."""

    @abstractmethod
    def decode(self, ids: Array, places: Array) -> Array:
        """Logits [batch, vocabulary] after one more token of each row, at ``places``."""

    def ask(self, function: Any, arrays: Sequence[Array]) -> Array:
        """The one result of a function. Raises WorkError as the call does, or if there are more."""
        given = [
            Value(array=np.ascontiguousarray(one, dtype=np.int64), dtype="i64") for one in arrays
        ]
        results = self._session.call(function, [*given, *self._cache])
        if len(results) != 1:
            raise WorkError(
                FailureClass.CRASH,
                f"a function of the language model gives {len(results)} results, not its logits",
                hint="compile what the component's own exporter has made, without options for more",
            )
        self.dtypes.append(results[0].dtype)
        return results[0].array


class TalkDriver(ABC):
    """See ``Driver``."""

    @abstractmethod
    def talk(self, prompt: Array, lengths: Array, more: int) -> Talk:
        """A conversation with room for ``more`` tokens of each row. Raises WorkError without it."""

    @abstractmethod
    def trimmed(self, logits: Array, lengths: Array) -> Array:
        """The prompts' logits without what padding came to, as the eager program gives them."""

    def call(self, arguments: Sequence[Value]) -> list[Value]:
        """Prefill, then one decode for each token of the continuation, whatever is likeliest."""
        prompt, lengths, continuation = (item.array for item in arguments)
        talk = self.talk(prompt, lengths, continuation.shape[1])
        first = talk.prefill(prompt)
        steps = [
            talk.decode(column[:, None], lengths + index)
            for index, column in enumerate(continuation.T)
        ]
        # A result that is no such array is left as it is, for the verdict to see.
        first = self.trimmed(first, lengths) if first.ndim == RANK else first
        types = talk.dtypes
        return [
            Value(array=first, dtype=types[0]),
            # They come from one function, which gives one type.
            Value(array=np.stack(steps, axis=1), dtype=types[-1]),
        ]

    def decode(self, arguments: Sequence[Value], *, plan: Plan) -> Array:
        """What the model itself goes on with after each prompt."""
        prompt, lengths, _ = (item.array for item in arguments)
        talk = self.talk(prompt, lengths, plan.tokens)
        return np.stack([*islice(greedy(talk, prompt, lengths), plan.tokens)], axis=1)
