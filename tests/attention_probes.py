"""What IREE's attention does with fp8 on the cpu, for tests/e2e/test_fused_attention.py.

sharktank's own kernel is this one operation. It is compiled as sharktank writes it, and torch
computes beside it what it is said to do.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import iree.runtime as rt
import torch

FLAGS = (
    "--iree-hal-target-device=local",
    "--iree-hal-local-target-device-backends=llvm-cpu",
    "--iree-llvmcpu-target-cpu=x86-64-v3",
)
#: Keys that are read at a time.
TILE = 8
#: Smallest normal number of the type, and the distance of those below it.
NORMAL, STEP = 2.0**-7, 2.0**-10
SMALL, MASK = "tensor<?x?x?x64xf8E4M3FNUZ>", "tensor<?x?xf32>"
WIDE = "tensor<?x?x?x64xf32>"
MAPS = ", ".join(
    f"affine_map<(b, h, m, n, k1, k2) -> ({names})>"
    for names in ("b, h, m, k1", "b, h, k2, k1", "b, h, k2, n", "", "m, k2", "b, h, m, n")
)
NARROW = f"""\
module @narrow {{ func.func @main(%wide: {WIDE}) -> {WIDE} {{
  %small = arith.truncf %wide : {WIDE} to {SMALL}
  %back = arith.extf %small : {SMALL} to {WIDE}
  return %back : {WIDE}
}} }}
"""
ATTENTION = f"""\
module @attention {{ func.func @main(
    %fq: {WIDE}, %fk: {WIDE}, %fv: {WIDE}, %mask: {MASK}, %factor: tensor<f32>) -> {WIDE} {{
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %q = arith.truncf %fq : {WIDE} to {SMALL}
  %k = arith.truncf %fk : {WIDE} to {SMALL}
  %v = arith.truncf %fv : {WIDE} to {SMALL}
  %batch = tensor.dim %q, %c0 : {SMALL}
  %heads = tensor.dim %q, %c1 : {SMALL}
  %rows = tensor.dim %q, %c2 : {SMALL}
  %empty = tensor.empty(%batch, %heads, %rows) : {WIDE}
  %scale = tensor.extract %factor[] : tensor<f32>
  %out = iree_linalg_ext.attention {{indexing_maps = [{MAPS}]}}
      ins(%q, %k, %v, %scale, %mask : {SMALL}, {SMALL}, {SMALL}, f32, {MASK})
      outs(%empty : {WIDE}) {{
    ^bb0(%score: f32):
      iree_linalg_ext.yield %score : f32
  }} -> {WIDE}
  return %out : {WIDE}
}} }}
"""
Rounding = Callable[[torch.Tensor], torch.Tensor]


def compiled(name: str, text: str) -> Callable[..., torch.Tensor]:
    """``main`` of a module."""
    source, made = Path(f"{name}.mlir"), Path(f"{name}.vmfb")
    source.write_text(text, encoding="utf-8")
    compiler = Path(sys.executable).with_name("iree-compile")
    subprocess.run([compiler, source, *FLAGS, "-o", made], check=True)
    config = rt.Config("local-task")
    parts = (
        rt.create_hal_module(config.vm_instance, config.device),
        rt.VmModule.copy_buffer(config.vm_instance, made.read_bytes()),
    )
    main = rt.load_vm_modules(*parts, config=config)[-1].main
    return lambda *given: torch.tensor(main(*(one.numpy() for one in given)).to_host())


def to_nearest(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.float8_e4m3fnuz).to(values.dtype)


def with_hole(values: torch.Tensor) -> torch.Tensor:
    """To nearest, but zero where that is up to the smallest normal number."""
    size = values.abs()
    lost = (size > NORMAL - STEP / 2) & (size < NORMAL)
    return torch.where(lost, torch.zeros_like(values), to_nearest(values))


def attention(scores: torch.Tensor, values: torch.Tensor, narrow: Rounding) -> torch.Tensor:
    """Softmax of scores times values, tile by tile, with weights that ``narrow`` has been at.

    The sum by which all is divided is that of the weights before.
    """
    most = torch.full((*scores.shape[:-1], 1), -3.4e38, dtype=scores.dtype)
    total, result = torch.zeros_like(most), torch.zeros_like(values)
    for at in range(0, scores.shape[-1], TILE):
        tile = scores[..., at : at + TILE]
        new = torch.maximum(most, tile.amax(-1, keepdim=True))
        kept, weights = torch.exp(most - new), torch.exp(tile - new)
        total = kept * total + weights.sum(-1, keepdim=True)
        result = kept * result + narrow(weights) @ values[..., at : at + TILE, :]
        most = new
    return result / total


def kernel() -> dict[str, Any]:
    """Relative distance of the compiled operation from each of three readings of it."""
    torch.manual_seed(0)
    query, key, value = (to_nearest(torch.randn(2, 4, 64, 64) * 40).clamp(-240, 240) for _ in "qkv")
    factor = torch.tensor(0.03 * 0.03 / 8)
    mask = torch.triu(torch.full((64, 64), -torch.inf), 1)
    got = compiled("attention", ATTENTION)(query, key, value, mask, factor).double()
    scores = query.double() @ key.double().transpose(-1, -2) * factor.double() + mask
    readings: dict[str, Rounding] = {
        "wide": lambda weights: weights, "nearest": to_nearest, "hole": with_hole
    }  # fmt: skip
    found = {}
    for name, narrow in readings.items():
        expected = attention(scores, value.double(), narrow)
        found[name] = float((got - expected).norm() / expected.norm())
    return found


def conversion() -> dict[str, int]:
    """How many of many values the compiler narrows otherwise than torch, and than the hole."""
    small = torch.linspace(0, 2 * NORMAL, 6400)
    values = torch.cat([small, -small, torch.linspace(-240, 240, 6400)]).reshape(1, 1, -1, 64)
    got = compiled("narrow", NARROW)(values)
    return {
        "nearest": int((got != to_nearest(values)).sum()),
        "hole": int((got != with_hole(values)).sum()),
    }


if __name__ == "__main__":
    findings = {"kernel": kernel(), "conversion": conversion()}
    Path("findings.json").write_text(json.dumps(findings), encoding="utf-8")
