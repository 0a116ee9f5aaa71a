"""Operators that IREE cannot take, or computes worse than torch, and their replacements.

This is the whole of tidemill's operator legalisation: a table of decompositions, applied to the
exported graph. Models are never edited. Every entry has a reason, and tests/unit/test_legalise.py
shows for each that the graph had the operator and has it no more, and what goes wrong without it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from iree.turbine.aot import current_aot_decompositions

from tidemill.errors import FailureClass, WorkError

aten = torch.ops.aten
HALF_TYPES = (torch.float16, torch.bfloat16)
#: Attention of heads wider than this is wrong on llvm-cpu.
WIDEST_HEAD = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Legalisation:
    """One operator, the function that computes the same with other operators, and why it is here.

    A function that returns NotImplemented leaves the operator as it is.
    """

    operator: Any
    becomes: Callable[..., Any]
    reason: str


def _difference(
    values: torch.Tensor,
    n: int = 1,
    dim: int = -1,
    prepend: torch.Tensor | None = None,
    append: torch.Tensor | None = None,
) -> torch.Tensor:
    """``aten.diff``: neighbours subtracted, ``n`` times."""
    result = torch.cat([part for part in (prepend, values, append) if part is not None], dim)
    for _ in range(n):
        length = result.shape[dim] - 1
        result = result.narrow(dim, 1, length) - result.narrow(dim, 0, length)
    return result


def _widening_softmax(values: torch.Tensor, dim: int, dtype: torch.dtype | None = None) -> Any:
    """``aten.softmax.int`` that changes the type; one that does not stays as it is.

    Times the reciprocal, because the compiler turns a quotient back into the softmax that it cannot
    compile.
    """
    if dtype is None or dtype == values.dtype:
        return NotImplemented
    wide = values.to(dtype)
    raised = (wide - wide.amax(dim, keepdim=True)).exp()
    return raised * raised.sum(dim, keepdim=True).reciprocal()


def _joined_index(values: torch.Tensor, indices: Sequence[torch.Tensor | None]) -> Any:
    """``aten.index`` by a vector for each of the first dimensions: one index of them as one."""
    vectors = [index for index in indices if index is not None and index.dim() == 1]
    if len(vectors) < max(2, len(indices)) or any(index.dtype == torch.bool for index in vectors):
        return NotImplemented
    place = torch.zeros_like(vectors[0])
    for size, index in zip(values.shape, vectors, strict=False):  # later dimensions stay
        place = place * size + torch.where(index < 0, index + size, index)
    return values.flatten(0, len(vectors) - 1).index_select(0, place)


def _half_layer_norm(  # noqa: PLR0917 - the operator's own signature
    values: torch.Tensor,
    normalized_shape: Sequence[int],
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,  # noqa: ARG001
) -> Any:
    """``aten.layer_norm`` of a half type by torch's native form, which computes in float32."""
    if values.dtype not in HALF_TYPES:
        return NotImplemented
    return aten.native_layer_norm.default(values, normalized_shape, weight, bias, eps)[0]


