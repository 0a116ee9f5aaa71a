"""The loop over a language model, what its cache is like, and a text shown as it grows."""

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.cli.generate import _room
from tidemill.errors import FailureClass, UsageError, WorkError
from tidemill.generating import CacheSizes, read_sizes
from tidemill.speech.rules import Rules
from tidemill.steps.work.greedy import Plan, decode
from tidemill.texts.pieces import pieces
from tidemill.texts.talk import Array, greedy

WORDS = 23
SIZES = CacheSizes(
    layers=2,
    heads=2,
    positions=12,
    width=4,
    dtype="f32",
    longest=10,
    vocabulary=WORDS,
    ends=frozenset({2}),
)


def following(tokens: Sequence[int]) -> int:
    """What the scripted model says after ``tokens``; their order counts."""
    said = 1
    for token in tokens:
        said = (5 * said + token) % WORDS
    return said


class Scripted:
    """Its cache holds tokens; padding lies in it, too, until it is overwritten."""

    def __init__(self, *, batch: int, positions: int) -> None:
        self.cache = np.full((batch, positions), -1)
        self.calls: list[str] = []

    def prefill(self, ids: Array) -> Array:
        self.calls.append("prefill")
        self.cache[:, : ids.shape[1]] = ids
        return np.stack([[_likely(row[: at + 1]) for at in range(len(row))] for row in ids])

    def decode(self, ids: Array, places: Array) -> Array:
        self.calls.append("decode")
        assert ids.dtype == places.dtype == np.int64
        assert ids.shape == (len(self.cache), 1)
        rows = np.arange(len(self.cache))
        self.cache[rows, places] = ids[:, 0]
        return np.stack(
            [_likely(row[: at + 1]) for row, at in zip(self.cache, places, strict=True)]
        )


def _likely(tokens: Array) -> Array:
    likely: Array = np.eye(WORDS)[following(tokens.tolist())]
    return likely


def without_a_cache(tokens: list[int], *, more: int) -> list[int]:
    """What follows, with everything read again for each token."""
    for _ in range(more):
        tokens = [*tokens, following(tokens)]
    return tokens[-more:]


ROWS = st.lists(st.lists(st.integers(0, WORDS - 1), min_size=1, max_size=6), min_size=1, max_size=4)


@given(rows=ROWS, padding=st.integers(0, WORDS - 1), more=st.integers(1, 8))
def test_each_row_goes_on_as_it_would_alone(rows: list[list[int]], padding: int, more: int) -> None:
    lengths = np.array([len(row) for row in rows])
    prompt = np.array([row + [padding] * (int(lengths.max()) - len(row)) for row in rows])
    model = Scripted(batch=len(rows), positions=16)
    made = np.stack([*islice(greedy(model, prompt, lengths), more)], axis=1)
    assert made.tolist() == [without_a_cache(row, more=more) for row in rows]
    # The last token is not read again: a full cache has room for its prompt and one more.
    assert model.calls == ["prefill", *["decode"] * (more - 1)]
    assert lengths.tolist() == [len(row) for row in rows], "what was given has changed"


class Searching:
    """A program with a search of its own."""

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        raise AssertionError(f"it was asked for logits of {arrays}")

    def generate(self, arrays: Sequence[Array], *, tokens: int) -> Array:
        return arrays[0][:, -1:] + np.arange(1, tokens + 1)


def test_a_program_that_searches_by_itself_is_asked_to() -> None:
    made = decode(Searching(), [np.array([[3, 5], [2, 8]])], plan=Plan(tokens=3))
    assert made.tolist() == [[6, 7, 8], [9, 10, 11]]


def test_a_search_of_its_own_takes_no_rules() -> None:
    plan = Plan(tokens=3, rules=Rules(stop=1, banned=(), banned_first=()))
    with pytest.raises(WorkError) as caught:
        decode(Searching(), [np.array([[3, 5]])], plan=plan)
    assert caught.value.failure is FailureClass.EXPORT
    assert caught.value.message == "a program with a search of its own takes no rules of decoding"


SAID: dict[str, Any] = {
    "cache": {"layers": 2, "heads": 2, "positions": 12, "width": 4, "dtype": "f32"},
    "ends": [2],
    "longest_prompt": 10,
    "vocabulary": WORDS,
}


def test_sizes_are_read_from_what_export_wrote(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(SAID))
    assert read_sizes(config) == SIZES


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "JSONDecodeError("),
        ("[]", "TypeError("),
        (json.dumps({**SAID, "cache": {"layers": 2}}), "TypeError("),
        (json.dumps({**SAID, "cache": {**SAID["cache"], "depth": 3}}), "TypeError("),
        (json.dumps({**SAID, "ends": ["<end>"]}), "ValueError("),
        *(
            (json.dumps({key: SAID[key] for key in SAID if key != one}), f"KeyError('{one}')")
            for one in SAID
        ),
    ],
)
def test_a_config_that_says_no_sizes_is_refused(tmp_path: Path, text: str, why: str) -> None:
    config = tmp_path / "config.json"
    config.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_sizes(config)
    start = f"config.json does not say the shape of a cache: {why}"
    assert caught.value.message.startswith(start)
    assert caught.value.hint == (
        "name a component that exporter cached_lm, or one of its kin, has made"
    )


def test_a_cache_in_a_type_that_numpy_lacks_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**SAID, "cache": {**SAID["cache"], "dtype": "bf16"}}))
    with pytest.raises(UsageError) as caught:
        read_sizes(config)
    assert caught.value.message == "numpy has no bf16, in which the model's cache is"
    assert caught.value.hint == "take a variant in f32 or f16"


@pytest.mark.parametrize(
    ("length", "wanted", "room"),
    [
        (1, 5, 5),
        (1, 99, 12),  # the twelfth is never read, so it needs no place
        (10, 99, 3),
        (10, 3, 3),
        (10, 1, 1),
    ],
)
def test_a_text_ends_where_the_cache_is_full(length: int, wanted: int, room: int) -> None:
    assert _room([3] * length, SIZES, wanted=wanted) == room


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "the prompt has no tokens"),
        ([3] * 11, "the prompt has 11 tokens, the model takes 10"),
        ([3, WORDS], f"the tokenizer gives token {WORDS}, the model has {WORDS}"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused(ids: list[int], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        _room(ids, SIZES, wanted=5)
    assert caught.value.message == message
    assert caught.value.hint


def as_text(tokens: list[int]) -> str:
    """Each token is a byte, as in a byte-level vocabulary."""
    return bytes(tokens).decode("utf-8", "replace")


@pytest.mark.parametrize("text", ["ab", "é", "tide 🌊 mill", "水車は回る", "e\u0301"])
def test_no_piece_has_half_a_character(text: str) -> None:
    assert [*pieces(as_text, [], text.encode())] == list(text)
    assert "".join(pieces(as_text, [*b"x"], text.encode())) == f"x{text}"


@given(prompt=st.binary(max_size=4), made=st.binary(max_size=9))
def test_pieces_are_together_the_whole_text_whatever_the_bytes(prompt: bytes, made: bytes) -> None:
    whole = as_text([*prompt, *made]) if made else ""
    assert "".join(pieces(as_text, [*prompt], made)) == whole


def test_a_piece_comes_before_the_next_token_is_made() -> None:
    asked: list[int] = []

    def tokens() -> Any:
        for token in b"mill":
            asked.append(token)
            yield token

    shown = pieces(as_text, [], tokens())
    assert (next(shown), asked) == ("m", [*b"m"])
