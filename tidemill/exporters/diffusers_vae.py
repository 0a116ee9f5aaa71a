"""One half of an autoencoder of images (diffusers' AutoencoderKL).

Option ``direction``: ``decode`` takes ``latents`` [batch, channels, height/8, width/8], as a UNet
works on them, to an image [batch, 3, height, width] of values about -1 to 1; ``encode`` takes
``image`` to the mean of its latents, so it needs no random numbers. The scaling factor and shift of
config.json are inside.
"""

from typing import ClassVar

import torch
from diffusers import AutoencoderKL
from torch import nn

from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Exporter, Spec
from tidemill.exporters.checks import choice, require_inputs
from tidemill.exporters.diffusion import component_of
from tidemill.exporters.torch_exporter import TorchExporter

#: How checkpoints from before diffusers 0.18 call the parts of an attention block.
FORMER_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


class Decoder(nn.Module):
    """Scaled latents to an image."""

    def __init__(self, model: nn.Module, *, scale: float, shift: float) -> None:
        super().__init__()
        self.model = model
        self.scale = scale
        self.shift = shift

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        """One image a row."""
        (latents,) = arrays
        plain = latents / self.scale + self.shift
        image: torch.Tensor = self.model.decode(plain, return_dict=False)[0]
        return image


class Encoder(nn.Module):
    """An image to the mean of its scaled latents."""

    def __init__(self, model: nn.Module, *, scale: float, shift: float) -> None:
        super().__init__()
        self.model = model
        self.scale = scale
        self.shift = shift

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        """Latents of one image a row."""
        (image,) = arrays
        mean: torch.Tensor = self.model.encode(image, return_dict=False)[0].mean
        return (mean - self.shift) * self.scale


class DiffusersVae(TorchExporter):
    """Architecture from the autoencoder's config.json; the other half is left out."""

    ignored: ClassVar[tuple[str, ...]] = ("encoder.*", "decoder.*", "quant_conv.*", "post_quant_*")

    def architecture(self, spec: Spec) -> Architecture:
        """The half that the options ask for."""
        direction = choice(spec, "direction", among=("decode", "encode"))
        require_inputs(spec, ("latents",) if direction == "decode" else ("image",))
        model = component_of(AutoencoderKL, spec)
        kind, idle = (
            (Decoder, ("encoder", "quant_conv"))
            if direction == "decode"
            else (Encoder, ("decoder", "post_quant_conv"))
        )
        for name in idle:
            setattr(model, name, None)
        scale, shift = model.config.scaling_factor, model.config.shift_factor or 0.0
        return Architecture(program=kind(model, scale=scale, shift=shift), named=model)

    def aliases(self, spec: Spec, *, name: str) -> tuple[str, ...]:  # noqa: ARG002
        """Attention blocks had other names once."""
        return tuple(
            name.replace(f".{new}.", f".{former}.")
            for new, former in FORMER_NAMES.items()
            if ".attentions." in name and f".{new}." in name
        )


EXPORTER: Exporter = DiffusersVae()
