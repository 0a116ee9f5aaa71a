"""An independent reference for a quantised Llama: transformers' own model, numbers from the file.

Every linear layer gets the widened weight of the dataset and narrows its input as the dataset says;
queries, keys and values are narrowed after the rotary embedding. Norms and embeddings are the
dataset's too: algorithms that balance layers change them. Everything is computed in the model's
element type, so that the error of the rounding alone can be measured.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.models.llama.modeling_llama import eager_attention_forward

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.shark_dataset import Dataset, Quantiser

ATTENTION = "tidemill_narrowed"
_LINEAR = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
#: Whose outputs are narrowed for attention, in the order in which attention takes them.
_ATTENDED = ("attn_q", "attn_k", "attn_v")
_NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_PARTS = frozenset({"weight", "bias", "premul_input"})


class NarrowedLinear(nn.Module):
    """A linear layer whose input is scaled and narrowed first, where the dataset says so."""

    def __init__(
        self,
        weight: torch.Tensor,
        *,
        bias: torch.Tensor | None,
        premultiply: torch.Tensor | None,
        quantiser: Quantiser | None,
    ) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias
        self.premultiply, self.quantiser = premultiply, quantiser

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The layer's output, in the element type of ``values``."""
        kind = values.dtype
        if self.premultiply is not None:
            values = values * self.premultiply.to(kind)
        if self.quantiser is not None:
            values = self.quantiser.fake(values)
        bias = None if self.bias is None else self.bias.to(kind)
        return nn.functional.linear(values, self.weight.to(kind), bias)


def hf_name(name: str) -> str:
    """The module of transformers' Llama that a tensor of a dataset belongs to; "" for none."""
    head, _, rest = name.partition(".")
    if head in _TOP:
        return _TOP[head]
    if head != "blk":
        return ""
    block, layer, *_ = rest.split(".")
    known = {**_LINEAR, **_NORMS}
    return f"model.layers.{block}.{known[layer]}" if layer in known else ""


def narrow(model: nn.Module, dataset: Dataset, *, dtype: torch.dtype) -> None:
    """Make ``model``, a LlamaForCausalLM, compute what ``dataset`` says, in ``dtype``.

    Raises WorkError when a tensor of the dataset has no place or a place gets no tensor.
    """
    places: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in dataset.tensors.items():
        place, part = hf_name(name), name.rpartition(".")[2]
        if not place or part not in _PARTS:
            raise _mismatch(f"tensor {name} has no place in transformers' Llama")
        places.setdefault(place, {})[part] = tensor.to(dtype)
    inputs = _quantisers(dataset, ".q_input")
    outputs = _quantisers(dataset, ".q_output")
    if strange := dataset.quantisers.keys() - _named(dataset, (".q_input", ".q_output")):
        raise _mismatch(f"quantiser {min(strange)} is of a kind that no reference is written for")
    empty = {name.rpartition(".")[0] for name, _ in model.named_parameters()} - places.keys()
    if empty:
        raise _mismatch(f"no tensor for {min(empty)}")
    for place, parts in places.items():
        _put(model, place, parts, quantiser=inputs.get(place))
    if outputs:
        _narrow_attention(model, outputs)


@contextmanager
def widened(model: nn.Module) -> Iterator[None]:
    """A narrowed ``model`` that leaves its activations as they are, as long as this lasts."""
    layers = [one for one in model.modules() if isinstance(one, NarrowedLinear)]
    attended = [one for one in model.modules() if hasattr(one, "quantisers")]
    inputs, outputs = [one.quantiser for one in layers], [one.quantisers for one in attended]
    try:
        for layer in layers:
            layer.quantiser = None
        for attention in attended:
            attention.quantisers = [None] * len(_ATTENDED)
        yield
    finally:
        for layer, given in zip(layers, inputs, strict=True):
            layer.quantiser = given
        for attention, these in zip(attended, outputs, strict=True):
            attention.quantisers = these


def _put(
    model: nn.Module,
    place: str,
    parts: Mapping[str, torch.Tensor],
    *,
    quantiser: Quantiser | None,
) -> None:
    old = model.get_submodule(place)
    weight: Any = old.weight
    if weight.shape != parts["weight"].shape:
        raise _mismatch(f"{place} has shape {tuple(weight.shape)} and not that of the dataset")
    if isinstance(old, nn.Linear):
        new = NarrowedLinear(
            parts["weight"],
            bias=parts.get("bias"),
            premultiply=parts.get("premul_input"),
            quantiser=quantiser,
        )
        model.set_submodule(place, new)
    elif parts.keys() != {"weight"} or quantiser is not None:
        raise _mismatch(f"{place} is no linear layer, but the dataset has more than a weight")
    else:
        weight.data = parts["weight"]


def _narrow_attention(model: Any, outputs: Mapping[str, Quantiser]) -> None:
    """Narrow queries, keys and values of every layer for which ``outputs`` has quantisers."""
    for index, layer in enumerate(model.model.layers):
        layer.self_attn.quantisers = [
            outputs.get(f"model.layers.{index}.{_LINEAR[name]}") for name in _ATTENDED
        ]
    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, eager_mask)
    model.config._attn_implementation = ATTENTION


def _attention(module: Any, query: Any, key: Any, value: Any, *rest: Any, **more: Any) -> Any:
    """The usual attention over what the layer's quantisers leave of its inputs."""
    given = zip(module.quantisers, (query, key, value), strict=True)
    narrowed = [one.fake(tensor) if one else tensor for one, tensor in given]
    return eager_attention_forward(module, *narrowed, *rest, **more)


def _quantisers(dataset: Dataset, suffix: str) -> dict[str, Quantiser]:
    return {hf_name(name): dataset.quantisers[name] for name in sorted(_named(dataset, (suffix,)))}


def _named(dataset: Dataset, suffixes: tuple[str, ...]) -> set[str]:
    return {name for name in dataset.quantisers if name.endswith(suffixes) and hf_name(name)}


def _mismatch(message: str) -> WorkError:
    return WorkError(
        FailureClass.EXPORT,
        f"the quantised dataset and config.json do not fit: {message}",
        hint="quantise the checkpoint that this config.json belongs to",
    )
