"""Whisper's decoder as one stateless pass: ids [batch, n] i64 and states → logits of each position.

No cache: every call computes all positions, and the encoder's states anew for each layer. The
output layer is the token embedding.
"""

from typing import ClassVar

import torch
from torch import nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperDecoder

from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Exporter
from tidemill.exporters.whisper import WhisperExporter, first_of


class Logits(nn.Module):
    """Token ids and the encoder's states to logits."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        """Logits of every position."""
        ids, states = arrays
        hidden = first_of(
            self.decoder, input_ids=ids, encoder_hidden_states=states, use_cache=False
        )
        return nn.functional.linear(hidden, self.decoder.embed_tokens.weight)


class WhisperDecoderExporter(WhisperExporter):
    """The half that writes."""

    half: ClassVar[str] = "decoder"
    last_norm: ClassVar[str] = "ln"
    takes: ClassVar[tuple[str, ...]] = ("ids", "states")
    ignored: ClassVar[tuple[str, ...]] = ("encoder.*", "model.encoder.*", "proj_out.weight")

    def module(self, config: WhisperConfig) -> Architecture:
        """The decoder of transformers; its output layer is tied."""
        decoder = WhisperDecoder(config)
        return Architecture(program=Logits(decoder), named=decoder)


EXPORTER: Exporter = WhisperDecoderExporter()
