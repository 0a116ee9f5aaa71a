"""Models that come as ONNX files, through IREE's ``iree-import-onnx``.

Not weightless: architecture and weights are one file, the one in role ``weights``. Initializers
and constants with at least ``options.external_elements`` (100) elements become external parameters,
scope ``model``; smaller ones, which often are shapes and axes, stay in the MLIR, where the compiler
can fold them.

The public function is ``main``. Inputs must be those of the graph, by name, in its order; a fixed
size in the manifest replaces an open one of the graph. The opset is raised to ``options.opset``
(17) where it is lower.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from iree.compiler.tools.import_onnx import __main__ as import_tool
from onnx import ModelProto, TensorProto, ValueInfoProto, numpy_helper

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.base import Array, Exporter, InputSpec, Program, Spec
from tidemill.exporters.irpa import Entry, write_archive
from tidemill.exporters.mlir import SCOPE, require_parameters
from tidemill.exporters.onnx_constants import elements, lift, plain
from tidemill.exporters.onnx_reference import evaluator, graphs, widened

OPSET = 17
EXTERNAL_ELEMENTS = 100
IMPORT_ERRORS = (
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    onnx.checker.ValidationError,
    import_tool.onnx_importer.OnnxImportError,
)
ELEMENT_TYPES = {
    "i64": TensorProto.INT64,
    "i32": TensorProto.INT32,
    "bool": TensorProto.BOOL,
    "f64": TensorProto.DOUBLE,
    "f32": TensorProto.FLOAT,
    "float": TensorProto.FLOAT,
    "f16": TensorProto.FLOAT16,
    "bf16": TensorProto.BFLOAT16,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The model as it is imported, and its external tensors in the file's order."""

    model: ModelProto
    external: tuple[TensorProto, ...]
    threshold: int


class OnnxExporter:
    """Any ONNX model that IREE's importer takes."""

    def export(self, spec: Spec, target: Path) -> Mapping[str, Any]:
        """Write the MLIR, see ``Exporter``."""
        prepared = prepare(spec)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "model.onnx"
            onnx.save(prepared.model, source)
            arguments = [str(source), "-o", str(target), "--externalize-params", "--no-save-params"]
            arguments += ["--params-scope", SCOPE]
            arguments += ["--num-elements-threshold", str(prepared.threshold)]
            try:
                import_tool.main(import_tool.parse_arguments(arguments))
            except IMPORT_ERRORS as error:
                raise _fault(
                    f"iree-import-onnx cannot import the model: {_first(error)}"
                ) from error
        _require_parameters(target, prepared.external)
        return {
            "parameters": len(prepared.external),
            "parameter_bytes": sum(len(_bytes(tensor)) for tensor in prepared.external),
            "mlir_bytes": target.stat().st_size,
        }

    def pack(self, spec: Spec, target: Path) -> Mapping[str, Any]:
        """Write the IRPA, see ``Exporter``. The ONNX file is in memory; so memory grows with it."""
        prepared = prepare(spec)
        tensors = {tensor.name: tensor for tensor in prepared.external}

        def contents(entry: Entry) -> Iterator[memoryview]:
            yield memoryview(_bytes(tensors[entry.name]))

        entries = [Entry(name=name, size=len(_bytes(tensor))) for name, tensor in tensors.items()]
        size = write_archive(target, entries, contents=contents)
        return {"entries": len(entries), "irpa_bytes": size}

    def program(self, spec: Spec, precision: str) -> Program:
        """The model in onnx's reference evaluator. Only f32 and f64: ONNX files fix their types."""
        if precision not in ("f32", "f64"):
            raise _fault(f"an ONNX model runs in f32 or f64, not in {precision}")
        model = prepare(spec).model
        run = evaluator(widened(model) if precision == "f64" else model)
        wide = np.dtype(np.float64)

        def program(arrays: Sequence[Array]) -> list[Array]:
            if precision == "f64":
                arrays = [item.astype(wide) if item.dtype.kind == "f" else item for item in arrays]
            return run(arrays)

        return program


