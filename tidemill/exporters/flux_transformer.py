"""FLUX.1's transformer (diffusers' FluxTransformer2DModel): packed latents → velocity.

Inputs: ``hidden_states`` [batch, patches, channels], ``encoder_hidden_states`` [batch, tokens,
width], ``pooled_projections`` [batch, width], ``timestep`` [batch] from 0 to 1, ``img_ids``
[patches, 3] and ``txt_ids`` [tokens, 3] (places, from which the rotary tables are computed), and,
where config.json says ``guidance_embeds`` (dev, not schnell), ``guidance`` [batch]. Output: like
``hidden_states``.
"""

import torch
from diffusers import FluxTransformer2DModel
from torch import nn

from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Exporter, Spec
from tidemill.exporters.checks import require_inputs
from tidemill.exporters.diffusion import made_of, settings_of
from tidemill.exporters.torch_exporter import TorchExporter

INPUTS = (
    "hidden_states",
    "encoder_hidden_states",
    "pooled_projections",
    "timestep",
    "img_ids",
    "txt_ids",
)


class Denoiser(nn.Module):
    """One prediction a row."""

    def __init__(self, transformer: nn.Module, *, names: tuple[str, ...]) -> None:
        super().__init__()
        self.transformer = transformer
        self.names = names

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        """The predicted velocity."""
        given = dict(zip(self.names, arrays, strict=True))
        velocity: torch.Tensor = self.transformer(**given, return_dict=False)[0]
        return velocity


class FluxTransformer(TorchExporter):
    """Architecture from the transformer's config.json."""

    def architecture(self, spec: Spec) -> Architecture:
        """The transformer behind the inputs that config.json makes it need."""
        transformer = made_of(FluxTransformer2DModel, settings_of(FluxTransformer2DModel, spec))
        names = (*INPUTS, "guidance") if transformer.config.guidance_embeds else INPUTS
        require_inputs(spec, names)
        return Architecture(program=Denoiser(transformer, names=names), named=transformer)


EXPORTER: Exporter = FluxTransformer()
