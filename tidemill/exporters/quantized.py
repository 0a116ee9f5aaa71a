"""Weight-only quantisation by torchao of a language model's linear layers.

torchao chooses the scales and rounds (``quantize_`` on each layer, from the checkpoint's values in
float32); what it makes is stored as it is, and the program multiplies it out before each product,
as torchao's own weight-only layers do. ``options.quantize`` says how:

========  =============================================  =======================================
``int8``  ``Int8WeightOnlyConfig``                       one scale a row
``int4``  ``IntxWeightOnlyConfig``, int4, groups of 32   one scale a group; a byte a number
``fp8``   ``Float8WeightOnlyConfig``, e4m3fn             one scale a row
========  =============================================  =======================================

Embeddings and the output layer stay as they are. External are ``LAYER.qdata`` and ``LAYER.scale``,
which is float32 in every variant.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.architecture import Architecture, External, needed
from tidemill.exporters.base import Spec
from tidemill.exporters.irpa import Entry, write_archive
from tidemill.exporters.parameters import PIECE
from tidemill.exporters.torch_exporter import TorchExporter, converted, metadata, raw_bytes

GROUP = 32
STORED = {"int8": torch.int8, "int4": torch.int8, "fp8": torch.float8_e4m3fn}
QDATA, SCALE, WEIGHT = "qdata", "scale", "weight"

Pieces = Callable[[], Iterator[torch.Tensor]]


class QuantizedLinear(nn.Module):
    """A linear layer of quantised weights [out, in] with scales [out, groups]."""

    def __init__(self, linear: nn.Linear, *, kind: str) -> None:
        super().__init__()
        self.kind = kind
        rows, width = linear.weight.shape
        groups = width // GROUP if kind == "int4" else 1
        self.register_buffer(QDATA, torch.empty((rows, width), dtype=STORED[kind]))
        self.register_buffer(SCALE, torch.empty((rows, groups)))
        self.bias = linear.bias

    def store_as(self, precision: str) -> None:
        """Untouched memory of the types in which a program of ``precision`` has them."""
        wide = torch.float64 if precision == "f64" else torch.float32
        self.register_buffer(QDATA, torch.empty(self.qdata.shape, dtype=STORED[self.kind]))
        self.register_buffer(SCALE, torch.empty(self.scale.shape, dtype=wide))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """The layer on weights that are multiplied out."""
        weight = multiplied_out(self.qdata, self.scale).to(states.dtype)
        return nn.functional.linear(states, weight, self.bias)


def multiplied_out(qdata: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The weights that quantised ones stand for, in the type of ``scale``."""
    wide = qdata.to(scale.dtype)
    if scale.shape[1] == 1:
        return wide * scale
    groups = wide.view(*scale.shape, -1) * scale.unsqueeze(-1)
    return groups.view(qdata.shape)


def quantized(weight: torch.Tensor, *, kind: str) -> dict[str, torch.Tensor]:
    """``qdata`` and ``scale`` that torchao makes of a weight matrix in float32."""
    # torchao takes seconds to import, and an export needs none of it.
    from torchao import quantization  # noqa: PLC0415
    from torchao.quantization.granularity import PerGroup  # noqa: PLC0415

    settings = {
        "int8": lambda: quantization.Int8WeightOnlyConfig(set_inductor_config=False),
        "int4": lambda: quantization.IntxWeightOnlyConfig(
            weight_dtype=torch.int4, granularity=PerGroup(GROUP)
        ),
        "fp8": quantization.Float8WeightOnlyConfig,
    }
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    quantization.quantize_(layer, settings[kind]())
    zero = getattr(layer.weight, "zero_point", None)
    if zero is not None and bool(zero.any()):
        raise _fault(
            f"torchao's {kind} weights have zero points, which this program does not add",
            hint="this torchao quantises otherwise: take the one of toolchains/default.lock",
        )
    return {QDATA: layer.weight.qdata, SCALE: layer.weight.scale.to(torch.float32)}


