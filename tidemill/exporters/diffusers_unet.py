"""Denoising UNets with text conditions (diffusers' UNet2DConditionModel): latents → noise.

Inputs: ``sample`` [rows, channels, height/8, width/8], ``timestep`` [1], ``encoder_hidden_states``
[rows, tokens, width of the text encoders]; a UNet of Stable Diffusion XL takes two more, the pooled
state ``text_embeds`` [rows, its width] and ``time_ids`` [rows, 6] (height and width of the
original, top and left of the crop, height and width of the target, in pixels). Output: like
``sample``. What the model was trained to predict (noise or velocity) is a matter of the scheduler.

With option ``guidance`` classifier-free guidance is inside: a last input ``guidance_scale`` [1];
``sample`` has one row per image and the conditions have two, all unconditional ones first.
"""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Exporter, Spec
from tidemill.exporters.checks import require_inputs
from tidemill.exporters.diffusion import component_of
from tidemill.exporters.torch_exporter import TorchExporter

STATES = "encoder_hidden_states"
#: The conditions beside the states, and what diffusers calls the embedding of these two.
ADDED = ("text_embeds", "time_ids")
TEXT_TIME = "text_time"
SCALE = "guidance_scale"


class Denoiser(nn.Module):
    """One prediction a row; with ``guidance`` one an image, from two rows of conditions."""

    def __init__(self, unet: nn.Module, *, guidance: bool) -> None:
        super().__init__()
        self.unet = unet
        self.guidance = guidance

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        """The prediction; guided, it is unconditional + scale × (conditional - unconditional)."""
        if not self.guidance:
            sample, timestep, *conditions = arrays
            return self.predicted(sample, timestep, conditions)
        sample, timestep, *conditions, scale = arrays
        both = self.predicted(torch.cat([sample, sample]), timestep, conditions)
        without, given = both.chunk(2)
        guided: torch.Tensor = without + scale * (given - without)
        return guided

    def predicted(
        self, sample: torch.Tensor, timestep: torch.Tensor, conditions: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """The UNet's own prediction for every row."""
        states, *added = conditions
        named = dict(zip(ADDED, added, strict=True)) if added else None
        noise: torch.Tensor = self.unet(
            sample, timestep, states, added_cond_kwargs=named, return_dict=False
        )[0]
        return noise


class DiffusersUnet(TorchExporter):
    """Architecture from the UNet's config.json."""

    def architecture(self, spec: Spec) -> Architecture:
        """The UNet behind the declared inputs."""
        guidance = bool(spec.options.get("guidance", False))
        unet, conditions = unet_of(spec)
        last = (SCALE,) if guidance else ()
        require_inputs(spec, ("sample", "timestep", *conditions, *last))
        return Architecture(program=Denoiser(unet, guidance=guidance), named=unet)


def unet_of(spec: Spec) -> tuple[Any, tuple[str, ...]]:
    """The UNet of ``spec`` and the names of its conditions, in their order.

    Raises WorkError on a UNet with conditions other than the text's and those of SDXL.
    """
    unet = component_of(UNet2DConditionModel, spec)
    refused = [
        name
        for name in ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type")
        if unet.config.get(name) not in {None, TEXT_TIME}
    ]
    if refused:
        raise WorkError(
            FailureClass.EXPORT,
            f"this UNet takes conditions beside the text states ({', '.join(refused)})",
            hint="this architecture needs an exporter of its own",
        )
    return unet, (STATES, *ADDED) if unet.config.addition_embed_type == TEXT_TIME else (STATES,)


EXPORTER: Exporter = DiffusersUnet()
