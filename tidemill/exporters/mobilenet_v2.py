"""MobileNetV2 image classifier (Sandler et al. 2018), with torchvision's parameter names.

Input: [batch, 3, height, width] in the variant's dtype, normalised as in training; sides
multiples of 32. Output: logits [batch, classes]. Options: ``classes`` (1000) and ``width`` (1.0).
"""

from typing import ClassVar

import torch
from torch import nn

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.architecture import Architecture
from tidemill.exporters.base import Exporter, Spec
from tidemill.exporters.torch_exporter import TorchExporter

#: Table 2 of the paper: expansion, output channels, repetitions, first stride.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
FIRST_CHANNELS = 32
LAST_CHANNELS = 1280
CHANNEL_STEP = 8
IMAGE_RANK = 4


def channels(count: float) -> int:
    """``count`` as a multiple of 8, never more than a tenth below (the paper's code)."""
    rounded = max(CHANNEL_STEP, int(count + CHANNEL_STEP / 2) // CHANNEL_STEP * CHANNEL_STEP)
    return rounded + CHANNEL_STEP if rounded < 0.9 * count else rounded


class FrozenNorm(nn.Module):
    """Batch normalisation with stored statistics, which come with the weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width))
        self.register_buffer("running_mean", torch.empty(width))
        self.register_buffer("running_var", torch.empty(width))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalise each channel."""
        return nn.functional.batch_norm(
            image, self.running_mean, self.running_var, self.weight, self.bias, training=False
        )


class ConvNorm(nn.Sequential):
    """Convolution, normalisation, ReLU6."""

    def __init__(
        self, width_in: int, width_out: int, *, kernel: int = 3, stride: int = 1, groups: int = 1
    ) -> None:
        convolution = nn.Conv2d(
            width_in,
            width_out,
            kernel_size=kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=False,
        )
        super().__init__(convolution, FrozenNorm(width_out), nn.ReLU6())


class Block(nn.Module):
    """Inverted residual: widen, filter per channel, narrow; plus its input if shapes agree."""

    def __init__(self, width_in: int, width_out: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        inner = width_in * expansion
        self.residual = stride == 1 and width_in == width_out
        widen = [ConvNorm(width_in, inner, kernel=1)] if expansion > 1 else []
        self.conv = nn.Sequential(
            *widen,
            ConvNorm(inner, inner, stride=stride, groups=inner),
            nn.Conv2d(inner, width_out, kernel_size=1, bias=False),
            FrozenNorm(width_out),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The block."""
        result: torch.Tensor = self.conv(image)
        return image + result if self.residual else result


class MobileNetV2(nn.Module):
    """The network."""

    def __init__(self, *, classes: int, width: float) -> None:
        super().__init__()
        size = channels(FIRST_CHANNELS * width)
        last = channels(LAST_CHANNELS * max(1.0, width))
        layers: list[nn.Module] = [ConvNorm(3, size, stride=2)]
        for expansion, wanted, repetitions, first_stride in STAGES:
            for place in range(repetitions):
                stride = first_stride if place == 0 else 1
                layers.append(
                    Block(size, channels(wanted * width), stride=stride, expansion=expansion)
                )
                size = channels(wanted * width)
        layers.append(ConvNorm(size, last, kernel=1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        """Image to logits."""
        (image,) = arrays
        logits: torch.Tensor = self.classifier(self.features(image).mean((2, 3)))
        return logits


class MobileNetV2Exporter(TorchExporter):
    """The family."""

    ignored: ClassVar[tuple[str, ...]] = ("*.num_batches_tracked",)

    def architecture(self, spec: Spec) -> Architecture:
        """The network of ``options``."""
        if len(spec.inputs) != 1 or len(spec.inputs[0].shape) != IMAGE_RANK:
            raise WorkError(
                FailureClass.EXPORT,
                "mobilenet_v2 takes one input [batch, 3, height, width]",
                hint="correct `inputs` in the manifest",
            )
        model = MobileNetV2(
            classes=int(spec.options.get("classes", 1000)),
            width=float(spec.options.get("width", 1.0)),
        )
        return Architecture(program=model, named=model)


EXPORTER: Exporter = MobileNetV2Exporter()