class Quantizing(TorchExporter):
    """A family whose linear layers are quantised; stands before the family in the bases."""

    def model(self, spec: Spec) -> nn.Module:
        """The family's model, every linear layer but the output replaced."""
        model: nn.Module = super().model(spec)  # type: ignore[misc]
        _replace(model, kind=kind_of(spec))
        return model

    def pack(self, spec: Spec, target: Path) -> Mapping[str, Any]:
        """Write the IRPA; the facts tell how far the weights are from the checkpoint's."""
        _, external = self._built(spec, spec.dtype)
        far = Distance()
        pieces = dict(self._contents(spec, external, far=far))

        def contents(entry: Entry) -> Iterator[memoryview]:
            yield from map(raw_bytes, pieces[entry.name]())

        entries = [
            Entry(name=item.name, size=item.tensor.nbytes, metadata=metadata(item.tensor))
            for item in external
        ]
        size = write_archive(target, entries, contents=contents)
        facts = {"entries": len(entries), "irpa_bytes": size}
        return {**facts, "quantize": kind_of(spec), "weights_rel_l2": far.relative}

    def _built(self, spec: Spec, precision: str) -> tuple[Architecture, tuple[External, ...]]:
        model, _ = super()._built(spec, precision)
        for module in model.named.modules():
            if isinstance(module, QuantizedLinear):
                module.store_as(precision)
        return model, needed(model.named, unused=tuple(spec.options.get("unused", ())))

    def _fill(self, spec: Spec, external: Sequence[External]) -> None:
        tensors = {item.name: item.tensor for item in external}
        for name, pieces in self._contents(spec, external, far=Distance()):
            flat, start = tensors[name].detach().view(-1), 0
            for piece in pieces():
                flat[start : start + piece.numel()] = piece.to(flat.dtype)
                start += piece.numel()

    def _contents(
        self, spec: Spec, external: Sequence[External], *, far: "Distance"
    ) -> Iterator[tuple[str, Pieces]]:
        """Name and values of each tensor in order; float weights are read once a layer."""
        kind = kind_of(spec)
        layers = {
            item.name.removesuffix(f".{QDATA}"): item.tensor
            for item in external
            if item.name.endswith(f".{QDATA}")
        }
        parts = {f"{layer}.{part}": layer for layer in layers for part in (QDATA, SCALE)}
        plain = [item for item in external if item.name not in parts]
        weights = [
            External(name=f"{layer}.{WEIGHT}", tensor=torch.empty(qdata.shape, device="meta"))
            for layer, qdata in layers.items()
        ]
        source, chosen = self._source(spec, [*plain, *weights])
        made: dict[str, dict[str, torch.Tensor]] = {}

        def quantised_part(name: str) -> Iterator[torch.Tensor]:
            layer, _, part = name.rpartition(".")
            if layer not in made:
                made.clear()  # one layer at a time is in memory
                flat = torch.cat([*source.pieces(chosen[f"{layer}.{WEIGHT}"])])
                weight = flat.to(torch.float32).view(layers[layer].shape)
                made[layer] = quantized(weight, kind=kind)
                far.add(weight, multiplied_out(**made[layer]))
            yield from made[layer][part].reshape(-1).split(PIECE)

        def plain_part(item: External) -> Iterator[torch.Tensor]:
            for piece in source.pieces(chosen[item.name]):
                yield converted(piece, item.tensor.dtype, name=item.name)

        for item in external:
            if item.name in parts:
                yield item.name, partial(quantised_part, item.name)
            else:
                yield item.name, partial(plain_part, item)


class Distance:
    """How far quantised weights are from the checkpoint's, all layers together."""

    def __init__(self) -> None:
        self._off = self._all = 0.0

    def add(self, weight: torch.Tensor, made: torch.Tensor) -> None:
        """Count one layer."""
        self._off += float((made - weight).double().square().sum())
        self._all += float(weight.double().square().sum())

    @property
    def relative(self) -> float:
        """The relative L2 distance; 0 when nothing was counted."""
        return math.sqrt(self._off / self._all) if self._all else 0.0


def kind_of(spec: Spec) -> str:
    """How the manifest wants it. Raises WorkError for what there is not."""
    kind = spec.options.get("quantize")
    if kind not in STORED:
        raise _fault(
            f"options.quantize is {kind!r}; there are {', '.join(STORED)}",
            hint="correct `options` in the manifest",
        )
    return str(kind)


def _replace(model: nn.Module, *, kind: str) -> None:
    output = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        for label, child in list(module.named_children()):
            if not isinstance(child, nn.Linear) or child is output:
                continue
            if kind == "int4" and child.in_features % GROUP:
                raise _fault(
                    f"{name}.{label} has {child.in_features} columns, no multiple of {GROUP}",
                    hint="int4 has groups of 32 columns: choose int8 or fp8 for this model",
                )
            setattr(module, label, QuantizedLinear(child, kind=kind))
    if left := [
        f"{name}.{label}".lstrip(".")
        for name, module in model.named_modules()
        if not isinstance(module, nn.Embedding) and module is not output
        for label, parameter in module.named_parameters(recurse=False)
        if parameter.ndim > 1
    ]:
        raise _fault(
            f"only layers that are torch.nn.Linear are quantised here; {len(left)} weights are of"
            f" others ({left[0]})",
            hint="choose another architecture, or the exporter without quantisation",
        )


def _fault(message: str, *, hint: str) -> WorkError:
    return WorkError(FailureClass.EXPORT, message, hint=hint)
