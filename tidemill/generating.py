"""A released language model on a device, its words and its texts: without any framework."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tidemill.errors import UsageError
from tidemill.images.programs import Device, Program, numbers
from tidemill.texts.talk import Array, greedy

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from tidemill.client.suite import Handed

TYPES = {"f32": np.float32, "f16": np.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSizes:
    """Keys and values are each [layers, batch, heads, positions, width] of ``dtype``.

    A prompt has at most ``longest`` tokens, each below ``vocabulary``; a text ends with one of
    ``ends``.
    """

    layers: int
    heads: int
    positions: int
    width: int
    dtype: str
    longest: int
    vocabulary: int
    ends: frozenset[int]


def read_sizes(config: Path) -> CacheSizes:
    """What an artifact's config.json says of its cache. Raises UsageError when it says nothing."""
    try:
        raw = json.loads(config.read_text(encoding="utf-8"))
        ends = frozenset(int(one) for one in raw["ends"])
        longest, vocabulary = int(raw["longest_prompt"]), int(raw["vocabulary"])
        sizes = CacheSizes(**raw["cache"], longest=longest, vocabulary=vocabulary, ends=ends)
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

    def __init__(self, program: Program, *, sizes: CacheSizes, name: str = "the model") -> None:
        self._program, self._name = program, name
        shape = (sizes.layers, 1, sizes.heads, sizes.positions, sizes.width)
        empty = np.zeros(shape, TYPES[sizes.dtype])
        self._cache = (program.keep(empty), program.keep(empty))

    def prefill(self, ids: Array) -> Array:
        """See ``LanguageModel``. Raises ToolError on NaN."""
        (logits,) = self._program([ids, *self._cache], function="prefill")
        return numbers(logits, of=f"{self._name}, function prefill,")

    def decode(self, ids: Array, places: Array) -> Array:
        """See ``LanguageModel``."""
        (logits,) = self._program([ids, places, *self._cache], function="decode")
        return numbers(logits, of=f"{self._name}, function decode,")


def read_words(file: Path) -> "Tokenizer":
    """The tokenizer of a tokenizer.json. Raises UsageError when it is none."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - sizes are read without it

    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise UsageError(f"{file} is not a tokenizer: {error}") from error


def follow(one: "Handed", ids: Sequence[int], *, sizes: CacheSizes, device: str) -> Iterator[int]:
    """The likeliest token after all before it, one after the other; it begins with ``ids``.

    Raises UsageError when ``one`` cannot be run, and as ``Device`` and ``Program`` do.
    """
    if one.vmfb is None or one.irpa is None:
        raise UsageError(
            f"{one.address} was released without VMFB or parameters",
            hint="name an address with a target, of a release that has both",
        )
    on_cpu = f"{one.address.rpartition('/')[0]}/cpu --device local-task"
    program = Program(Device(device, instead=on_cpu), vmfb=one.vmfb, irpa=one.irpa)
    model = CompiledModel(program, sizes=sizes, name=one.address)
    prompt = np.array([ids], dtype=np.int64)
    for best in greedy(model, prompt, np.array([len(ids)], dtype=np.int64)):
        yield int(best[0])
