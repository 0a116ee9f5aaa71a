"""Score networks of 21cmPSDenoiser (Breitman et al. 2025): a U-Net over small power spectra.

Inputs: ``sample`` and ``condition`` [batch, 1, height, width], and ``time`` [batch], from 0 to 999.
Output: the estimate of the noise, like ``sample``. Residual blocks of convolutions whose kernels
are centred and rescaled at every call, linear attention (Shen et al. 2021) on every level and full
attention in the middle. The widths are those of ``options``: ``first``, and ``width`` times each of
``multiples``; sides are halved between them.

Written after the published weights' names and the package's behaviour, in which kernels are
multiplied by their deviation where weight standardisation (Qiao et al. 2019) divides by it; the
weights were trained so.
"""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Exporter, Spec
from tidemill.exporters.checks import require_inputs
from tidemill.exporters.torch_exporter import TorchExporter

HEADS, HEAD_WIDTH = 4, 32
TIME_WIDTH = 128
GROUPS = 4
KERNEL_EPSILON = 1e-5


class ScaledConv(nn.Conv2d):
    """A convolution of 3 × 3 whose kernels are centred and multiplied by their own deviation."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The convolution."""
        centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        variance = (centred * centred).mean((1, 2, 3), keepdim=True)
        kernels = centred * (variance + KERNEL_EPSILON).sqrt()
        return functional.conv2d(image, kernels, self.bias, padding=1)


class Half(nn.Module):
    """Half of a residual block."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.proj = ScaledConv(width_in, width_out, kernel_size=3, padding=1)
        self.norm = nn.GroupNorm(GROUPS, width_out)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Before the activation, which the block puts behind its modulation by time."""
        normed: torch.Tensor = self.norm(self.proj(image))
        return normed


