"""Read a sharktank dataset without sharktank: its archive, its tensors, its quantisers.

What a reference knows of a quantised model has to come from the file alone, not through the code
that wrote it. The archive is IRPA (see ``irpa``); two entries of it are JSON: properties, and how
tensors are made of entries. A quantised tensor has integers or small floats ``qs`` and a step
``d``, a quantiser has ``scale`` and its reciprocal ``rscale``; both may have an offset.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.irpa import DATA_ENTRY, ENTRY, HEADER, MAGIC, TABLE_ALIGNMENT, aligned

PROPERTIES, TENSORS = "__SHARK_DATASET__", "__SHARK_INFERENCE_TENSORS__"
_METADATA = "PYTORCH:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiser:
    """How values are narrowed: times ``scale``, plus ``offset``, rounded to ``dtype``, and back."""

    scale: torch.Tensor
    step: torch.Tensor
    offset: torch.Tensor | None
    dtype: torch.dtype

    def fake(self, values: torch.Tensor) -> torch.Tensor:
        """``values`` narrowed and widened again, in their own element type."""
        kind = values.dtype
        narrow = values * self.scale.to(kind)
        if self.offset is not None:
            narrow = narrow + self.offset.to(kind)
        narrow = _saturated(narrow, self.dtype)
        if self.offset is not None:
            narrow = narrow - self.offset.to(kind)
        return narrow * self.step.to(kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """``properties``, plain and widened ``tensors`` by name, ``quantisers`` by name."""

    properties: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    quantisers: Mapping[str, Quantiser]
    #: Names of the tensors that are stored narrowed.
    narrowed: frozenset[str]


def read_dataset(path: Path) -> Dataset:
    """All of ``path``. Raises WorkError when it is no sharktank dataset, or of a new kind."""
    entries = _entries(path)
    try:
        properties = json.loads(entries[PROPERTIES][0])
        described = json.loads(entries[TENSORS][0])
    except (KeyError, ValueError) as error:
        raise _unreadable(path, f"it has no {error}") from error
    tensors, quantisers, narrowed = {}, {}, set()
    for name, about in described.items():
        parts = {part: _tensor(*entries[key]) for part, key in about["raw_tensors"].items()}
        match about["type_name"]:
            case "PrimitiveTensor":
                (tensors[name],) = parts.values()
            case "PlanarQuantizedTensor" if about["layout_type"] == "TensorScaledLayout":
                tensors[name] = _widened(parts)
                narrowed.add(name)
            case "StaticScaledQuantizer" if "axis" not in about:
                quantisers[name] = Quantiser(
                    scale=parts["scale"],
                    step=parts["rscale"],
                    offset=parts.get("offset"),
                    dtype=getattr(torch, about["dtype"]),
                )
            case kind:
                raise _unreadable(path, f"{name} is a {kind} of an unknown layout")
    return Dataset(
        properties=properties,
        tensors=tensors,
        quantisers=quantisers,
        narrowed=frozenset(narrowed),
    )


def _widened(parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
    values = parts["qs"].to(torch.float64)
    if "m" in parts:
        values = values - parts["m"].to(torch.float64)
    return values * parts["d"].to(torch.float64)


def _saturated(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """``values`` as the nearest of ``dtype`` (ties to even), those beyond its range at its end."""
    if dtype.is_floating_point:
        limits = torch.finfo(dtype)
        return values.clamp(limits.min, limits.max).to(dtype).to(values.dtype)
    whole = torch.iinfo(dtype)
    return values.round().clamp(whole.min, whole.max)


def _entries(path: Path) -> dict[str, tuple[bytes, str]]:
    """Name → (contents, metadata) of every data entry of an archive."""
    raw = path.read_bytes()
    if raw[:4] != MAGIC:
        raise _unreadable(path, "it is no IREE parameter archive")
    header = HEADER.unpack_from(raw)
    count, table, _, names, _, storage, _ = header[6:13]
    found = {}
    step = aligned(ENTRY.size, TABLE_ALIGNMENT)
    for index in range(count):
        row = ENTRY.unpack_from(raw, table + index * step)
        _, kind, _, name_at, name_size, about_at, about_size, _, start, size = row
        if kind != DATA_ENTRY:
            raise _unreadable(path, f"entry {index} is of kind {kind}, which holds no data")
        name = raw[names + name_at : names + name_at + name_size].decode()
        about = raw[names + about_at : names + about_at + about_size].decode()
        found[name] = (raw[storage + start : storage + start + size], about)
    return found


def _tensor(contents: bytes, about: str) -> torch.Tensor:
    described = json.loads(about.removeprefix(_METADATA))
    dtype = getattr(torch, described["dtype"])
    flat = torch.frombuffer(bytearray(contents), dtype=torch.uint8)
    return flat.view(dtype).reshape(described["shape"])


def _unreadable(path: Path, why: str) -> WorkError:
    return WorkError(
        FailureClass.EXPORT,
        f"{path.name} cannot be read as a sharktank dataset: {why}",
        hint="make it with the sharktank and Brevitas of the sharktank toolchain",
    )
