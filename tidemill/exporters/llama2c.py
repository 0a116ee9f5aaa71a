"""Llama checkpoints in llama2.c's raw file: a header of seven int32, then float32 arrays.

Order of the arrays, L layers: token embedding; attention norms; wq; wk; wv; wo (each L matrices);
ffn norms; w1; w2; w3; final norm; two rotary tables that nobody needs; and, when the header's
vocabulary is negative, the classifier. Rows of wq and wk pair neighbours for the rotation,
transformers pairs halves; so their rows are reordered while reading. Later bytes (some files
carry the tokenizer) are not read.

The architecture comes from ``options`` (dim, hidden_dim, layers, heads, kv_heads, vocab, max_seq,
and ``shared_classifier``, true unless told otherwise), so that export needs no weights. ``pack``
compares them to the header.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Exporter, Spec
from tidemill.exporters.causal_lm import Logits, require_ids
from tidemill.exporters.huggingface import model_of
from tidemill.exporters.parameters import ParameterSource, Shape, read_pieces
from tidemill.exporters.torch_exporter import TorchExporter

HEADER = struct.Struct("<7i")
SIZES = ("dim", "hidden_dim", "layers", "heads", "kv_heads", "vocab", "max_seq")
#: llama2.c fixes these two (run.c: rmsnorm, and the rotation in forward).
NORM_EPSILON = 1e-5
ROTARY_BASE = 10000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The numbers of the header. ``shared`` says that embedding and classifier are one tensor."""

    dim: int
    hidden_dim: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    max_seq: int
    shared: bool

    @property
    def head(self) -> int:
        """The width of one head."""
        return self.dim // self.heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Slab:
    """One tensor in the file. ``heads`` is 0, or the number of heads whose rows are reordered."""

    offset: int
    shape: Shape
    heads: int = 0


def sizes_of(options: Mapping[str, Any]) -> Sizes:
    """The architecture that the manifest declares. Raises WorkError naming what is missing."""
    missing = [name for name in SIZES if name not in options]
    if missing:
        raise WorkError(
            FailureClass.EXPORT,
            f"llama2c needs options {', '.join(missing)}",
            hint="take them from the checkpoint's header (seven int32)",
        )
    numbers = {name: int(options[name]) for name in SIZES}
    return Sizes(**numbers, shared=bool(options.get("shared_classifier", True)))


def slabs(sizes: Sizes) -> dict[str, Slab]:
    """Where every parameter lies in the file, by its transformers name."""
    found = _all_slabs(sizes)
    del found["rotary"]
    return found


def end_of(sizes: Sizes) -> int:
    """Where the arrays end in the file, in bytes."""
    return max(
        slab.offset + 4 * torch.Size(slab.shape).numel() for slab in _all_slabs(sizes).values()
    )


