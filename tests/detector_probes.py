"""An ONNX model of open height and width, exported, compiled and validated. Run by probe.

The program itself is right. It is given other pictures than the reference was made of, so that it
ends well with a result of another shape, or with none: what a wrong program of a detector does.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from iree import compiler
from onnx import TensorProto, helper, numpy_helper

from tests.exporter_probes import CPU
from tidemill.steps.work import export, pack, reference, validate
from tidemill.steps.work.protocol import Request

NAME = "model.onnx"
KERNEL = np.cos(np.arange(100, dtype=np.float32)).reshape(4, 1, 5, 5)
TWICE = np.array([1, 1, 2, 2], dtype=np.float32)
PROGRAM = {
    "exporter": "onnx",
    "dtype": "f32",
    "options": {},
    "inputs": [{"name": "picture", "dtype": "f32", "shape": [1, 1, "height", "width"]}],
    "dynamic": {name: {"min": 0, "max": 64} for name in ("height", "width")},
    "synthetic": None,
    "pickle": False,
}
SAMPLE = {
    "name": "text",
    "dims": {"height": 8, "width": 12},
    "inputs": {"picture": {"kind": "normal", "seed": 1}},
}


def write_model() -> None:
    """Features at half the size, and a map of the size of the picture from them."""
    nodes = [
        helper.make_node("Conv", ["picture", "kernel"], ["half"], strides=[2, 2], pads=[2] * 4),
        helper.make_node("Resize", ["half", "", "twice"], ["whole"], mode="nearest"),
        helper.make_node("Sigmoid", ["whole"], ["map"]),
    ]
    sizes = ["height", "width"]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 1, *sizes])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, 4, None, None])],
        [numpy_helper.from_array(KERNEL, "kernel"), numpy_helper.from_array(TWICE, "twice")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), NAME)


def build() -> dict[str, Path]:
    """The artifacts: MLIR, parameters, module, and the reference in ``reference/``."""
    write_model()
    weights = {"weights": {NAME: NAME}}
    export.run(Request(step="export", fields=PROGRAM, inputs=weights))
    pack.run(Request(step="pack", fields=PROGRAM, inputs=weights))
    for name in ("model.mlir", "model.irpa"):
        Path("out", name).rename(name)
    compiler.compile_file("model.mlir", output_file="model.vmfb", input_type="auto", extra_args=CPU)
    fields = {**PROGRAM, "samples": [SAMPLE], "precision": "f64"}
    reference.run(Request(step="reference", fields=fields, inputs=weights))
    Path("out").rename("reference")
    return {path.name: path for path in Path("reference").iterdir()}


def verdict(files: dict[str, Path]) -> Any:
    """What validation says of the module, with this reference."""
    fields = {
        "device": "local-task",
        "function": "main",
        "dtype": "f32",
        "inputs": PROGRAM["inputs"],
        "numerics": {},
    }
    inputs = {
        "module": {"model.vmfb": "model.vmfb"},
        "parameters": {"model.irpa": "model.irpa"},
        "reference": {name: str(path) for name, path in files.items()},
    }
    found = validate.run(Request(step="validate", fields=fields, inputs=inputs))
    shutil.rmtree("out")
    return found.facts["verdict"]


def shapes() -> dict[str, Any]:
    """Verdicts with the reference's own picture, with a smaller one, and with one of no size."""
    files = build()
    found = {"as it is": verdict(files)}
    for name, size in (("smaller", (6, 6)), ("of no size", (0, 0))):
        np.save("other.npy", np.ones((1, 1, *size), np.float32))
        found[name] = verdict({**files, "text.input0.npy": Path("other.npy")})
    return {name: {"holds": one["holds"], "reasons": one["reasons"]} for name, one in found.items()}


if __name__ == "__main__":
    found = {"shapes": shapes}[sys.argv[1]]()
    Path("findings.json").write_text(json.dumps(found), encoding="utf-8")
