"""What each stage is, as data: who runs it, which of our code does the work, which tools it uses.

Importing this loads no tool. The working halves are in ``steps/work`` and run in child processes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tidemill.records import Stage

Runner = Literal["own", "toolchain", "iree-compile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInfo:
    """One stage. ``runner``: our own interpreter, the toolchain's, or its compiler directly.

    ``code`` are the modules whose import closure is part of the key; ``tools`` the toolchain
    packages whose versions are. ``warm``: its process spends seconds on imports of a framework and
    an exporter, so several may be forked from one that has done that.
    """

    runner: Runner
    code: tuple[str, ...]
    tools: tuple[str, ...]
    network: bool = False
    warm: bool = False


STEPS: Mapping[Stage, StepInfo] = {
    # The digests of fetched files are pinned, so the code that moves them cannot change them.
    "fetch": StepInfo(runner="own", code=(), tools=(), network=True),
    "quantize": StepInfo(
        runner="toolchain",
        code=("tidemill.steps.work.quantize",),
        tools=(
            "accelerate",
            "brevitas",
            "datasets",
            "numpy",
            "pyarrow",
            "sharktank",
            "tokenizers",
            "torch",
            "transformers",
        ),
    ),
    "export": StepInfo(
        runner="toolchain",
        code=("tidemill.steps.work.export",),
        tools=("iree-turbine", "iree-base-compiler"),
        warm=True,
    ),
    "pack": StepInfo(
        runner="toolchain", code=("tidemill.steps.work.pack",), tools=("numpy",), warm=True
    ),
    "reference": StepInfo(
        runner="toolchain", code=("tidemill.steps.work.reference",), tools=("numpy",), warm=True
    ),
    "compile": StepInfo(
        runner="iree-compile", code=("tidemill.steps.compile",), tools=("iree-base-compiler",)
    ),
    "validate": StepInfo(
        runner="toolchain",
        code=("tidemill.steps.work.validate",),
        tools=("iree-base-runtime", "numpy"),
    ),
    "benchmark": StepInfo(
        runner="toolchain",
        code=("tidemill.steps.work.benchmark", "tidemill.steps.work.peer"),
        tools=("iree-base-runtime", "numpy"),
    ),
    # A suite's tests are part of the package that brings them, so its version stands for them.
    "conformance": StepInfo(
        runner="toolchain",
        code=("tidemill.steps.work.conformance",),
        tools=("iree-base-compiler", "iree-base-runtime", "ml-dtypes", "numpy", "onnx"),
    ),
    "compare": StepInfo(runner="own", code=("tidemill.steps.work.compare",), tools=()),
}
