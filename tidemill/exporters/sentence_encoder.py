"""Sentence encoders: a transformers encoder, pooled and normalised to one embedding a sentence.

Inputs: input_ids, attention_mask and, where wanted, token_type_ids, each [batch, sequence] i64.
Output: [batch, hidden] in the variant's dtype. Options: ``pooling`` (``mean`` or ``cls``),
``normalize``.
"""

from typing import ClassVar, Literal

import torch
from torch import nn
from transformers import AutoModel

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Exporter, Spec
from tidemill.exporters.huggingface import configuration, model_of
from tidemill.exporters.torch_exporter import TorchExporter

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
Pooling = Literal["mean", "cls"]


class Encoder(nn.Module):
    """Token arrays to embeddings. Pooling is in float32, as its sums are long."""

    def __init__(
        self, model: nn.Module, *, names: tuple[str, ...], pooling: Pooling, normalize: bool
    ) -> None:
        super().__init__()
        self.model = model
        self.names = names
        self.pooling = pooling
        self.normalize = normalize

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        """One row per sentence; a row without any token gives zeros."""
        given = dict(zip(self.names, arrays, strict=True))
        hidden = self.model(**given, return_dict=False)[0]
        wide = hidden.to(torch.float32)
        if self.pooling == "cls":
            pooled = wide[:, 0]
        else:
            kept = given["attention_mask"].unsqueeze(-1).to(torch.float32)
            pooled = (wide * kept).sum(1) / kept.sum(1).clamp(min=1.0)
        if self.normalize:
            pooled = nn.functional.normalize(pooled, dim=-1)
        return pooled.to(hidden.dtype)


class SentenceEncoder(TorchExporter):
    """BERT and its kin."""

    ignored: ClassVar[tuple[str, ...]] = ("*pooler.*", "*position_ids", "cls.*", "lm_head.*")

    def architecture(self, spec: Spec) -> Architecture:
        """The encoder of config.json behind the declared inputs."""
        names = tuple(item.name for item in spec.inputs)
        if not set(INPUTS[:2]) <= set(names) <= set(INPUTS):
            raise WorkError(
                FailureClass.EXPORT,
                "a sentence encoder takes input_ids, attention_mask [, token_type_ids],"
                f" not {list(names)}",
                hint="correct `inputs` in the manifest",
            )
        pooling = spec.options.get("pooling", "mean")
        if pooling not in ("mean", "cls"):
            raise WorkError(
                FailureClass.EXPORT,
                f"options.pooling is {pooling!r}; it can be mean or cls",
                hint="correct it in the manifest",
            )
        model = model_of(AutoModel, configuration(spec))
        program = Encoder(
            model,
            names=names,
            pooling=pooling,
            normalize=bool(spec.options.get("normalize", True)),
        )
        return Architecture(program=program, named=model)

    def aliases(self, spec: Spec, *, name: str) -> tuple[str, ...]:
        """Checkpoints of a model with a head put the encoder's name before each tensor."""
        kind = configuration(spec).model_type
        return (f"{kind}.{name}",)


EXPORTER: Exporter = SentenceEncoder()
