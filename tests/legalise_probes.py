"""For each entry of the legalisation table: the graph and the compile with it, and without it.

Run like exporter_probes.py, under the toolchain's interpreter.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import iree.compiler.tools as compiler
import numpy as np
import torch
from iree import runtime
from iree.turbine import aot
from torch import nn

from tests.exporter_probes import CPU
from tidemill.exporters.legalise import TABLE, Legalisation, decompositions

aten = torch.ops.aten


class Call(nn.Module):  # type: ignore[misc]
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arrays: torch.Tensor) -> Any:
        """Call it."""
        return self.function(*arrays)


def _attention(ids: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Causal attention inside packed sequences, which ``ids`` tell apart."""
    places = torch.arange(ids.shape[1])
    behind = places[None, :] <= places[:, None]
    row, column = places[:, None], places[None, :]
    allowed = behind & (ids[0][row] == ids[0][column])
    mask = torch.where(allowed, 0.0, -6.0e4).to(query.dtype)
    scores = query @ query.transpose(2, 3) * 0.125 + mask
    wide = torch.float32 if query.dtype == torch.float16 else query.dtype
    return torch.softmax(scores, -1, dtype=wide).to(query.dtype) @ query


def _layer_norm(values: torch.Tensor) -> torch.Tensor:
    return nn.functional.layer_norm(values, (384,))


def _group_norm(values: torch.Tensor) -> torch.Tensor:
    return nn.functional.group_norm(values, 2)


