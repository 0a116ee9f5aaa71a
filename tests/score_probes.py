"""The score network on a small configuration: its parts by their definitions, and its names.

Run under the toolchain's interpreter in an empty folder. Writes ``findings.json``.
"""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.exporter_probes import message, run_on_cpu
from tidemill.exporters.base import InputSpec, Spec
from tidemill.exporters.mlir import parameters_of
from tidemill.exporters.score_unet import (
    EXPORTER,
    FullAttention,
    LinearAttention,
    ScaledConv,
    ScoreUnet,
    Time,
)

SMALL = {"first": 8, "width": 8, "multiples": [1, 2]}


def spec_of(**options: Any) -> Spec:
    """A small network over two samples."""
    arrays = [
        InputSpec(name=name, dtype="float", shape=(2, 1, 8, 4)) for name in ("sample", "condition")
    ]
    return Spec(
        dtype="f32",
        options={**SMALL, **options},
        inputs=(*arrays, InputSpec(name="time", dtype="float", shape=(2,))),
        dynamic={},
        config={},
        synthetic={"seed": 5, "scale": 0.2},
    )


def far(found: Any, expected: Any) -> float:
    """The greatest difference of two arrays."""
    return float(np.abs(np.asarray(found) - np.asarray(expected)).max())


def parts() -> dict[str, float]:
    """Convolution, attentions and time features against loops and sums."""
    torch.manual_seed(0)
    image = torch.randn(2, 8, 4, 4)
    conv = ScaledConv(8, 8, kernel_size=3, padding=1)
    kernels = conv.weight.numpy()
    centred = kernels - kernels.mean((1, 2, 3), keepdims=True)
    scaled = centred * np.sqrt(kernels.var((1, 2, 3), keepdims=True) + 1e-5)
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    expected = np.einsum("bchwij,ocij->bohw", windows, scaled) + conv.bias.numpy()[:, None, None]
    full, linear = FullAttention(8), LinearAttention(8)
    query, key, value = _split(full.to_qkv(image))
    weights = torch.einsum("bhdi,bhdj->bhij", query, key).div(32**0.5).softmax(-1)
    mixed = torch.einsum("bhij,bhdj->bhdi", weights, value).reshape(2, 128, 4, 4)
    query, key, value = _split(linear.to_qkv(image))
    # Written with every pair of pixels, which linear attention avoids.
    pairs = torch.einsum("bhdi,bhdj->bhij", query.softmax(2) / 32**0.5, key.softmax(3))
    slow = torch.einsum("bhij,bhdj->bhdi", pairs, value).reshape(2, 128, 4, 4)
    rates = 10000 ** -(np.arange(4) / 3)
    angles = np.array([[3.0], [700.0]]) * rates
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    return {
        "convolution": far(conv(image), expected),
        "full attention": far(full(image), full.to_out(mixed)),
        "linear attention": far(linear(image), linear.to_out(slow)),
        "time": far(Time(8)(torch.tensor([3.0, 700.0])), waves),
    }


def _split(joined: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(part.reshape(2, 4, 32, 16) for part in joined.chunk(3, dim=1))


def names() -> dict[str, Any]:
    """Names and shapes of the network that the published weights fill."""
    state = ScoreUnet(first=16, width=32, multiples=(1, 2, 4, 8)).state_dict()
    lines = "".join(f"{name} {list(tensor.shape)}\n" for name, tensor in sorted(state.items()))
    count = sum(tensor.numel() for tensor in state.values())
    return {
        "digest": hashlib.sha256(lines.encode()).hexdigest(),
        "tensors": len(state),
        "values": count,
    }


def compiled() -> dict[str, Any]:
    """The exported program against the eager one."""
    spec = spec_of()
    EXPORTER.export(spec, Path("model.mlir"))
    EXPORTER.pack(spec, Path("model.irpa"))
    random = np.random.default_rng(1)
    arrays = [random.standard_normal((2, 1, 8, 4)).astype(np.float32) for _ in range(2)]
    arrays.append(np.array([20.0, 900.0], np.float32))
    (expected,) = EXPORTER.program(spec, "f32")(arrays)
    found = np.asarray(run_on_cpu(Path("model.mlir"), Path("model.irpa"), *arrays))
    again = EXPORTER.program(spec, "f32")([*arrays[:2], arrays[2][::-1].copy()])[0]
    return {
        "shape": list(found.shape),
        "relative": far(found, expected) / float(np.abs(expected).max()),
        "time matters": far(again, expected) / float(np.abs(expected).max()),
        "parameters": len(parameters_of(Path("model.mlir"))),
    }


def refusals() -> dict[str, Any]:
    """What no such network can be made of."""
    found = {}
    for multiples in ([], [1, 0]):
        spec = spec_of(multiples=multiples)
        found[str(multiples)] = message(partial(EXPORTER.program, spec, "f32"))
    return found


if __name__ == "__main__":
    with torch.no_grad():
        findings = {probe.__name__: probe() for probe in (parts, names, compiled, refusals)}
    Path("findings.json").write_text(json.dumps(findings), encoding="utf-8")
