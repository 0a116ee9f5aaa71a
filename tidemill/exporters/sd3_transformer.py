"""The transformer of Stable Diffusion 3 and 3.5 (diffusers' SD3Transformer2DModel).

Predicts the velocity of latents.

Inputs: ``hidden_states`` [rows, channels, height/8, width/8], ``timestep`` [rows],
``encoder_hidden_states`` [rows, tokens, width], ``pooled_projections`` [rows, width]. Output: like
``hidden_states``. Declare the timestep f32: times between whole numbers do not fit half types.

With option ``guidance`` classifier-free guidance is inside: a fifth input ``guidance_scale`` [1];
``hidden_states`` and ``timestep`` have one row per image, the states and pooled states two, all
unconditional ones first.
"""

import torch
from diffusers import SD3Transformer2DModel
from torch import nn

from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Exporter, Spec
from tidemill.exporters.checks import require_inputs
from tidemill.exporters.diffusion import made_of, settings_of
from tidemill.exporters.torch_exporter import TorchExporter

INPUTS = ("hidden_states", "timestep", "encoder_hidden_states", "pooled_projections")


class Denoiser(nn.Module):
    """One prediction a row."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        """The predicted velocity."""
        latents, timestep, states, pooled = arrays
        velocity: torch.Tensor = self.transformer(
            hidden_states=latents,
            timestep=timestep,
            encoder_hidden_states=states,
            pooled_projections=pooled,
            return_dict=False,
        )[0]
        return velocity


class GuidedDenoiser(Denoiser):
    """One prediction an image, from a prediction without and one with its text."""

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        """The guided prediction: unconditional + scale × (conditional - unconditional)."""
        latents, timestep, states, pooled, scale = arrays
        both = super().forward(
            torch.cat([latents, latents]), torch.cat([timestep, timestep]), states, pooled
        )
        without, given = both.chunk(2)
        return without + scale * (given - without)


class Sd3Transformer(TorchExporter):
    """Architecture from the transformer's config.json."""

    def architecture(self, spec: Spec) -> Architecture:
        """The transformer behind the declared inputs."""
        guidance = bool(spec.options.get("guidance", False))
        require_inputs(spec, (*INPUTS, "guidance_scale") if guidance else INPUTS)
        transformer = transformer_of(spec)
        kind = GuidedDenoiser if guidance else Denoiser
        return Architecture(program=kind(transformer), named=transformer)


def transformer_of(spec: Spec) -> nn.Module:
    """The transformer that config.json describes. Raises WorkError, see ``component_of``."""
    settings = settings_of(SD3Transformer2DModel, spec)
    # Its places are in the checkpoint. diffusers would compute them first, in 2 GB for 3.5 medium.
    side = settings.get("pos_embed_max_size", 96)
    model = made_of(SD3Transformer2DModel, {**settings, "pos_embed_max_size": 1})
    places = model.pos_embed
    places.pos_embed_max_size = side
    places.pos_embed = torch.empty(1, side * side, places.pos_embed.shape[-1])
    transformer: nn.Module = model
    return transformer


EXPORTER: Exporter = Sd3Transformer()
