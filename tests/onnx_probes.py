"""ONNX models made here, through the exporter. Run like exporter_probes.py."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.exporter_probes import entries, message, run_on_cpu
from tidemill.exporters.base import Dimension, InputSpec, Spec
from tidemill.exporters.mlir import parameters_of
from tidemill.exporters.onnx import EXPORTER
from tidemill.exporters.onnx_reference import evaluator

KERNEL = np.cos(np.arange(160, dtype=np.float32)).reshape(8, 4, 5)
MATRIX = np.sin(np.arange(240, dtype=np.float32)).reshape(8, 30)
BIAS = np.linspace(-1, 1, 30, dtype=np.float32)
SIGNAL = np.sin(np.arange(192, dtype=np.float32) / 3).reshape(3, 4, 16)


def write_model(path: Path) -> None:
    """Convolution over one axis, the largest value of each channel, a linear layer. Opset 13."""
    axes = numpy_helper.from_array(np.array([2], dtype=np.int64), "axes:0")
    nodes = [
        helper.make_node("Conv", ["signal", "kernel:0"], ["filtered"]),
        helper.make_node("GlobalMaxPool", ["filtered"], ["peaks"]),
        helper.make_node("Squeeze", ["peaks", "axes:0"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "some graph",
        [helper.make_tensor_value_info("signal", TensorProto.FLOAT, ["n", 4, 16])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 30])],
        [
            numpy_helper.from_array(KERNEL, "kernel:0"),
            numpy_helper.from_array(MATRIX, "matrix"),
            numpy_helper.from_array(BIAS, "bias"),
            axes,
        ],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def spec_for(path: Path, **changes: Any) -> Spec:
    """The request for the model above."""
    fields: dict[str, Any] = {
        "dtype": "f32",
        "options": {},
        "inputs": (InputSpec(name="signal", dtype="f32", shape=("batch", 4, 16)),),
        "dynamic": {"batch": Dimension(min=1, max=8)},
        "config": {},
        "weights": {"model.onnx": path},
    }
    return Spec(**(fields | changes))


def expected() -> Any:
    """The same model in plain numpy, float64."""
    windows = np.lib.stride_tricks.sliding_window_view(SIGNAL.astype(np.float64), 5, axis=2)
    filtered = np.einsum("ncwk,ock->now", windows, KERNEL.astype(np.float64))
    return filtered.max(axis=2) @ MATRIX.astype(np.float64) + BIAS


def model() -> dict[str, Any]:
    """Import, archive, reference, compiled program, refusals."""
    path = Path("model.onnx")
    write_model(path)
    spec = spec_for(path)
    facts = EXPORTER.export(spec, Path("a.mlir"))
    Path("elsewhere").mkdir()
    EXPORTER.export(spec, Path("elsewhere/b.mlir"))
    EXPORTER.pack(spec, Path("model.irpa"))
    stored = entries(Path("model.irpa"))
    exact = EXPORTER.program(spec, "f64")([SIGNAL])[0]
    result = run_on_cpu(Path("a.mlir"), Path("model.irpa"), SIGNAL)
    text = Path("a.mlir").read_text(encoding="utf-8")
    try:
        own = ReferenceEvaluator(onnx.load(path)).run(None, {"signal": SIGNAL})[0]
        onnx_alone: float | str = float(np.abs(own - expected()).max())
    except ValueError as error:
        onnx_alone = type(error).__name__
    return {
        "facts": facts,
        "same": Path("elsewhere/b.mlir").read_bytes() == Path("a.mlir").read_bytes(),
        "main": "func.func @main(" in text,
        "external": sorted(stored),
        "asked": sorted(parameters_of(Path("a.mlir"))),
        "bits": stored == {"kernel_0": KERNEL.tobytes(), "matrix": MATRIX.tobytes()},
        "exact dtype": str(exact.dtype),
        "exact": float(np.abs(exact - expected()).max()),
        "error": float(np.abs(result - expected()).max()),
        "onnx alone": onnx_alone,
        **refusals(path),
    }


def refusals(path: Path) -> dict[str, Any]:
    """What wrong files and declarations are answered with."""
    data = path.read_bytes()
    Path("short.onnx").write_bytes(data[: len(data) // 2])
    Path("empty.onnx").write_bytes(b"")
    out = Path("x.mlir")

    def exported(name: str, **changes: Any) -> dict[str, str]:
        files = {"weights": {name: Path(name)}}
        return message(lambda: EXPORTER.export(spec_for(path, **(files | changes)), out))

    other = (InputSpec(name="sound", dtype="f32", shape=("batch", 4, 16)),)
    twisted = (InputSpec(name="signal", dtype="i64", shape=("batch", 5, 16)),)
    return {
        "truncated": exported("short.onnx"),
        "empty": exported("empty.onnx"),
        "other name": exported("model.onnx", inputs=other),
        "twisted": exported("model.onnx", inputs=twisted),
        "half": message(lambda: EXPORTER.program(spec_for(path), "f16")),
    }


def write_constants(path: Path) -> None:
    """y = x @ matrix + bias, and a table; another bias where x's sum is negative.

    All weights are Constant nodes, unnamed as exporters of ONNX files leave them. Those of the two
    branches have one name. The table is an output itself.
    """

    def constant(name: str, values: Any) -> Any:
        return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values))

    def branch(name: str, values: Any, result: str) -> Any:
        out = helper.make_tensor_value_info(result, TensorProto.FLOAT, [240])
        add = helper.make_node("Add", ["::weight", "matrix_row"], [result])
        return helper.make_graph([constant("::weight", values), add], name, [], [out])

    row = MATRIX.reshape(240)
    zero = numpy_helper.from_array(np.zeros((), dtype=np.float32))
    nodes = [
        constant("::matrix", MATRIX),
        constant("matrix_row", row),
        constant("table", row[::-1].copy()),
        helper.make_node("MatMul", ["x", "::matrix"], ["product"]),
        helper.make_node("ReduceSum", ["product"], ["sum"], keepdims=0),
        helper.make_node("Constant", [], ["zero"], value=zero),
        helper.make_node("Less", ["sum", "zero"], ["negative"]),
        helper.make_node(
            "If",
            ["negative"],
            ["side"],
            then_branch=branch("then", row * 2, "one"),
            else_branch=branch("else", row * 3, "other"),
        ),
    ]
    outputs = [("product", ["n", 30]), ("side", [240]), ("table", [240])]
    graph = helper.make_graph(
        nodes,
        "constants",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def constants() -> dict[str, Any]:
    """Weights that are Constant nodes: what is asked for, packed, meant and computed."""
    path = Path("constants.onnx")
    write_constants(path)
    inputs = (InputSpec(name="x", dtype="f32", shape=("n", 8)),)
    changes: dict[str, Any] = {
        "inputs": inputs, "dynamic": {"n": Dimension(min=1, max=8)}, "weights": {"c.onnx": path},
    }  # fmt: skip
    spec = spec_for(path, **changes)
    EXPORTER.export(spec, Path("a.mlir"))
    EXPORTER.export(spec, Path("b.mlir"))
    EXPORTER.pack(spec, Path("model.irpa"))
    x = SIGNAL.reshape(-1, 8)[:5]
    before = ReferenceEvaluator(onnx.load(path))
    program = EXPORTER.program(spec, "f32")
    means = []
    for values in (x, -x):
        both = zip(before.run(None, {"x": values}), program([values]), strict=True)
        means += [bool(np.array_equal(one, other)) for one, other in both]
    inside = spec_for(path, **changes, options={"external_elements": 1000})
    EXPORTER.export(inside, Path("inside.mlir"))
    stored = entries(Path("model.irpa"))
    results = run_on_cpu(Path("a.mlir"), Path("model.irpa"), x)
    pairs = zip(results, before.run(None, {"x": x}), strict=True)
    return {
        "asked": sorted(parameters_of(Path("a.mlir"))),
        "stored": {name: len(data) for name, data in stored.items()},
        "bits": stored["__matrix"] == MATRIX.tobytes(),
        "same": Path("a.mlir").read_bytes() == Path("b.mlir").read_bytes(),
        "means": means,
        "inside": sorted(parameters_of(Path("inside.mlir"))),
        "error": max(float(np.abs(one - two).max()) for one, two in pairs),
    }


def old_file() -> dict[str, Any]:
    """IR version 3, where initializers are inputs too; one is an output, and one a constant."""
    info = helper.make_tensor_value_info
    weights = [
        numpy_helper.from_array(MATRIX, "w:0"), numpy_helper.from_array(BIAS.repeat(8), "t:0")
    ]  # fmt: skip
    row = numpy_helper.from_array(BIAS.repeat(8)[::-1].copy())
    nodes = [
        helper.make_node("Constant", [], ["row"], value=row),
        helper.make_node("MatMul", ["x", "w:0"], ["product"]),
        helper.make_node("Add", ["row", "t:0"], ["sum"]),
    ]
    inputs = [
        info("x", TensorProto.FLOAT, ["n", 8]),
        info("w:0", TensorProto.FLOAT, [8, 30]),
        info("t:0", TensorProto.FLOAT, [240]),
    ]
    outputs = [
        info(name, TensorProto.FLOAT, shape)
        for name, shape in (("product", ["n", 30]), ("sum", [240]), ("t:0", [240]))
    ]
    graph = helper.make_graph(nodes, "old", inputs, outputs, weights)
    opset = [helper.make_opsetid("", 8)]
    path = Path("old.onnx")
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=3), path)
    return tried(path)


def with_functions() -> dict[str, Any]:
    """A local function with a weight in it."""
    kernel = numpy_helper.from_array(MATRIX)
    body = [
        helper.make_node("Constant", [], ["w"], value=kernel),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
    ]
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "Layer", ["a"], ["b"], body, opset[:1])
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Layer", ["x"], ["y"], domain="own")],
        "functions",
        [info("x", TensorProto.FLOAT, ["n", 8])],
        [info("y", TensorProto.FLOAT, ["n", 30])],
    )
    path = Path("functions.onnx")
    model = helper.make_model(graph, opset_imports=opset, functions=[function], ir_version=8)
    onnx.save(model, path)
    return tried(path)


def tried(path: Path) -> dict[str, Any]:
    """Exported, packed, and compared with onnx's own evaluator of the file as it is."""
    inputs = (InputSpec(name="x", dtype="f32", shape=("n", 8)),)
    rows = {"n": Dimension(min=1, max=8)}
    spec = spec_for(path, inputs=inputs, dynamic=rows, weights={"m.onnx": path})
    mlir, irpa = path.with_suffix(".mlir"), path.with_suffix(".irpa")
    EXPORTER.export(spec, mlir)
    EXPORTER.pack(spec, irpa)
    x = SIGNAL.reshape(-1, 8)[:5]
    expected = ReferenceEvaluator(onnx.load(path)).run(None, {"x": x})
    wide = EXPORTER.program(spec, "f64")([x])
    result = run_on_cpu(mlir, irpa, x)
    compiled = result if isinstance(result, list) else [result]
    pairs = [*zip(expected, wide, strict=True), *zip(expected, compiled, strict=True)]
    return {
        "stored": sorted(entries(irpa)),
        "error": max(float(np.abs(one - two).max()) for one, two in pairs),
    }


