"""Some of onnx's own node tests, and graphs made here, through the steps of a suite. Run by probe.

Whatever a test comes to, the others must be there; what is wrong in shape must be told.
"""

import json
import os
import resource
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from iree.compiler.tools.binaries import find_tool
from onnx import TensorProto, helper

from tidemill.errors import WorkError
from tidemill.steps.work import conformance
from tidemill.steps.work.protocol import Request
from tidemill.steps.work.suite import cases as suite_cases
from tidemill.steps.work.suite import device
from tidemill.steps.work.suite.cases import Case
from tidemill.steps.work.suite.one import Outcome, Way, through

FLAGS = (
    "--iree-hal-target-device=local",
    "--iree-hal-local-target-device-backends=llvm-cpu",
    "--iree-llvmcpu-target-cpu=x86-64-v3",
    "--iree-input-demote-f64-to-f32=false",
)
WAY = Way(compiler=find_tool("iree-compile"), flags=FLAGS, device="local-task", seconds=300.0)
REAL = ("test_abs", "test_loop11", "test_max_uint8", "test_cast_DOUBLE_to_FLOAT", "test_and2d")


def case(name: str, *, wanted: Any, nodes: list[Any], dims: list[Any], given: Any) -> Case:
    """One graph from ``x`` to ``y`` with float values, and what is expected of it."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(dims))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Case(
        name=name,
        group="ai.onnx",
        model=model,
        inputs=(given,),
        outputs=(wanted,),
        rtol=1e-3,
        atol=1e-7,
    )


def fifth_is_wrong(one: Case) -> list[Any]:
    """The outcome of a test whose device gives other values at the fifth call, and the calls."""
    plain, calls = device.call, []

    def call(*given: Any, **more: Any) -> Any:
        calls.append(1)
        made = plain(*given, **more)
        return [value * 2 for value in made] if len(calls) == 5 else made

    with mock.patch.object(device, "call", call):
        return [*outcome(one)[:2], len(calls)]


def outcome(one: Case, *, way: Way = WAY) -> list[Any]:
    """Its class, its line and the phases that it has been through."""
    phases: list[str] = []
    found = through(one, way=way, tell=phases.append)
    return [found.outcome, found.line, phases]


def made() -> dict[str, Any]:
    """Graphs of which it is known what they must come to."""
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    ones = np.ones((1, 1, 4, 4), np.float32)
    open_dims = [1, 1, "height", "width"]
    good = case("good", nodes=relu, dims=open_dims, given=ones, wanted=ones)
    empty = np.empty((1, 1, 0, 0), np.float32)
    slow = replace(WAY, seconds=0.001)
    unknown = replace(WAY, flags=("--no-such-flag",))
    strings = replace(good, name="strings", outputs=(np.array(["a"], dtype=object),))
    return {
        "good": outcome(good),
        "empty result": outcome(replace(good, inputs=(empty,))),
        "empty expected": outcome(replace(good, outputs=(empty,))),
        "wrong": outcome(replace(good, outputs=(ones * 2,))),
        "now and then": fifth_is_wrong(good),
        "strings": outcome(strings),
        "slow": outcome(good, way=slow),
        "flag": outcome(good, way=unknown),
        "no operator": outcome(
            case(
                "odd",
                nodes=[helper.make_node("NoSuchOperator", ["x"], ["y"])],
                dims=open_dims,
                given=ones,
                wanted=ones,
            )
        ),
        "absent": outcome(replace(good, inputs=(None,))),
    }


def compiler(name: str, script: str) -> Way:
    """A way with a compiler that does what ``script`` says."""
    path = Path(name).absolute()
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return replace(WAY, compiler=str(path))


def spoilt(one: Case, *, way: Way = WAY, file_bytes: int | None = None) -> list[str]:
    """The class and message of the WorkError, or the outcome where there is none."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, before[1]))
    try:
        return ["outcome", *outcome(one, way=way)[:2]]
    except WorkError as error:
        return [error.failure, error.message]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def killed_worker() -> list[str]:
    """The class and message of a step of which one worker is killed, again and again."""
    parts = vars(conformance)
    parts["cases"] = lambda _kind: [one for one in suite_cases.cases("node") if one.name in REAL]

    def killed(one: Case, *, way: Way, tell: Any) -> Outcome:
        del way
        if one.name == "test_and2d":
            tell("run")
            os.kill(os.getpid(), signal.SIGKILL)
        return Outcome(outcome="pass")

    parts["through"] = killed
    fields = {"kind": "node", "flags": [], "device": "local-task", "test_seconds": 300}
    try:
        conformance.run(Request(step="conformance", fields=fields))
    except WorkError as error:
        return [error.failure, error.message]
    return ["a table"]


