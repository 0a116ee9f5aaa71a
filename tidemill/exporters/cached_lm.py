"""Causal language models with a cache: functions ``prefill`` and ``decode`` in one module.

A component's inputs are those of a sample, not of a function: ``prompt`` [batch, length] i64,
``lengths`` [batch] i64 and ``continuation`` [batch, steps] i64, where ``batch`` and ``length`` are
dynamic dimensions. The driver ``cached_lm`` turns them into calls (``steps/work/drivers``). What a
function takes and gives: see ``cached_program``.

Beside the MLIR it writes ``config.json``, which tells the driver the shape of the cache.

``options.positions`` is how many tokens a row may have, prompt and answer together.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig

from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Array, Exporter, Spec
from tidemill.exporters.cached_program import Conversation
from tidemill.exporters.cached_spec import (
    cache_of,
    dimensions,
    ends_of,
    require_inputs,
    require_lengths,
    require_whole_attention,
)
from tidemill.exporters.causal_lm import CausalLm
from tidemill.exporters.mlir import require_parameters
from tidemill.exporters.modes import Accumulated, Widened
from tidemill.exporters.torch_exporter import TorchExporter, to_numpy

CONFIG, TOKENIZER = "config.json", "tokenizer.json"


class Cached(TorchExporter):
    """What the families share; a family's own exporter is the second base, and has ``model``."""

    model: Callable[[Spec], Any]

    def architecture(self, spec: Spec) -> Architecture:
        """The family's model; the program is the whole conversation."""
        require_inputs(spec)
        model = self.model(spec)
        require_whole_attention(model, spec)
        return Architecture(program=Conversation(model), named=model)

    def lower(self, spec: Spec, target: Path, *, with_weights: bool) -> Mapping[str, Any]:
        """Export both functions; otherwise as every torch exporter does."""
        model, external = self._built(spec, spec.dtype)
        if with_weights:
            self._fill(spec, external)
        # iree-turbine takes seconds to import; packing and references do without it.
        from tidemill.exporters.cached_lowering import write_functions  # noqa: PLC0415

        write_functions(model.named, spec, target=target)
        about = {
            "cache": cache_of(model.named, spec),
            "ends": ends_of(model.named),
            "longest_prompt": dimensions(spec)[1].max,
            "vocabulary": model.named.config.vocab_size,
        }
        text = json.dumps(about, indent=1, sort_keys=True)
        target.with_name(CONFIG).write_text(text + "\n", encoding="utf-8")
        require_parameters(target, (item.name for item in external))
        return {
            "parameters": len(external),
            "parameter_bytes": sum(item.tensor.nbytes for item in external),
            "mlir_bytes": target.stat().st_size,
        }

    def pack(self, spec: Spec, target: Path) -> Mapping[str, Any]:
        """Write the IRPA, and beside it ``tokenizer.json`` where there is a tokenizer."""
        facts = super().pack(spec, target)
        if text := self.tokenizer(spec):
            target.with_name(TOKENIZER).write_text(text, encoding="utf-8")
        return facts

    def tokenizer(self, spec: Spec) -> str:
        """The text of the model's tokenizer.json; "" where nothing declared has one."""
        file = spec.config.get(TOKENIZER)
        return file.read_text(encoding="utf-8") if file else ""

    def program(self, spec: Spec, precision: str) -> "Eager":
        """The model itself, see ``Exporter``; it can also generate."""
        model, external = self._built(spec, precision)
        self._fill(spec, external)
        return Eager(model, precision=precision)


class Eager:
    """A conversation with the model of transformers, without any of our cache."""

    def __init__(self, model: Architecture, *, precision: str) -> None:
        self._model, self._precision = model, precision

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs of a sample, see ``Conversation``."""
        require_lengths(arrays)
        given = [torch.from_numpy(np.array(array)) for array in arrays]
        with torch.no_grad(), self._mode():
            return [to_numpy(result) for result in self._model.program(*given)]

    def generate(self, arrays: Sequence[Array], *, tokens: int) -> Array:
        """The greedy search of transformers itself: what follows each prompt, [batch, tokens] i64.

        The end of a text does not stop it.
        """
        require_lengths(arrays)
        rows = zip(arrays[0], arrays[1].tolist(), strict=True)
        with torch.no_grad(), self._mode():
            return np.stack([self._greedy(row[:length], tokens) for row, length in rows])

    def _greedy(self, row: Array, tokens: int) -> Array:
        ids = torch.from_numpy(np.array(row))[None]
        model: Any = self._model.named
        # In place of the model's own, from which a given one takes what it leaves open: the end.
        model.generation_config = GenerationConfig(
            do_sample=False, max_new_tokens=tokens, pad_token_id=0
        )
        found = model.generate(ids, attention_mask=torch.ones_like(ids))
        made: Array = found[0, ids.shape[1] :].numpy()
        return made

    def _mode(self) -> AbstractContextManager[Any]:
        if self._precision == "f64":
            return Widened()
        return Accumulated() if self._precision == "f16" else nullcontext()


class CachedLm(Cached, CausalLm):
    """Architecture from config.json."""


EXPORTER: Exporter = CachedLm()