def forms() -> dict[str, Any]:
    """Files of other forms."""
    return {"old": old_file(), "functions": with_functions()}


CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "strides": {"strides": [2, 3]},
    "pads": {"pads": [1, 0, 2, 3]},
    "dilations": {"dilations": [3, 2], "pads": [2, 1, 0, 1]},
    "groups": {"group": 2, "strides": [1, 2]},
    "depthwise": {"group": 6},
    "upper": {"auto_pad": "SAME_UPPER", "strides": [2, 2], "kernel_shape": [3, 2]},
    "lower": {"auto_pad": "SAME_LOWER", "strides": [2, 1], "kernel_shape": [3, 2]},
    "valid": {"auto_pad": "VALID", "strides": [3, 1]},
}


def convolution(rank: int, attributes: dict[str, Any], *, bias: bool) -> Any:
    """A model of one convolution with six channels in and out, over ``rank`` axes."""
    shape = [6, 6 // attributes.get("group", 1), *[3, 2, 2][:rank]]
    kernel = np.sin(np.arange(np.prod(shape), dtype=np.float64)).reshape(shape)
    weights = [numpy_helper.from_array(kernel, "w")]
    if bias:
        weights.append(numpy_helper.from_array(np.arange(6.0), "b"))
    node = helper.make_node("Conv", ["x", "w", "b"][: 2 + bias], ["y"], **attributes)
    ends = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in "xy"]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], weights)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


