"""A causal language model as two functions over a cache, and the same sums without one.

``Prefill`` reads whole prompts, ``Decode`` one more token of each row. The cache is two arguments,
keys and values [layers, batch, heads, positions, width], which both change in place. Rows may have
different lengths: padding stands behind a row's tokens, nothing that counts attends to it, and the
first decoded tokens take its place in the cache.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache

Write = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class ArgumentCache(Cache):
    """The cache that a transformers model is given: layers of ``keys`` and ``values``.

    ``write(old, new)`` gives a layer's new content. With ``whole`` the model attends to all of the
    cache, else to what it has just computed.
    """

    def __init__(
        self, keys: torch.Tensor, values: torch.Tensor, *, write: Write, whole: bool
    ) -> None:
        # Not the parent's: it makes layers of its own, and a model calls nothing but these.
        self.layers: list[Any] = []
        self._old = (keys, values)
        self._write, self._whole = write, whole
        self._new: tuple[dict[int, torch.Tensor], dict[int, torch.Tensor]] = ({}, {})

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_args: Any,
        **_more: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take one layer's new keys and values; what it is to attend to."""
        given = (key_states, value_states)
        for new, old, one in zip(self._new, self._old, given, strict=True):
            new[layer_idx] = self._write(old[layer_idx], one)
        return (self._new[0][layer_idx], self._new[1][layer_idx]) if self._whole else given

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002 - the parent's signature
        """Positions are given to the model, so that it never has to ask."""
        return 0

    def keep(self) -> None:
        """Write all layers back into the arguments, in place."""
        for old, new in zip(self._old, self._new, strict=True):
            old.copy_(torch.stack([new[layer] for layer in range(len(new))]))


class Prefill(nn.Module):
    """ids [batch, length] i64, keys, values → logits [batch, length, vocabulary]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Logits of every position; the cache's first ``length`` positions are written."""
        batch, length = ids.shape
        positions = keys.shape[-2]
        places = torch.arange(length)
        mask = _additive(places[None, :] <= places[:, None], keys.dtype)
        live = (torch.arange(positions) < length)[None, None, :, None]

        def write(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
            padded = nn.functional.pad(new, (0, 0, 0, positions - length))
            return torch.where(live, padded, old)

        cache = ArgumentCache(keys, values, write=write, whole=False)
        logits: torch.Tensor = self.model(
            input_ids=ids,
            attention_mask=mask[None, None].expand(batch, 1, length, length),
            position_ids=places[None].expand(batch, length),
            past_key_values=cache,
            use_cache=True,
        ).logits
        cache.keep()
        return logits


class Decode(nn.Module):
    """ids [batch, 1] i64, places [batch] i64, keys, values → logits [batch, vocabulary]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, ids: torch.Tensor, places: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        """Logits after one more token of each row, which stands at ``places``."""
        every = torch.arange(keys.shape[-2])[None, :]
        mask = _additive(every <= places[:, None], keys.dtype)[:, None, None, :]
        here = (every == places[:, None])[:, None, :, None]
        cache = ArgumentCache(
            keys, values, write=lambda old, new: torch.where(here, new, old), whole=True
        )
        logits: torch.Tensor = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places[:, None],
            past_key_values=cache,
            use_cache=True,
        ).logits
        cache.keep()
        return logits[:, -1]


class Conversation(nn.Module):
    """What a sample asks for, computed by the model itself, without our cache: the reference.

    prompt [batch, length], lengths [batch], continuation [batch, steps], all i64 → logits of the
    prompts [batch, length, vocabulary], zero where a row has no token, and of each token of the
    continuation [batch, steps, vocabulary].
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *arrays: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Each row by itself, prompt and continuation in one pass."""
        prompt, lengths, continuation = arrays
        first, then = [], []
        for row, length, more in zip(prompt, lengths.tolist(), continuation, strict=True):
            ids = torch.cat([row[:length], more])[None]
            logits = self.model(input_ids=ids, use_cache=False, return_dict=False)[0][0]
            first.append(nn.functional.pad(logits[:length], (0, 0, 0, len(row) - length)))
            then.append(logits[length:])
        return torch.stack(first), torch.stack(then)


def _additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where ``seen``, else the least number of the type."""
    return torch.where(seen, 0.0, torch.finfo(dtype).min).to(dtype)
