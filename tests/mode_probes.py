"""Products of float16 inside ``Accumulated`` against those of float32, rounded once.

Run under the toolchain's interpreter in an empty folder. Writes ``findings.json``.
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from tidemill.exporters.modes import Accumulated

Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
#: Long sums: one step at a time in float16 they would lose their small terms.
LONG = 512
LEFT, RIGHT = torch.rand(2, 8, LONG), torch.rand(2, LONG, 8)
IMAGE, FILTER = torch.rand(1, LONG, 6, 6), torch.rand(4, LONG, 3, 3)
PRODUCTS: dict[str, tuple[Product, torch.Tensor, torch.Tensor]] = {
    "matmul": (torch.matmul, LEFT, RIGHT),
    "@": (lambda left, right: left @ right, LEFT, RIGHT),
    "bmm": (torch.bmm, LEFT, RIGHT),
    "einsum": (lambda left, right: torch.einsum("bij,bjk->bik", left, right), LEFT, RIGHT),
    "linear": (functional.linear, LEFT, torch.rand(8, LONG)),
    "conv2d": (functional.conv2d, IMAGE, FILTER),
    "attention": (
        lambda left, right: functional.scaled_dot_product_attention(left, right, right),
        LEFT[0:1],
        LEFT[1:2],
    ),
}


def half(product: Product, left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether the product inside is the float32 one of the same numbers, rounded once."""
    left, right = left.half(), right.half()
    with Accumulated():
        inside = product(left, right)
    return bool(torch.equal(inside, product(left.float(), right.float()).half()))


def same_type(dtype: torch.dtype) -> bool:
    """Whether a layer of another type is left as it is."""
    layer = nn.Linear(LONG, 8).to(dtype)
    given = LEFT.to(dtype)
    with Accumulated():
        inside = layer(given)
    return inside.dtype == dtype and bool(torch.equal(inside, layer(given)))


if __name__ == "__main__":
    findings = {
        "half": {name: half(*case) for name, case in PRODUCTS.items()},
        "others": {str(dtype): same_type(dtype) for dtype in (torch.float32, torch.bfloat16)},
    }
    Path("findings.json").write_text(json.dumps(findings), encoding="utf-8")
