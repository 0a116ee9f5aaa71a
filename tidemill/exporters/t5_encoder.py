"""T5's encoder (transformers): ``input_ids`` [batch, tokens] i64 → states [batch, tokens, width].

No mask: the diffusion pipelines attend to padding too. Float16 is not on offer, as transformers
itself keeps a third of the layers in float32 there: their sums overflow.
"""

from typing import ClassVar

import torch
from torch import nn
from transformers import T5Config, T5EncoderModel

from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Exporter, Spec
from tidemill.exporters.checks import require_inputs
from tidemill.exporters.huggingface import configuration_of
from tidemill.exporters.torch_exporter import TorchExporter


class States(nn.Module):
    """The last layer's states, normalised."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        """States of every token."""
        (ids,) = arrays
        states: torch.Tensor = self.model(input_ids=ids, return_dict=True).last_hidden_state
        return states


class T5Encoder(TorchExporter):
    """Architecture from config.json; the decoder is left out."""

    ignored: ClassVar[tuple[str, ...]] = ("decoder.*", "lm_head.*")

    def architecture(self, spec: Spec) -> Architecture:
        """The encoder behind its one input."""
        require_inputs(spec, ("input_ids",))
        model = t5_of(spec)
        return Architecture(program=States(model), named=model)


def t5_of(spec: Spec) -> nn.Module:
    """The encoder that config.json describes. Raises WorkError when it is of another family."""
    model: nn.Module = T5EncoderModel._from_config(
        configuration_of(T5Config, spec), attn_implementation="eager"
    )
    return model


EXPORTER: Exporter = T5Encoder()
