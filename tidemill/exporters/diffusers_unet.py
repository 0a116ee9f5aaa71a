"""Denoising UNets with text conditions (diffusers' UNet2DConditionModel): latents → noise.

Inputs: ``sample`` [rows, channels, height/8, width/8], ``timestep`` [1], ``encoder_hidden_states``
[rows, tokens, width of the text encoder]. Output: like ``sample``. What the model was trained to
predict (noise or velocity) is a matter of the scheduler.

With option ``guidance`` classifier-free guidance is inside: a fourth input ``guidance_scale`` [1];
``sample`` has one row per image and ``encoder_hidden_states`` two, all unconditional ones first.
"""

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Exporter, Spec
from tidemill.exporters.checks import require_inputs
from tidemill.exporters.diffusion import component_of
from tidemill.exporters.torch_exporter import TorchExporter

INPUTS = ("sample", "timestep", "encoder_hidden_states")


class Denoiser(nn.Module):
    """One prediction a row."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        """The prediction for every row of latents."""
        sample, timestep, states = arrays
        noise: torch.Tensor = self.unet(sample, timestep, states, return_dict=False)[0]
        return noise


class GuidedDenoiser(nn.Module):
    """One prediction an image, from a prediction without and one with its text."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        """The guided prediction: unconditional + scale × (conditional - unconditional)."""
        sample, timestep, states, scale = arrays
        both = self.unet(torch.cat([sample, sample]), timestep, states, return_dict=False)[0]
        without, given = both.chunk(2)
        guided: torch.Tensor = without + scale * (given - without)
        return guided


class DiffusersUnet(TorchExporter):
    """Architecture from the UNet's config.json."""

    def architecture(self, spec: Spec) -> Architecture:
        """The UNet behind the declared inputs."""
        guidance = bool(spec.options.get("guidance", False))
        require_inputs(spec, (*INPUTS, "guidance_scale") if guidance else INPUTS)
        unet = component_of(UNet2DConditionModel, spec)
        conditions = [
            name
            for name in ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type")
            if unet.config.get(name) is not None
        ]
        if conditions:
            raise WorkError(
                FailureClass.EXPORT,
                f"this UNet takes conditions beside the text states ({', '.join(conditions)})",
                hint="this architecture needs an exporter of its own",
            )
        return Architecture(
            program=GuidedDenoiser(unet) if guidance else Denoiser(unet), named=unet
        )


EXPORTER: Exporter = DiffusersUnet()