def convolutions() -> dict[str, Any]:
    """Distances of our convolution from onnx's own, and one with a large dilation."""

    def distance(model: Any, values: Any) -> float:
        own, ours = ReferenceEvaluator(model).run(None, {"x": values}), evaluator(model)([values])
        assert own[0].shape == ours[0].shape, (own[0].shape, ours[0].shape)
        return float(np.abs(own[0] - ours[0]).max())

    found: dict[str, Any] = {}
    plane = np.cos(np.arange(2 * 6 * 11 * 9, dtype=np.float64)).reshape(2, 6, 11, 9)
    for name, attributes in CONVOLUTIONS.items():
        found[name] = distance(convolution(2, attributes, bias=name != "plain"), plane)
    line, room = plane.reshape(2, 6, 99), plane.reshape(2, 6, 11, 3, 3)
    found["line"] = distance(convolution(1, {"dilations": [4]}, bias=True), line)
    found["room"] = distance(convolution(3, {"pads": [1, 0, 0, 1, 1, 0]}, bias=True), room)
    none = np.zeros((0, 6, 99))
    shape = evaluator(convolution(1, {}, bias=True))([none])[0].shape
    found["no rows"] = float(shape != (0, 6, 97))
    try:
        evaluator(convolution(1, {}, bias=True))([line[:, :5]])
        found["unfit"] = 1.0
    except ValueError as error:
        found["unfit"] = float("do not fit a kernel" not in str(error))
    wide = np.cos(np.arange(6 * 20000, dtype=np.float64)).reshape(1, 6, 20000)
    wave = convolution(1, {"dilations": [9000]}, bias=False)
    (result,) = evaluator(wave)([wide])
    kernel = numpy_helper.to_array(wave.graph.initializer[0])
    windows = [wide[0][:, 9000 * at : 9000 * at + 2000] for at in range(3)]
    found["wave"] = float(
        np.abs(result[0] - sum(kernel[:, :, at] @ one for at, one in enumerate(windows))).max()
    )
    return found


if __name__ == "__main__":
    probes = {"model": model, "constants": constants, "convolutions": convolutions, "forms": forms}
    Path("findings.json").write_text(json.dumps(probes[sys.argv[1]]()), encoding="utf-8")
