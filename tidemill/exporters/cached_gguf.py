"""GGUF checkpoints of causal language models with a cache: see ``cached_lm``.

transformers reads the file: it undoes the quantisation and the order of llama.cpp, and names the
tensors. The architecture comes from ``config.json``, so that export needs no weights; ``pack``
compares it to what the file says of itself. The whole model is in memory in float32 meanwhile.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.base import Exporter, Spec
from tidemill.exporters.cached_lm import Cached
from tidemill.exporters.causal_lm import CausalLm
from tidemill.exporters.parameters import PIECE, ParameterSource, Shape

#: What decides the program, of what a GGUF file says of itself.
COMPARED = (
    "model_type",
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "rope_theta",
    "rms_norm_eps",
    "vocab_size",
    "tie_word_embeddings",
)
#: GGUF keeps numbers in float32.
ROUNDING = 1e-6


class GgufSource:
    """The tensors of a GGUF file in float32, by transformers' names."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self._tensors = tensors

    def shapes(self) -> Mapping[str, Shape]:
        """Every tensor and its shape."""
        return {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}

    def pieces(self, name: str) -> Iterator[torch.Tensor]:
        """The elements of one tensor, flat."""
        yield from self._tensors[name].reshape(-1).split(PIECE)


class CachedGguf(Cached, CausalLm):
    """Architecture from config.json, weights from one GGUF file."""

    def weights(self, spec: Spec) -> ParameterSource:
        """The file's tensors. Raises WorkError unless it is one GGUF file of this architecture."""
        if len(spec.weights) != 1:
            raise _fault(f"cached_gguf reads one weights file, {len(spec.weights)} are declared")
        ((label, path),) = spec.weights.items()
        with torch.device("meta"):
            model = self.model(spec)
        loaded = _load(path, model=model, label=label)
        if wrong := differences(loaded["config"], model.config):
            raise _fault(f"{label} is of another model than config.json: {'; '.join(wrong)}")
        return GgufSource(loaded["tensors"])

    def tokenizer(self, spec: Spec) -> str:
        """The tokenizer of the GGUF file; the declared one where values are synthetic."""
        if not spec.weights:
            return super().tokenizer(spec)
        ((label, path),) = spec.weights.items()
        try:
            found = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
        except (ValueError, KeyError, OSError, NotImplementedError) as error:
            raise _unreadable(f"the tokenizer of {label}", error) from error
        text: str = found.backend_tokenizer.to_str()
        return text


def differences(told: Mapping[str, Any], config: Any) -> list[str]:
    """Where what a GGUF file says of itself is not what ``config`` says."""
    ours = {name: getattr(config, name, None) for name in COMPARED}
    ours["rope_theta"] = (getattr(config, "rope_parameters", None) or {}).get("rope_theta")
    return [
        f"{name} is {told[name]}, not {ours[name]}"
        for name in COMPARED
        if name in told and not _same(told[name], ours[name])
    ]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=ROUNDING)
    return bool(one == other)


def _load(path: Path, *, model: Any, label: str) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = load_gguf_checkpoint(
            str(path), return_tensors=True, model_to_load=model
        )
    except (ValueError, KeyError, OSError, NotImplementedError, IndexError) as error:
        raise _unreadable(label, error) from error
    return loaded


def _unreadable(what: str, error: Exception) -> WorkError:
    why = (str(error) or type(error).__name__).splitlines()[0]
    return _fault(f"{what} cannot be read by transformers as GGUF: {why}")


def _fault(message: str) -> WorkError:
    return WorkError(FailureClass.EXPORT, message, hint="check the source and config.json")


EXPORTER: Exporter = CachedGguf()