def prepare(spec: Spec) -> Prepared:
    """Read, check and normalise the model, the same for every step. Raises WorkError."""
    if spec.synthetic is not None:
        raise _fault(
            "an ONNX model has no synthetic weights", hint="declare its file under `weights`"
        )
    model = plain(_read(spec.weights))
    _bind_inputs(model, spec.inputs)
    model.graph.name = "main"
    opset = int(spec.options.get("opset", OPSET))
    try:
        if _opset_of(model) < opset:
            model = onnx.version_converter.convert_version(model, opset)
    except RuntimeError as error:
        raise _fault(
            f"the model cannot be raised to opset {opset}: {_first(error)}",
            hint="set `options.opset` to the model's own",
        ) from error
    threshold = int(spec.options.get("external_elements", EXTERNAL_ELEMENTS))
    lift(model, threshold=threshold)
    _name_initializers(model)
    external = tuple(tensor for tensor in model.graph.initializer if elements(tensor) >= threshold)
    return Prepared(model=model, external=external, threshold=threshold)


def _require_parameters(mlir: Path, external: Sequence[TensorProto]) -> None:
    try:
        require_parameters(mlir, (tensor.name for tensor in external))
    except WorkError as error:
        raise _fault(
            error.message,
            hint="the importer took other weights out of the graph than this exporter knows of:"
            " a fault of ours, please report the file; until then options.external_elements with"
            " a number above all of theirs keeps them in the MLIR",
        ) from error


def _read(files: Mapping[str, Path]) -> ModelProto:
    if len(files) != 1:
        raise _fault(f"onnx reads one weights file, {len(files)} are declared")
    ((label, path),) = files.items()
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError, OSError) as error:
        raise _fault(f"{label} is not a readable ONNX model: {_first(error)}") from error
    return model


def _bind_inputs(model: ModelProto, inputs: Sequence[InputSpec]) -> None:
    """Give the graph's inputs the manifest's shapes. All disagreements are listed at once."""
    graph_inputs = model.graph.input
    names, wanted = [value.name for value in graph_inputs], [item.name for item in inputs]
    if names != wanted:
        raise _fault(f"the graph's inputs are {names}, the manifest's {wanted}")
    problems = [
        problem
        for value, item in zip(graph_inputs, inputs, strict=True)
        for problem in _bind(value, item)
    ]
    if problems:
        raise _fault("the manifest's inputs do not fit the graph: " + "; ".join(problems))


def _bind(value: ValueInfoProto, item: InputSpec) -> Iterator[str]:
    kind = value.type.tensor_type
    if kind.elem_type != ELEMENT_TYPES[item.dtype]:
        yield f"{item.name} is {TensorProto.DataType.Name(kind.elem_type)}, not {item.dtype}"
    if len(kind.shape.dim) != len(item.shape):
        yield f"{item.name} has {len(kind.shape.dim)} dimensions, not {len(item.shape)}"
        return
    for place, (own, size) in enumerate(zip(kind.shape.dim, item.shape, strict=True)):
        fixed = own.dim_value if own.HasField("dim_value") else None
        if fixed is not None and fixed != size:
            yield f"{item.name} dimension {place} is {fixed}, not {size}"
        elif isinstance(size, int):
            own.dim_value = size
        else:
            own.dim_param = size


def _name_initializers(model: ModelProto) -> None:
    """Give initializers the names that the importer would give them, but see clashes."""
    names = {tensor.name: tensor.name.replace(":", "_") for tensor in model.graph.initializer}
    other = {name for graph in graphs(model.graph) for node in graph.node for name in node.output}
    if "" in names or len(set(names.values()) - other) != len(model.graph.initializer):
        raise _fault("initializers have no name, or names that are equal but for ':' and '_'")
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]
    for graph in graphs(model.graph):
        for node in graph.node:
            for place, name in enumerate(node.input):
                node.input[place] = names.get(name, name)


def _opset_of(model: ModelProto) -> int:
    return next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)


def _bytes(tensor: TensorProto) -> bytes:
    return numpy_helper.to_array(tensor).tobytes()


def _first(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _fault(message: str, *, hint: str = "check the source and the manifest") -> WorkError:
    return WorkError(FailureClass.EXPORT, message, hint=hint)


EXPORTER: Exporter = OnnxExporter()
