"""Build a torch model without its weights, and say which of its tensors are external."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.modes import Untouched
from tidemill.exporters.parameters import Needed


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """``program`` takes the inputs; ``named`` is the module with the checkpoint's names."""

    program: nn.Module
    named: nn.Module


@dataclass(frozen=True, slots=True, kw_only=True)
class External:
    """One tensor that is not part of the MLIR. ``aliases`` are the other names of a tied tensor."""

    name: str
    tensor: torch.Tensor
    aliases: tuple[str, ...] = ()

    def needed(self, *, more: Sequence[str] = ()) -> Needed:
        """What a source must have for it; ``more`` are further names to look under."""
        return Needed(
            name=self.name,
            shape=tuple(self.tensor.shape),
            dtype=self.tensor.dtype,
            aliases=(*self.aliases, *more),
        )


def build(make: Callable[[], Architecture], *, dtype: torch.dtype) -> Architecture:
    """Call ``make`` so that weights take no memory; evaluation mode, float weights in ``dtype``.

    Parameters and persistent buffers are untouched CPU memory afterwards; their values are not
    defined. Other buffers are real and keep the type that the model gave them: rotary tables in
    float32 are not rounded to float16. With dtype float64 they are computed in float64. Raises
    WorkError on a computed buffer whose values do not exist without weights.
    """
    with _default_dtype(torch.float64 if dtype == torch.float64 else torch.float32), Untouched():
        model = make()
    model.program.eval()
    persistent = set(model.program.state_dict())
    fresh: dict[int, torch.Tensor] = {}
    for prefix, module in model.program.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in fresh:
                empty = _untouched(parameter, dtype)
                fresh[id(parameter)] = nn.Parameter(empty, requires_grad=False)
            setattr(module, name, fresh[id(parameter)])
        for name, buffer in module.named_buffers(recurse=False):
            full = f"{prefix}.{name}" if prefix else name
            if full in persistent:
                setattr(module, name, _untouched(buffer, dtype))
            elif buffer.is_meta:
                raise WorkError(
                    FailureClass.EXPORT,
                    f"buffer {full} is not computed by the model and not in its checkpoint",
                    hint="this architecture needs an exporter of its own",
                )
    return model


def needed(module: nn.Module, *, unused: Sequence[str]) -> tuple[External, ...]:
    """The parameters and persistent buffers in the module's order, tied ones once.

    Names that match a pattern of ``unused`` are left out.
    """
    persistent = module.state_dict().keys()
    names: dict[int, list[str]] = {}
    tensors: dict[int, torch.Tensor] = {}
    for name, tensor in (
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ):
        if name in persistent and not any(fnmatchcase(name, rule) for rule in unused):
            names.setdefault(id(tensor), []).append(name)
            tensors[id(tensor)] = tensor
    return tuple(
        External(name=first, tensor=tensors[key], aliases=tuple(others))
        for key, (first, *others) in names.items()
    )


def _untouched(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(
        tensor.shape, dtype=dtype if tensor.is_floating_point() else tensor.dtype, device="cpu"
    )


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
