"""The exporter that all torch families share.

A family says how its module is built and where its parameters lie. Everything else is here, once:

* Parameters are allocated and never touched, so export needs no weights and no memory for them.
* Parameters *and persistent buffers* (running statistics) become external, scope ``model``, under
  the checkpoint's names; a tied tensor once, under its first name. Other buffers are computed and
  become constants.
* ``pack`` writes exactly those tensors; ``export`` checks that the MLIR asks for exactly those.
* A float64 program really computes in float64, also where the model asks for float32 (``Widened``);
  a float16 one sums in float32 (``Accumulated``).
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.architecture import Architecture, External, build, needed
from tidemill.exporters.base import Array, Program, Spec
from tidemill.exporters.irpa import Entry, write_archive
from tidemill.exporters.mlir import require_parameters
from tidemill.exporters.modes import Accumulated, Widened
from tidemill.exporters.parameters import ParameterSource, match, open_weights
from tidemill.exporters.synthetic import SyntheticSource
from tidemill.exporters.trace import DTYPES, input_dtype


class TorchExporter(ABC):
    """One torch family. Subclasses give ``architecture`` and, where files differ, ``weights``."""

    #: Patterns of checkpoint tensors that the program has no use for.
    ignored: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def architecture(self, spec: Spec) -> Architecture:
        """Build the modules; ``program.forward`` takes the manifest's inputs in their order."""

    def weights(self, spec: Spec) -> ParameterSource:
        """Where the parameters are read, by checkpoint name."""
        return open_weights(spec.weights, pickle_allowed=spec.pickle_allowed)

    def aliases(self, spec: Spec, *, name: str) -> tuple[str, ...]:  # noqa: ARG002
        """Other names under which checkpoints hold the parameter ``name``."""
        return ()

    def export(self, spec: Spec, target: Path) -> Mapping[str, Any]:
        """Write the MLIR, see ``Exporter``. ``spec.weights`` is not read."""
        return self.lower(spec, target, with_weights=False)

    def lower(self, spec: Spec, target: Path, *, with_weights: bool) -> Mapping[str, Any]:
        """Export with the real values in memory, or without; the bytes are the same."""
        model, external = self._built(spec, spec.dtype)
        if with_weights:
            self._fill(spec, external)
        # iree-turbine takes seconds to import; packing and references do without it.
        from tidemill.exporters.lowering import write_mlir  # noqa: PLC0415

        write_mlir(model, spec, target=target)
        require_parameters(target, (item.name for item in external))
        return {
            "parameters": len(external),
            "parameter_bytes": sum(item.tensor.nbytes for item in external),
            "mlir_bytes": target.stat().st_size,
        }

    def pack(self, spec: Spec, target: Path) -> Mapping[str, Any]:
        """Write the IRPA, see ``Exporter``; entries are in the module's order."""
        _, external = self._built(spec, spec.dtype)
        source, chosen = self._source(spec, external)
        tensors = {item.name: item.tensor for item in external}

        def contents(entry: Entry) -> Iterator[memoryview]:
            for piece in source.pieces(chosen[entry.name]):
                yield raw_bytes(converted(piece, tensors[entry.name].dtype, name=entry.name))

        entries = [
            Entry(name=item.name, size=item.tensor.nbytes, metadata=metadata(item.tensor))
            for item in external
        ]
        size = write_archive(target, entries, contents=contents)
        return {"entries": len(entries), "irpa_bytes": size}

    def program(self, spec: Spec, precision: str) -> Program:
        """The eager program, see ``Exporter``."""
        model, external = self._built(spec, precision)
        self._fill(spec, external)

        def run(arrays: Sequence[Array]) -> list[Array]:
            given = [
                to_torch(array, input_dtype(item, dtype=precision))
                for array, item in zip(arrays, spec.inputs, strict=True)
            ]
            with torch.no_grad(), _precision(precision), _sums(precision):
                results = model.program(*given)
            return [to_numpy(result) for result in _as_tuple(results)]

        return run

    def _built(self, spec: Spec, precision: str) -> tuple[Architecture, tuple[External, ...]]:
        with _precision(precision):
            model = build(lambda: self.architecture(spec), dtype=DTYPES[precision])
        unused = tuple(spec.options.get("unused", ()))
        return model, needed(model.named, unused=unused)

    def _source(
        self, spec: Spec, external: Sequence[External]
    ) -> tuple[ParameterSource, Mapping[str, str]]:
        wanted = [item.needed(more=self.aliases(spec, name=item.name)) for item in external]
        source = (
            self.weights(spec)
            if spec.synthetic is None
            else SyntheticSource(wanted, synthetic=spec.synthetic)
        )
        ignored = (*self.ignored, *spec.options.get("ignore", ()), *spec.options.get("unused", ()))
        return source, match(wanted, source.shapes(), ignored=ignored)

    def _fill(self, spec: Spec, external: Sequence[External]) -> None:
        source, chosen = self._source(spec, external)
        for item in external:
            flat, start = item.tensor.detach().view(-1), 0
            for piece in source.pieces(chosen[item.name]):
                stop = start + piece.numel()
                flat[start:stop] = converted(piece, flat.dtype, name=item.name)
                start = stop


def converted(piece: torch.Tensor, dtype: torch.dtype, *, name: str) -> torch.Tensor:
    """``piece`` in ``dtype``, to nearest even. Raises WorkError when a finite value overflows."""
    result = piece.to(dtype)
    if dtype.is_floating_point and not bool(
        torch.equal(torch.isfinite(result), torch.isfinite(piece))
    ):
        raise WorkError(
            FailureClass.EXPORT,
            f"{name}: {float(piece.abs().max())} does not fit {dtype}",
            hint="use bf16 or f32 for this model",
        )
    return result


def metadata(tensor: torch.Tensor) -> str:
    """The text by which iree.turbine's ParameterArchive finds type and shape again."""
    about = {
        "type": "Tensor",
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
    }
    return f"PYTORCH:{json.dumps(about, sort_keys=True)}"


def raw_bytes(tensor: torch.Tensor) -> memoryview:
    """The little-endian bytes of a flat tensor."""
    return memoryview(tensor.contiguous().view(torch.uint8).numpy())


def to_torch(array: Array, dtype: torch.dtype) -> torch.Tensor:
    """``array`` as a tensor in ``dtype``; bfloat16 arrays of ml_dtypes are taken too."""
    plain = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
    return torch.from_numpy(np.array(plain, order="C")).to(dtype)


def to_numpy(tensor: torch.Tensor) -> Array:
    """``tensor`` as an array; bfloat16 as float32, which holds the same values."""
    plain = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    array: Array = plain.detach().numpy()
    return array


def _precision(precision: str) -> AbstractContextManager[Any]:
    return Widened() if precision == "f64" else nullcontext()


def _sums(precision: str) -> AbstractContextManager[Any]:
    return Accumulated() if precision == "f16" else nullcontext()


def _as_tuple(results: Any) -> tuple[torch.Tensor, ...]:
    return (results,) if isinstance(results, torch.Tensor) else tuple(results)
