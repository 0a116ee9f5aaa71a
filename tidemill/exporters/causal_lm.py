"""Any transformers causal language model as one stateless pass: ids [batch, sequence] i64 → logits.

No cache: every call computes all positions. The logits are [batch, sequence, vocabulary] in the
variant's dtype.
"""

from typing import ClassVar

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Exporter, Spec
from tidemill.exporters.huggingface import configuration, model_of
from tidemill.exporters.torch_exporter import TorchExporter


class Logits(nn.Module):
    """Token ids to logits, without a cache."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        """Logits of every position."""
        (ids,) = arrays
        logits: torch.Tensor = self.model(input_ids=ids, use_cache=False, return_dict=False)[0]
        return logits


def require_ids(spec: Spec) -> None:
    """Raises WorkError unless the one input is ``input_ids``."""
    names = [item.name for item in spec.inputs]
    if names != ["input_ids"]:
        raise WorkError(
            FailureClass.EXPORT,
            f"a causal language model takes input_ids alone, not {names}",
            hint="correct `inputs` in the manifest",
        )


class CausalLm(TorchExporter):
    """Architecture from config.json."""

    ignored: ClassVar[tuple[str, ...]] = ("*.attn.bias", "*.attn.masked_bias", "*.inv_freq")

    def architecture(self, spec: Spec) -> Architecture:
        """The model of config.json."""
        require_ids(spec)
        model = self.model(spec)
        return Architecture(program=Logits(model), named=model)

    def model(self, spec: Spec) -> nn.Module:
        """The model of transformers by itself, whatever is made of it."""
        return model_of(AutoModelForCausalLM, configuration(spec))

    def aliases(self, spec: Spec, *, name: str) -> tuple[str, ...]:  # noqa: ARG002
        """Checkpoints of the bare model lack the first part of each name."""
        _, _, rest = name.partition(".")
        return (rest,) if rest else ()


EXPORTER: Exporter = CausalLm()
