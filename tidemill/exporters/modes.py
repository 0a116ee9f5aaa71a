"""Scoped ways to look at torch calls, so that models need no edits.

All are torch function modes: they hold inside a ``with`` block, on one thread, and leave no trace.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class Untouched(TorchFunctionMode):
    """Inside, ``torch.empty`` allocates on the meta device: layers that are built cost no memory.

    Layers allocate their weights with ``torch.empty`` and fill them afterwards; filling a meta
    tensor does nothing. Whatever is computed (rotary tables, position ids, ones and zeros) stays
    real.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, on the meta device when it is ``torch.empty``."""
        named = dict(kwargs or {})
        if func is torch.empty:
            named["device"] = "meta"
        return func(*args, **named)


class Widened(TorchFunctionMode):
    """Inside, ``.float()``, ``.to(torch.float32)`` and ``dtype=torch.float32`` give float64.

    Models pin parts of themselves to float32 (norms, softmax, rotary tables). A float64 reference
    must not lose its digits there. Use it around building and around calling.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func`` with float32 replaced by float64."""
        called = torch.Tensor.double if func is torch.Tensor.float else func
        named = {name: _wide(value) for name, value in (kwargs or {}).items()}
        return called(*(_wide(value) for value in args), **named)


#: What sums many products, by every name that models call it by.
_PRODUCTS = frozenset(
    {
        *(torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose2d),
        *(torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.einsum),
        *(torch.mm, torch.Tensor.mm, torch.bmm, torch.Tensor.bmm, torch.addmm, torch.baddbmm),
        torch.nn.functional.linear,
        torch.nn.functional.scaled_dot_product_attention,
    }
)


class Accumulated(TorchFunctionMode):
    """Inside, products of float16 tensors are summed in float32 and rounded once, as GPUs do it.

    On a processor torch sums them one by one, a hundred times slower (0.1 against 30 GFLOP/s).
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, in float32 when it is a product of float16 tensors."""
        named = dict(kwargs or {})
        if func not in _PRODUCTS or not any(map(_is_half, (*args, *named.values()))):
            return func(*args, **named)
        named = {name: _single(value) for name, value in named.items()}
        return func(*map(_single, args), **named).half()


def _is_half(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.float16


def _single(value: Any) -> Any:
    return value.float() if _is_half(value) else value


def _wide(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value
