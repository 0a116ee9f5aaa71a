"""Two scoped ways to look at torch calls, so that models need no edits.

Both are torch function modes: they hold inside a ``with`` block, on one thread, and leave no trace.
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


def _wide(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value
