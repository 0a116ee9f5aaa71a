"""Whisper's encoder: log_mel [batch, bins, frames] → states [batch, frames / 2, width]."""

from typing import ClassVar

import torch
from torch import nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Exporter
from tidemill.exporters.whisper import WhisperExporter, first_of


class States(nn.Module):
    """Log-mel features to the states that the decoder looks at."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        """The last hidden states."""
        (features,) = arrays
        return first_of(self.encoder, input_features=features)


class WhisperEncoderExporter(WhisperExporter):
    """The half that hears."""

    half: ClassVar[str] = "encoder"
    last_norm: ClassVar[str] = "ln_post"
    takes: ClassVar[tuple[str, ...]] = ("log_mel",)
    ignored: ClassVar[tuple[str, ...]] = ("decoder.*", "model.decoder.*", "proj_out.weight")

    def module(self, config: WhisperConfig) -> Architecture:
        """The encoder of transformers."""
        encoder = WhisperEncoder(config)
        return Architecture(program=States(encoder), named=encoder)


EXPORTER: Exporter = WhisperEncoderExporter()