def _end_states(states: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The state of each row at its greatest id, found from both ends."""
    rows, places = torch.arange(ids.shape[0]), ids.argmax(-1)
    return states[rows, places] + states[rows, places - ids.shape[1]]


def _wide_heads(query: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return nn.functional.scaled_dot_product_attention(query, other, other)


def _causal_wide_heads(query: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return nn.functional.scaled_dot_product_attention(query, other, other, is_causal=True)


def _masked_wide_heads(
    query: torch.Tensor, other: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    return nn.functional.scaled_dot_product_attention(query, other, other, attn_mask=mask)


def _grouped_wide_heads(query: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return nn.functional.scaled_dot_product_attention(query, other, other, enable_gqa=True)


BITS = torch.tensor([[True, False, True], [True, True, False]])
NUMBERS = torch.arange(6, dtype=torch.float32).reshape(2, 3) ** 2
HALF = (torch.arange(4 * 384, dtype=torch.float32).sin().reshape(4, 384) * 3 + 20).to(torch.float16)
IMAGE = torch.arange(2**17, dtype=torch.float32).sin().reshape(1, 8, 128, 128).add(2)
QUERY = torch.arange(160, dtype=torch.float32).sin().reshape(1, 4, 5, 8).to(torch.float16)
IDS = torch.tensor([[1, 1, 1, 2, 2]])
HEADS = torch.arange(2 * 64 * 160, dtype=torch.float32).square().sin().reshape(1, 2, 64, 160)
#: Products of these are beyond float16 before they are scaled.
LARGE = HEADS + 24
#: The first query sees nothing.
MASK = (torch.arange(64 * 64).reshape(64, 64) % 3 > 0) & (torch.arange(64) > 0)[:, None]
STATES = torch.arange(60, dtype=torch.float32).sin().reshape(3, 5, 4)
WORDS = torch.tensor([[3, 9, 1, 1, 1], [9, 1, 1, 1, 1], [3, 4, 5, 6, 9]])
#: Of each operator: what of it, a function that uses it, arguments.
CASES: dict[Any, list[tuple[str, Callable[..., Any], tuple[torch.Tensor, ...]]]] = {
    aten.__and__.Tensor: [("", lambda x, y: x & y, (BITS, BITS.flip(0)))],
    aten.concat.default: [("", lambda x, y: torch.concat([x, y], 1), (NUMBERS, NUMBERS + 1))],
    aten.diff.default: [("", lambda x: torch.diff(x, prepend=x[:, :1]), (NUMBERS,))],
    aten.index.Tensor: [("", _end_states, (STATES, WORDS))],
    aten.softmax.int: [("", _attention, (IDS, QUERY))],
    aten.layer_norm.default: [("", _layer_norm, (HALF,))],
    aten.group_norm.default: [("", _group_norm, (IMAGE.half(),))],
    aten.scaled_dot_product_attention.default: [
        ("", _wide_heads, (HEADS, HEADS.flip(2))),
        (" f16", _wide_heads, (LARGE.half(), LARGE.flip(2).half())),
        (" causal", _causal_wide_heads, (HEADS, HEADS.flip(2))),
        (" masked", _masked_wide_heads, (HEADS, HEADS.flip(2), MASK)),
        (" grouped", _grouped_wide_heads, (HEADS, HEADS[:, :1].flip(2))),
    ],
}
OPEN = {
    aten.index.Tensor: ({0: "size"}, {0: "size"}),
    aten.softmax.int: ({1: "size"}, {2: "size"}),
}


def look(
    operator: Any,
    function: Callable[..., Any],
    arrays: tuple[torch.Tensor, ...],
    *,
    table: Sequence[Legalisation],
) -> dict[str, Any]:
    """Whether the operator is in the graph, whether that compiles, and how wrong its result is."""
    exported = torch.export.export(
        Call(function), arrays, dynamic_shapes=_open(operator), strict=False
    )
    before = _operators(exported)
    lowered = exported.run_decompositions(decompositions(table))
    found: dict[str, Any] = {
        "before": operator in before,
        "after": operator in _operators(lowered),
    }
    text = str(aot.export(lowered, function_name="main").mlir_module)
    try:
        flat = compiler.compile_str(text, input_type="auto", extra_args=CPU)
    except compiler.CompilerToolError as error:
        lines = str(error).splitlines()
        return {**found, "error": next(line for line in lines if "error:" in line)}
    wide = [item.double() if item.is_floating_point() else item for item in arrays]
    exact = function(*wide).double()
    return {
        **found,
        "wrong by": _sizes(_compiled(flat, arrays) - exact),
        "torch": _sizes(function(*arrays).double() - exact),
    }


def _open(operator: Any) -> Any:
    shapes = OPEN.get(operator)
    if shapes is None:
        return None
    size = torch.export.Dim("size", min=2, max=64)
    return (tuple(dict.fromkeys(places, size) for places in shapes),)


def _operators(program: Any) -> set[Any]:
    return {node.target for node in program.graph.nodes if node.op == "call_function"}


def _compiled(flat: bytes, arrays: Sequence[torch.Tensor]) -> torch.Tensor:
    config = runtime.Config("local-sync")
    vm_module = runtime.VmModule.copy_buffer(config.vm_instance, flat)
    module = runtime.load_vm_modules(vm_module, config=config)[-1]
    result = np.asarray(module.main(*[item.numpy() for item in arrays]).to_host())
    return torch.from_numpy(result.astype(np.float64))


def _sizes(differences: torch.Tensor) -> dict[str, float]:
    """The greatest of some differences, and the root of their mean square."""
    root = differences.square().mean().sqrt()
    return {"most": float(differences.abs().max()), "root mean square": float(root)}


def table() -> dict[str, Any]:
    """Every case of every entry, with the table and with the table less that entry."""
    return {
        f"{entry.operator}{what}": {
            "reason": entry.reason,
            "with": look(entry.operator, function, arrays, table=TABLE),
            "without": look(entry.operator, function, arrays, table=_less(entry)),
        }
        for entry in TABLE
        for what, function, arrays in CASES[entry.operator]
    }


def _less(entry: Legalisation) -> list[Legalisation]:
    return [other for other in TABLE if other is not entry]


def narrow() -> dict[str, Any]:
    """Attention of heads that are not wide, which IREE takes as it is."""
    operator, heads = aten.scaled_dot_product_attention.default, HEADS[..., :128]
    return look(operator, _wide_heads, (heads, heads.flip(2)), table=TABLE)


if __name__ == "__main__":
    found = {"table": table, "narrow": narrow}[sys.argv[1]]()
    Path("findings.json").write_text(json.dumps(found), encoding="utf-8")