def host() -> dict[str, Any]:
    """What becomes of a sound graph on a host that has trouble."""
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    ones = np.ones((1, 1, 4, 4), np.float32)
    good = case("good", nodes=relu, dims=[1, 1, 4, 4], given=ones, wanted=ones)
    small = len(good.model.SerializeToString()) + 8  # the MLIR is longer
    return {
        "KILL": spoilt(good, way=compiler("killed", "kill -KILL $$")),
        "TERM": spoilt(good, way=compiler("ended", "kill -TERM $$")),
        "SEGV": spoilt(good, way=compiler("crashed", "kill -SEGV $$")),
        "full": spoilt(good, way=compiler("full", "echo No space left on device >&2; exit 1")),
        "no process": spoilt(good, way=replace(WAY, compiler=str(Path("absent").absolute()))),
        "no model": spoilt(good, file_bytes=1),
        "worker": killed_worker(),
        "no MLIR": spoilt(good, file_bytes=small),
    }


def busy() -> dict[str, Any]:
    """A step whose tests take too long where others run, one of them always; and its device."""
    suite = [one for one in suite_cases.cases("node") if one.name in REAL]
    parts = vars(conformance)
    tries: dict[str, Any] = {"at a time": [], "devices": []}
    parts["cases"] = lambda _kind: suite

    class Pool:
        """Instead of workers: notes how many there would be, and asks in this process."""

        def __init__(self, *, work: Any, count: int, seconds: float) -> None:
            del seconds
            tries["at a time"].append(count)
            self.work = work

        def each(self, total: int) -> Any:
            return ((number, self.work(number, str)) for number in range(total))

    def slow(one: Case, *, way: Way, tell: Any) -> Outcome:
        del tell
        tries["devices"].append(way.device)
        alone = len(tries["at a time"]) > 1 and tries["at a time"][-1] == 1
        late = one.name == "test_loop11" or (one.name == "test_abs" and not alone)
        return Outcome(outcome="timeout" if late else "pass")

    parts["Pool"], parts["through"] = Pool, slow
    os.sched_getaffinity = lambda _pid: set(range(192))
    fields = {"kind": "node", "flags": [], "device": "local-task", "test_seconds": 300}
    os.environ["TIDEMILL_DEVICE_URI"] = "local-task://1"
    conformance.run(Request(step="conformance", fields=fields))
    table = json.loads(Path("out/table.json").read_text(encoding="utf-8"))
    local = {"tests": {one["name"]: one["outcome"] for one in table["tests"]}, **tries}
    tries.update({"at a time": [], "devices": []})
    os.environ["TIDEMILL_DEVICE_URI"] = "hip://1"
    conformance.run(Request(step="conformance", fields={**fields, "device": "hip"}))
    return {"local": local, "hip": tries}


def step() -> dict[str, Any]:
    """The whole step over a few real tests, one of which ends its process."""
    real = [one for one in suite_cases.cases("node") if one.name in REAL]
    every = len(suite_cases.cases("node"))
    parts = vars(conformance)
    parts["cases"] = lambda _kind: real

    def deadly(one: Case, **how: Any) -> Any:
        if one.name == "test_and2d":
            how["tell"]("run")
            os.kill(os.getpid(), signal.SIGSEGV)
        return through(one, **how)

    parts["through"] = deadly
    fields = {"kind": "node", "flags": list(FLAGS), "device": "local-task", "test_seconds": 300}
    texts = []
    for _ in range(2):
        response = conformance.run(Request(step="conformance", fields=fields))
        texts.append(Path("out/table.json").read_text(encoding="utf-8"))
    return {
        "every": every,
        "same twice": texts[0] == texts[1],
        "table": json.loads(texts[0]),
        "facts": dict(response.facts),
        "made": [[one.name, one.kind] for one in response.made],
    }


if __name__ == "__main__":
    findings = {"made": made, "step": step, "host": host, "busy": busy}[sys.argv[1]]()
    Path("findings.json").write_text(json.dumps(findings), encoding="utf-8")
