"""Small MLIR programs, a compiler for them, and a bench that validates what comes out."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tidemill
from tidemill.steps.work.dtypes import Array, round_to, save_array
from tidemill.steps.work.metrics import compare
from tidemill.steps.work.protocol import ChildError, Made, Request, Response, read_response

MAIN = Path(tidemill.__file__).parent / "steps/work/main.py"
WEIGHT = np.sin(np.arange(32, dtype=np.float32)).reshape(4, 8)
BIAS = np.cos(np.arange(8, dtype=np.float32))
INPUT = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
TABLE = np.roll(np.eye(5, dtype=np.float32), 2, axis=1)

LINEAR = """
func.func @main(%x: tensor<?x4xf32>) -> tensor<?x8xf32> {{
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %w = arith.constant dense<{weight}> : tensor<4x8xf32>
  %b = {bias} : tensor<8xf32>
  %n = tensor.dim %x, %c0 : tensor<?x4xf32>
  %e = tensor.empty(%n) : tensor<?x8xf32>
  %f = linalg.fill ins(%zero : f32) outs(%e : tensor<?x8xf32>) -> tensor<?x8xf32>
  %m = linalg.matmul ins(%x, %w : tensor<?x4xf32>, tensor<4x8xf32>)
    outs(%f : tensor<?x8xf32>) -> tensor<?x8xf32>
  %r = linalg.generic {{
      indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>,
        affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]}}
    ins(%m, %b : tensor<?x8xf32>, tensor<8xf32>) outs(%e : tensor<?x8xf32>) {{
      ^bb0(%p: f32, %q: f32, %o: f32):
        %s = arith.addf %p, %q : f32
        linalg.yield %s : f32
    }} -> tensor<?x8xf32>
  return %r : tensor<?x8xf32>
}}
"""
LOOK_UP = """
func.func @main(%ids: tensor<1x?xi64>) -> tensor<1x?x5xf32> {{
  %c1 = arith.constant 1 : index
  %t = arith.constant dense<{table}> : tensor<5x5xf32>
  %n = tensor.dim %ids, %c1 : tensor<1x?xi64>
  %e = tensor.empty(%n) : tensor<1x?x5xf32>
  %r = linalg.generic {{
      indexing_maps = [affine_map<(b, s, v) -> (b, s)>, affine_map<(b, s, v) -> (b, s, v)>],
      iterator_types = ["parallel", "parallel", "parallel"]}}
    ins(%ids : tensor<1x?xi64>) outs(%e : tensor<1x?x5xf32>) {{
      ^bb0(%id: i64, %o: f32):
        %v = linalg.index 2 : index
        %i = arith.index_cast %id : i64 to index
        %l = tensor.extract %t[%i, %v] : tensor<5x5xf32>
        linalg.yield %l : f32
    }} -> tensor<1x?x5xf32>
  return %r : tensor<1x?x5xf32>
}}
"""
EVERY_TYPE = """
func.func @main(%a: tensor<2x3xbf16>, %b: tensor<2x3xf16>, %c: tensor<3xi1>, %d: tensor<i64>)
    -> (tensor<2x3xbf16>, tensor<2x3xf16>, tensor<3xi1>, tensor<i64>) {
  %r = arith.addf %a, %a : tensor<2x3xbf16>
  %s = arith.addf %b, %b : tensor<2x3xf16>
  %one = arith.constant dense<true> : tensor<3xi1>
  %t = arith.xori %c, %one : tensor<3xi1>
  %u = arith.addi %d, %d : tensor<i64>
  return %r, %s, %t, %u : tensor<2x3xbf16>, tensor<2x3xf16>, tensor<3xi1>, tensor<i64>
}
"""
CPU = (
    "--iree-hal-target-device=local",
    "--iree-hal-local-target-device-backends=llvm-cpu",
    "--iree-llvmcpu-target-cpu=x86-64-v3",
)


def linear(weight: Array = WEIGHT, *, bias: str = "") -> str:
    constant = bias or f"arith.constant dense<{BIAS.tolist()}>"
    return LINEAR.format(weight=weight.tolist(), bias=constant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """The compiler and interpreter of the toolchain, with a folder for what they make."""

    python: Path
    folder: Path

    def archive(self, name: str, parameter: str) -> Path:
        """An IRPA file with eight times 0.5 under one name."""
        path = self.folder / name
        script = "import sys, numpy, iree.runtime as r; value = numpy.full(8, 0.5, numpy.float32)"
        script += "; r.save_archive_file({sys.argv[2]: value}, sys.argv[1])"
        subprocess.run([self.python, "-c", script, str(path), parameter], check=True)
        return path

    def compiled(self, name: str, text: str, *flags: str) -> Path:
        source, module = self.folder / f"{name}.mlir", self.folder / f"{name}.vmfb"
        if not module.exists():
            source.write_text(text)
            compiler = self.python.parent / "iree-compile"
            command = [str(compiler), str(source), "-o", str(module), *(flags or CPU)]
            subprocess.run(command, check=True, capture_output=True)
        return module


@dataclass(slots=True, kw_only=True)
class Bench:
    """One validation: a reference made here, a module, and what the child says."""

    toolchain: Toolchain
    work: Path
    dtype: str = "f32"
    log: str = ""

    def reference(
        self,
        inputs: list[tuple[Array, str]],
        outputs: list[tuple[Array, str]],
        *,
        greedy: dict[str, Any] | None = None,
    ) -> None:
        """Write a reference of one sample: inputs with their types, outputs with the types due."""
        described: dict[str, list[dict[str, Any]]] = {"inputs": [], "outputs": []}
        for role, arrays in (("input", inputs), ("output", outputs)):
            for index, (array, dtype) in enumerate(arrays):
                file = f"s.{role}{index}.npy"
                stored = dtype if role == "input" or array.dtype.kind != "f" else "f64"
                save_array(self.work / file, array, dtype=stored)
                entry = {"name": f"{role}{index}", "file": file, "shape": list(array.shape)}
                if role == "input":
                    described["inputs"].append({**entry, "dtype": dtype})
                else:
                    native = round_to(array, dtype)
                    noise = compare(native, array, dtype=dtype).to_json()
                    rest = {"stored": stored, "dtypes": [dtype], "noise": noise}
                    described["outputs"].append({**entry, **rest})
        sample = {"name": "s", "dims": {}, **described, "greedy": greedy}
        index_text = {"format": 1, "dtype": self.dtype, "precision": "f64", "samples": [sample]}
        (self.work / "reference.json").write_text(json.dumps(index_text))

    def validate(
        self, module: Path, *, parameters: Path | None = None, **fields: Any
    ) -> Response | ChildError:
        """Run the step in the child process."""
        names = [path.name for path in self.work.iterdir() if path.name.startswith(("s.", "ref"))]
        request = Request(
            step="validate",
            fields={
                "device": "local-task",
                "function": "main",
                "dtype": self.dtype,
                "inputs": [],
                "numerics": {"factor": 8.0},
                **fields,
            },
            inputs={
                "module": {"model.vmfb": str(module)},
                "parameters": {"model.irpa": str(parameters)} if parameters else {},
                "reference": {name: name for name in names},
            },
        )
        (self.work / "request.json").write_text(request.to_json())
        done = subprocess.run(
            [self.toolchain.python, "-P", str(MAIN)],
            cwd=self.work,
            capture_output=True,
            text=True,
            check=False,
        )
        self.log = done.stdout + done.stderr
        return read_response(self.work)

    def verdict(self, module: Path, **fields: Any) -> dict[str, Any]:
        """The verdict, from its file."""
        answer = self.validate(module, **fields)
        assert isinstance(answer, Response), f"{answer}\n{self.log}"
        assert answer.made == (Made(name="verdict.json", kind="verdict"),)
        found: dict[str, Any] = json.loads((self.work / "out/verdict.json").read_text())
        assert answer.facts == {"holds": found["holds"], "verdict": found}
        return found

    def error(self, module: Path, **fields: Any) -> ChildError:
        """The error of a validation that cannot come to a verdict."""
        answer = self.validate(module, **fields)
        assert isinstance(answer, ChildError), f"{answer}\n{self.log}"
        assert not (self.work / "out/verdict.json").exists()
        return answer
