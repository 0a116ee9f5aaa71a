"""The driver of sharktank's language models: ``prefill_bsN`` and ``decode_bsN`` over pages.

The cache is one array of pages [pages, elements of a page] on the device, which both functions
change in place. A row's tokens lie in pages that a table names for it; page 0 is never handed out,
as sharktank itself keeps it for rows that are not there. A sample has ``prompt`` [batch, seq],
``lengths`` [batch] and ``continuation`` [batch, steps], all i64; its outputs are those of exporter
``sharktank_llm``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tidemill.errors import FailureClass, WorkError
from tidemill.steps.work.drivers.talking import RANK, Talk, TalkDriver
from tidemill.steps.work.dtypes import Array
from tidemill.steps.work.runner import Session

CONFIG = "config.json"
#: sharktank's functions take at least so many pages of each row.
_LEAST_PAGES = 2
#: sharktank's names of element types of a cache → ours.
_DTYPES = {
    "float32": "f32",
    "float16": "f16",
    "bfloat16": "bf16",
    "float8_e4m3fnuz": "f8E4M3FNUZ",
    "float8_e4m3fn": "f8E4M3FN",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """``count`` pages of ``elements`` each, ``stride`` tokens in a page; batches per function."""

    stride: int
    count: int
    elements: int
    dtype: str
    prefill_batches: tuple[int, ...]
    decode_batches: tuple[int, ...]


class PagedTalk(Talk):
    """One cache with the pages of one batch, for up to ``tokens`` a row."""

    def __init__(self, session: Session, *, pages: Pages, lengths: Array, tokens: int) -> None:
        batch = len(lengths)
        self._pages, self._lengths = pages, lengths
        self._prefill = _function(session, "prefill", batch, pages.prefill_batches)
        self._decode = _function(session, "decode", batch, pages.decode_batches)
        self._table = page_table(pages, batch=batch, tokens=tokens)
        cache = session.keep_zeros((pages.count, pages.elements), dtype=pages.dtype)
        super().__init__(session, cache=(cache,))

    def prefill(self, ids: Array) -> Array:
        """Logits of the prompts [batch, length, vocabulary]; the pages beyond are cut off."""
        width = max(_LEAST_PAGES, -(-ids.shape[1] // self._pages.stride))
        padded = np.zeros((len(ids), width * self._pages.stride), np.int64)
        padded[:, : ids.shape[1]] = ids
        logits = self.ask(self._prefill, [padded, self._lengths, self._table[:, :width]])
        return logits[:, : ids.shape[1]] if logits.ndim == RANK else logits

    def decode(self, ids: Array, places: Array) -> Array:
        """Logits [batch, vocabulary] after one more token of each row, at ``places``."""
        logits = self.ask(self._decode, [ids, places + 1, places, self._table])
        return logits[:, -1] if logits.ndim == RANK else logits


class PagedDriver(TalkDriver):
    """See ``Driver``."""

    def __init__(self, session: Session, *, pages: Pages) -> None:
        self._session, self._pages = session, pages

    def talk(self, prompt: Array, lengths: Array, more: int) -> PagedTalk:
        """A conversation of the prompt's rows, with pages for all of their tokens."""
        tokens = max(prompt.shape[1], int(lengths.max()) + more)
        return PagedTalk(self._session, pages=self._pages, lengths=lengths, tokens=tokens)

    def trimmed(self, logits: Array, lengths: Array) -> Array:
        """[tokens, vocabulary]: the rows' own tokens, one row after the other."""
        return logits[np.arange(logits.shape[1])[None, :] < lengths[:, None]]


def page_table(pages: Pages, *, batch: int, tokens: int) -> Array:
    """The pages of each row for ``tokens`` tokens, [batch, pages of a row] i64, none of them twice.

    Raises WorkError when there are not enough.
    """
    each = max(_LEAST_PAGES, -(-tokens // pages.stride))
    if batch * each + 1 > pages.count:
        raise WorkError(
            FailureClass.EXPORT,
            f"{batch} rows of {tokens} tokens need {batch * each} pages, the cache has"
            f" {pages.count - 1}",
            hint="shorten the sample, or raise options.device_block_count in the manifest",
        )
    return np.arange(1, 1 + batch * each, dtype=np.int64).reshape(batch, each)


def pages_of(config: Mapping[str, Path]) -> Pages:
    """What sharktank's config.json says. Raises WorkError when it is not there or says too little.

    Pipelines over several devices have several kinds of pages, which this driver does not serve.
    """
    try:
        raw = json.loads(config[CONFIG].read_text(encoding="utf-8"))
        cache = raw["paged_kv_cache"]
        (elements,) = cache["paged_kv_block_size_elements_per_device"]
        return Pages(
            stride=cache["block_seq_stride"],
            count=cache["device_block_count"],
            elements=elements,
            dtype=_DTYPES[cache["kv_cache_dtype"]],
            prefill_batches=tuple(raw["prefill_batch_sizes"]),
            decode_batches=tuple(raw["decode_batch_sizes"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WorkError(
            FailureClass.INFRASTRUCTURE,
            f"{CONFIG} beside the MLIR does not say what the pages are: {error!r}",
            hint="export the component again",
        ) from error


def open_driver(
    session: Session,
    *,
    fields: Mapping[str, Any],  # noqa: ARG001 - the module's own file says it all
    config: Mapping[str, Path],
) -> PagedDriver:
    """The driver of a module whose config.json is among ``config``."""
    return PagedDriver(session, pages=pages_of(config))


def _function(session: Session, name: str, batch: int, known: Sequence[int]) -> Any:
    if batch not in known:
        sizes = ", ".join(map(str, known)) or "none"
        raise WorkError(
            FailureClass.EXPORT,
            f"the sample has {batch} rows, but the module has {name} for {sizes}",
            hint="give samples of the variant's batch",
        )
    return session.function(f"{name}_bs{batch}")
