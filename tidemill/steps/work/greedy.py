"""Greedy decoding through any program: append the best next token and call again. numpy only.

There is no cache: the program is called with one more token each time, so every call also checks
another size of its dynamic dimension. The same loop runs torch's program and the compiled one. A
program that can generate by itself (``Generates``) is asked to.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from tidemill.errors import FailureClass, WorkError
from tidemill.speech.rules import Rules, best_tokens
from tidemill.steps.work.dtypes import Array

Program = Callable[[Sequence[Array]], list[Array]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many tokens to make, and which inputs grow by one along their last axis for each.

    Input 0 holds the tokens; the others that grow are masks and grow by a one. Output 0 holds
    logits of shape (batch, length, vocabulary), of which the last position counts. ``rules`` ban
    tokens, and end a row early; then there may be fewer tokens.
    """

    tokens: int
    masks: tuple[int, ...] = ()
    rules: Rules | None = None


@runtime_checkable
class Generates(Protocol):
    """A program with a search of its own, such as transformers'."""

    def generate(self, arrays: Sequence[Array], *, tokens: int) -> Array:
        """The ``tokens`` best next tokens of each row, [batch, tokens] i64."""
        ...


def decode(program: Program, arrays: Sequence[Array], *, plan: Plan) -> Array:
    """The ``plan.tokens`` best next tokens of each row, shape (batch, tokens), int64.

    A row that has ended by ``plan.rules`` goes on with its last token, until all have.

    Raises WorkError (crash) when output 0 cannot be logits.
    """
    if isinstance(program, Generates):
        if plan.rules:
            raise WorkError(
                FailureClass.EXPORT,
                "a program with a search of its own takes no rules of decoding",
                hint="leave `vocabulary` out of the sample's greedy",
            )
        return program.generate(arrays, tokens=plan.tokens)
    grown = list(arrays)
    made: list[Array] = []
    for _ in range(plan.tokens):
        logits = program(grown)[0]
        if logits.ndim != 3 or 0 in logits.shape:  # noqa: PLR2004 - batch, length, vocabulary
            raise WorkError(
                FailureClass.CRASH,
                f"output 0 has shape {logits.shape}, not (batch, length, vocabulary)",
                hint="greedy decoding needs logits as the first output",
            )
        best = _best(logits[:, -1, :], plan.rules, made=made)
        made.append(best)
        if plan.rules and (best == plan.rules.stop).all():
            break
        grown[0] = _append(grown[0], best)
        for index in plan.masks:
            grown[index] = _append(grown[index], np.ones(best.shape))
    return np.stack(made, axis=1)


def _best(logits: Array, rules: Rules | None, *, made: Sequence[Array]) -> Array:
    if rules is None:
        return np.argmax(logits, axis=-1).astype(np.int64)
    best = best_tokens(logits, rules, first=not made)
    return np.where(made[-1] == rules.stop, made[-1], best) if made else best


def agreement(actual: Array, expected: Array) -> dict[str, int | None]:
    """How many tokens there are, how many are equal, and the position of the first that is not."""
    if actual.shape != expected.shape:
        return {"tokens": int(expected.size), "equal": 0, "first_difference": 0}
    different = np.flatnonzero((actual != expected).any(axis=0))
    return {
        "tokens": int(expected.size),
        "equal": int((actual == expected).sum()),
        "first_difference": int(different[0]) if different.size else None,
    }


def _append(array: Array, column: Array) -> Array:
    shape = (*array.shape[:-1], 1)
    end = np.broadcast_to(column.astype(array.dtype).reshape(-1, *[1] * (array.ndim - 1)), shape)
    return np.concatenate([array, end], axis=-1)