def _all_slabs(sizes: Sizes) -> dict[str, Slab]:
    found: dict[str, Slab] = {}
    place = HEADER.size

    def take(name: str, *shape: int, heads: int = 0) -> None:
        nonlocal place
        found[name] = Slab(offset=place, shape=shape, heads=heads)
        place += 4 * torch.Size(shape).numel()

    def take_layers(name: str, *shape: int, heads: int = 0) -> None:
        for layer in range(sizes.layers):
            take(f"model.layers.{layer}.{name}.weight", *shape, heads=heads)

    dim, hidden, keys = sizes.dim, sizes.hidden_dim, sizes.kv_heads * sizes.head
    take("model.embed_tokens.weight", sizes.vocab, dim)
    take_layers("input_layernorm", dim)
    take_layers("self_attn.q_proj", dim, dim, heads=sizes.heads)
    take_layers("self_attn.k_proj", keys, dim, heads=sizes.kv_heads)
    take_layers("self_attn.v_proj", keys, dim)
    take_layers("self_attn.o_proj", dim, dim)
    take_layers("post_attention_layernorm", dim)
    take_layers("mlp.gate_proj", hidden, dim)
    take_layers("mlp.down_proj", dim, hidden)
    take_layers("mlp.up_proj", hidden, dim)
    take("model.norm.weight", dim)
    take("rotary", 2, sizes.max_seq, sizes.head // 2)
    if not sizes.shared:
        take("lm_head.weight", sizes.vocab, dim)
    return found


class Llama2cSource:
    """The file as named tensors. Raises WorkError when its header is not that of ``sizes``."""

    def __init__(self, path: Path, *, sizes: Sizes, label: str) -> None:
        self._path = path
        self._slabs = slabs(sizes)
        self._width = sizes.head
        with path.open("rb") as stream:
            data = stream.read(HEADER.size)
        if len(data) < HEADER.size:
            raise WorkError(FailureClass.EXPORT, f"{label} is too short for a llama2.c checkpoint")
        *plain, vocab, max_seq = HEADER.unpack(data)
        wanted = tuple(getattr(sizes, name) for name in SIZES)
        found = (*plain, abs(vocab), max_seq)
        if found != wanted or (vocab > 0) != sizes.shared:
            raise WorkError(
                FailureClass.EXPORT,
                f"{label} is a checkpoint of {_words(found, shared=vocab > 0)};"
                f" the manifest says {_words(wanted, shared=sizes.shared)}",
                hint="correct `options` in the manifest",
            )

    def shapes(self) -> Mapping[str, Shape]:
        """Every parameter and its shape."""
        return {name: slab.shape for name, slab in self._slabs.items()}

    def pieces(self, name: str) -> Iterator[torch.Tensor]:
        """The elements in transformers' order, one head at a time where they are reordered."""
        slab = self._slabs[name]
        count = torch.Size(slab.shape).numel()
        if not slab.heads:
            yield from read_pieces(self._path, offset=slab.offset, count=count, dtype=torch.float32)
            return
        part = count // slab.heads
        for head in range(slab.heads):
            start = slab.offset + 4 * part * head
            rows = torch.cat(
                [*read_pieces(self._path, offset=start, count=part, dtype=torch.float32)]
            )
            yield rows.view(self._width // 2, 2, -1).transpose(0, 1).reshape(-1)


class Llama2c(TorchExporter):
    """Llama from llama2.c's raw checkpoints; input_ids [batch, sequence] → logits."""

    def architecture(self, spec: Spec) -> Architecture:
        """A transformers Llama with the sizes of ``options``."""
        require_ids(spec)
        model = self.model(spec)
        return Architecture(program=Logits(model), named=model)

    def model(self, spec: Spec) -> nn.Module:
        """The model of transformers by itself, whatever is made of it."""
        sizes = sizes_of(spec.options)
        config = LlamaConfig(
            hidden_size=sizes.dim,
            intermediate_size=sizes.hidden_dim,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            num_key_value_heads=sizes.kv_heads,
            vocab_size=sizes.vocab,
            max_position_embeddings=sizes.max_seq,
            rms_norm_eps=NORM_EPSILON,
            rope_theta=ROTARY_BASE,
            tie_word_embeddings=sizes.shared,
        )
        return model_of(AutoModelForCausalLM, config)

    def weights(self, spec: Spec) -> ParameterSource:
        """The one raw file."""
        if len(spec.weights) != 1:
            raise WorkError(
                FailureClass.EXPORT,
                f"llama2c reads one weights file, {len(spec.weights)} are declared",
                hint="correct `weights` in the manifest",
            )
        ((label, path),) = spec.weights.items()
        return Llama2cSource(path, sizes=sizes_of(spec.options), label=label)


def _words(numbers: tuple[int, ...], *, shared: bool) -> str:
    named = ", ".join(f"{name} {number}" for name, number in zip(SIZES, numbers, strict=True))
    return f"{named}, shared_classifier {str(shared).lower()}"


EXPORTER: Exporter = Llama2c()