class Block(nn.Module):
    """Two convolutions past a shortcut; time scales and shifts after the first."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(TIME_WIDTH, 2 * width_out))
        self.block1 = Half(width_in, width_out)
        self.block2 = Half(width_out, width_out)
        same = width_in == width_out
        self.res_conv = nn.Identity() if same else nn.Conv2d(width_in, width_out, kernel_size=1)

    def forward(self, image: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """The block."""
        scale, shift = self.mlp(time)[:, :, None, None].chunk(2, dim=1)
        first = functional.silu(self.block1(image) * (scale + 1) + shift)
        second = functional.silu(self.block2(first))
        result: torch.Tensor = second + self.res_conv(image)
        return result


class FullAttention(nn.Module):
    """Every pixel looks at every pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_qkv = nn.Conv2d(width, 3 * HEADS * HEAD_WIDTH, kernel_size=1, bias=False)
        self.to_out = nn.Conv2d(HEADS * HEAD_WIDTH, width, kernel_size=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The attention."""
        query, key, value = _heads(self.to_qkv(image))
        scores = query.transpose(-1, -2) @ key * HEAD_WIDTH**-0.5
        mixed = value @ scores.softmax(-1).transpose(-1, -2)
        result: torch.Tensor = self.to_out(mixed.reshape(len(image), -1, *image.shape[2:]))
        return result


class LinearAttention(nn.Module):
    """Attention whose cost is linear in pixels: keys and values meet first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_qkv = nn.Conv2d(width, 3 * HEADS * HEAD_WIDTH, kernel_size=1, bias=False)
        out = nn.Conv2d(HEADS * HEAD_WIDTH, width, kernel_size=1)
        self.to_out = nn.Sequential(out, nn.GroupNorm(1, width))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The attention."""
        query, key, value = _heads(self.to_qkv(image))
        context = key.softmax(-1) @ value.transpose(-1, -2)
        mixed = context.transpose(-1, -2) @ (query.softmax(-2) * HEAD_WIDTH**-0.5)
        result: torch.Tensor = self.to_out(mixed.reshape(len(image), -1, *image.shape[2:]))
        return result


class Normed(nn.Module):
    """Attention behind a norm, past a shortcut. ``fn`` twice over is how the weights are named."""

    def __init__(self, attention: nn.Module, width: int) -> None:
        super().__init__()
        self.fn = nn.Module()
        self.fn.fn = attention
        self.fn.norm = nn.GroupNorm(1, width)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The image, and what attention adds."""
        added: torch.Tensor = self.fn.fn(self.fn.norm(image))
        return image + added


class Time(nn.Module):
    """Sines and cosines of a time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        rates = torch.exp(torch.arange(half) * (-math.log(10000) / (half - 1)))
        self.register_buffer("rates", rates, persistent=False)

    def forward(self, time: torch.Tensor) -> torch.Tensor:
        """Features [batch, width]."""
        angles = time[:, None] * self.rates.to(time.dtype)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class ScoreUnet(nn.Module):
    """The network."""

    def __init__(self, *, first: int, width: int, multiples: tuple[int, ...]) -> None:
        super().__init__()
        widths = [first, *(width * multiple for multiple in multiples)]
        levels = list(pairwise(widths))
        self.init_conv = nn.Conv2d(2, first, kernel_size=1)
        dense = [nn.Linear(width, TIME_WIDTH), nn.GELU(), nn.Linear(TIME_WIDTH, TIME_WIDTH)]
        self.time_mlp = nn.Sequential(Time(width), *dense)
        last = [*([False] * (len(levels) - 1)), True]
        self.downs = nn.ModuleList(
            _level((own, own), own, change=_down(own, below, last=end))
            for (own, below), end in zip(levels, last, strict=True)
        )
        self.mid_block1 = Block(widths[-1], widths[-1])
        self.mid_attn = Normed(FullAttention(widths[-1]), widths[-1])
        self.mid_block2 = Block(widths[-1], widths[-1])
        self.ups = nn.ModuleList(
            _level((below + own, below), below, change=_up(below, own, last=end))
            for (own, below), end in zip(reversed(levels), last, strict=True)
        )
        self.final_res_block = Block(2 * first, width)
        self.final_conv = nn.ConvTranspose2d(width, 1, kernel_size=1)

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        """The noise in ``sample``."""
        sample, condition, time = arrays
        begun = image = self.init_conv(torch.cat([sample, condition], dim=1))
        features = self.time_mlp(time)
        kept: list[torch.Tensor] = []
        for level in self.downs:
            block1, block2, attention, change = _parts(level)
            kept.append(block1(image, features))
            kept.append(attention(block2(kept[-1], features)))
            image = change(kept[-1])
        image = self.mid_attn(self.mid_block1(image, features))
        image = self.mid_block2(image, features)
        for level in self.ups:
            block1, block2, attention, change = _parts(level)
            image = block1(torch.cat([image, kept.pop()], dim=1), features)
            image = attention(block2(torch.cat([image, kept.pop()], dim=1), features))
            image = change(image)
        image = self.final_res_block(torch.cat([image, begun], dim=1), features)
        noise: torch.Tensor = self.final_conv(image)
        return noise


def _level(blocks: tuple[int, int], width: int, /, *, change: nn.Module) -> nn.ModuleList:
    """Two blocks, attention, and the change of size behind them."""
    width_in, width_out = blocks
    attention = Normed(LinearAttention(width), width)
    return nn.ModuleList(
        [Block(width_in, width_out), Block(width_in, width_out), attention, change]
    )


def _parts(level: Any) -> tuple[Any, Any, Any, Any]:
    block1, block2, attention, change = level
    return block1, block2, attention, change


def _down(width_in: int, width_out: int, /, *, last: bool) -> nn.Module:
    if last:
        return nn.Conv2d(width_in, width_out, kernel_size=3, padding=1)
    # Four neighbours become channels, so that nothing is lost.
    conv = nn.Conv2d(4 * width_in, width_out, kernel_size=1)
    return nn.Sequential(nn.PixelUnshuffle(2), conv)


def _up(width_in: int, width_out: int, /, *, last: bool) -> nn.Module:
    conv = nn.Conv2d(width_in, width_out, kernel_size=3, padding=1)
    return conv if last else nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), conv)


def _heads(joined: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Queries, keys and values [batch, heads, width of a head, pixels]."""
    parts = joined.chunk(3, dim=1)
    return tuple(part.reshape(len(part), HEADS, HEAD_WIDTH, -1) for part in parts)


class ScoreUnetExporter(TorchExporter):
    """The family."""

    def architecture(self, spec: Spec) -> Architecture:
        """The network of ``options``."""
        require_inputs(spec, ("sample", "condition", "time"))
        multiples = tuple(spec.options.get("multiples", (1, 2, 4, 8)))
        if min(multiples, default=0) < 1:
            raise WorkError(
                FailureClass.EXPORT,
                f"options.multiples is {list(multiples)}; it is a width for every level",
                hint="leave it out for the published weights",
            )
        model = ScoreUnet(
            first=int(spec.options.get("first", 16)),
            width=int(spec.options.get("width", 32)),
            multiples=multiples,
        )
        return Architecture(program=model, named=model)


EXPORTER: Exporter = ScoreUnetExporter()