def _half_group_norm(  # noqa: PLR0917 - the operator's own signature
    values: torch.Tensor,
    num_groups: int,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,  # noqa: ARG001
) -> Any:
    """``aten.group_norm`` of a half type, computed in float32.

    Not by torch's native form: that looks up each channel's group in tables, which become constants
    of the program. And not over flattened groups: what comes before a norm is fused with it only
    where the shape stays (an autoencoder's decoder on gfx942: 107 dispatches, flattened 163).
    """
    if values.dtype not in HALF_TYPES:
        return NotImplemented
    rows, channels, *sides = values.shape
    grouped = values.float().reshape(rows, num_groups, channels // num_groups, *sides)
    within = tuple(range(2, grouped.dim()))
    centred = grouped - grouped.mean(within, keepdim=True)
    spread = (centred * centred).mean(within, keepdim=True)
    normed = (centred * (spread + eps).rsqrt()).reshape(values.shape)
    each = (1, channels, *(1 for _ in sides))
    if weight is not None:
        normed = normed * weight.float().reshape(each)
    if bias is not None:
        normed = normed + bias.float().reshape(each)
    return normed.to(values.dtype)


def _plain_attention(  # noqa: PLR0917 - the operator's own signature
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Attention of wide heads by matrix products in float32; narrow heads stay as they are.

    As torch does, a query that may see no key gets zeros. Raises WorkError where there is dropout.
    """
    width = query.shape[-1]
    if not isinstance(width, int) or width <= WIDEST_HEAD:
        return NotImplemented
    if dropout_p:
        raise WorkError(
            FailureClass.EXPORT,
            f"attention of heads of {width} values drops some of its weights",
            hint="export the model in evaluation mode",
        )
    if enable_gqa:
        shared = query.shape[-3] // key.shape[-3]
        key, value = (each.repeat_interleave(shared, -3) for each in (key, value))
    wide = torch.float32 if query.dtype in HALF_TYPES else query.dtype
    scaled = query.to(wide) * (width**-0.5 if scale is None else scale)
    scores = scaled @ key.to(wide).transpose(-2, -1)
    if is_causal:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device)
        attn_mask = seen.tril()
    weights = _masked_softmax(scores, attn_mask)
    return (weights @ value.to(wide)).to(query.dtype)


def _masked_softmax(scores: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """The softmax of the last dimension; zeros where the mask leaves nothing of it."""
    if mask is None:
        return scores.softmax(-1)
    if mask.dtype == torch.bool:
        scores = torch.where(mask, scores, -torch.inf)
    else:
        scores = scores + mask.to(scores.dtype)
    greatest = scores.amax(-1, keepdim=True)
    raised = (scores - torch.where(greatest == -torch.inf, 0.0, greatest)).exp()
    total = raised.sum(-1, keepdim=True)
    return raised * torch.where(total == 0.0, 1.0, total).reciprocal()


TABLE: tuple[Legalisation, ...] = (
    Legalisation(
        operator=aten.__and__.Tensor,
        becomes=torch.bitwise_and,
        reason="transformers 5 joins masks with `&`; IREE 3.13 knows bitwise_and only",
    ),
    Legalisation(
        operator=aten.concat.default,
        becomes=torch.cat,
        reason="diffusers' added conditions use concat, an alias that IREE 3.13 does not know",
    ),
    Legalisation(
        operator=aten.diff.default,
        becomes=_difference,
        reason="transformers 5 finds packed sequences by diff of positions; IREE 3.13 has no diff",
    ),
    Legalisation(
        operator=aten.index.Tensor,
        becomes=_joined_index,
        reason="CLIP picks the end token's state by two vectors of indices; with an open batch"
        " IREE 3.13 cannot lower that",
    ),
    Legalisation(
        operator=aten.softmax.int,
        becomes=_widening_softmax,
        reason="a float16 softmax computed in float32 (Llama) with open sizes fails on llvm-cpu:"
        " the cast is fused behind it and needs a buffer of unknown size on the stack",
    ),
    Legalisation(
        operator=aten.layer_norm.default,
        becomes=_half_layer_norm,
        reason="IREE 3.13 sums in the half type: MiniLM in float16 had 6 times torch's error",
    ),
    Legalisation(
        operator=aten.group_norm.default,
        becomes=_half_group_norm,
        reason="IREE 3.13 sums in the half type: an autoencoder in float16 had 60 times torch's"
        " error",
    ),
    Legalisation(
        operator=aten.scaled_dot_product_attention.default,
        becomes=_plain_attention,
        reason="IREE 3.13 computes attention of heads wider than 128 wrong on llvm-cpu: of 160 to"
        " 512 values 75 % off",
    ),
)


def decompositions(table: Sequence[Legalisation] = TABLE) -> dict[Any, Callable[..., Any]]:
    """iree-turbine's current table for ahead-of-time export, with ``table`` on top."""
    return {
        **current_aot_decompositions(),
        **{entry.operator: entry.becomes for entry in table},
    }
