"""Working half of one peer of a benchmark: the same inputs and threads through another runtime.

* ``torch_eager``, ``torch_inductor``: the very module that was exported, with its real weights, in
  the variant's element type; tensors are made before the clock runs, as IREE's tool does it. Of a
  language model with a cache that is the module of each function.
* ``onnxruntime``: the ONNX file itself, on its CPU provider.

A peer that has nothing to run for a function says why in that function's row; so does one that
fails. How long the first call takes is told apart: that is when a compiler works.
"""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.base import Spec
from tidemill.steps.work.dtypes import HOLDERS, Array, from_bf16_bits
from tidemill.steps.work.protocol import Request, Response
from tidemill.steps.work.spec import exporter_of, spec_of

#: What programs with one function are called by, and language models with a cache.
MAIN, CACHED = "main", "cached_lm"
Call = Callable[[], object]
#: A function's name and arguments, each with its element type → what to call.
Prepare = Callable[[str, Sequence[tuple[Array, str]]], Call]
_TEXT = re.compile(r"(?P<sizes>(?:\d+x)*)[su]?(?P<type>[a-z]+\d+)(?:=(?P<value>[-+.\w]+))?")
_MESSAGE = 300


def run(request: Request) -> Response:
    """Measure every function. Raises WorkError where the peer cannot do any of them."""
    fields = request.fields
    prepare = _PEERS[fields["peer"]](request, spec_of(request), int(fields["threads"]))
    rows = [_row(prepare, work, fields=fields) for work in fields["works"]]
    return Response(made=(), facts={"rows": rows})


def _row(prepare: Prepare, work: Mapping[str, Any], *, fields: Mapping[str, Any]) -> dict[str, Any]:
    try:
        call = prepare(work["function"], [read(one) for one in work["inputs"]])
        first = _seconds(call)
        times = timed(call, repetitions=fields["repetitions"], seconds=fields["seconds"])
    except WorkError as error:
        return {"why": error.message}
    except Exception as error:  # noqa: BLE001 - whatever another runtime raises is its row
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        return {"why": f"{type(error).__name__}: {line}"[:_MESSAGE]}
    return {"times_ms": times, "first_ms": first * 1e3}


def timed(call: Call, *, repetitions: int, seconds: float) -> list[float]:
    """The mean time of one call in each repetition, in ms; all of the same number of calls."""
    calls = max(1, round(seconds / max(_seconds(call), 1e-9)))
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        times.append((time.perf_counter() - start) / calls * 1e3)
    return times


def _seconds(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def read(given: str) -> tuple[Array, str]:
    """An input as IREE's tool takes it, ``@file.npy`` or ``4x128xsi64=1``, and its element type.

    Raises WorkError for values that are not one number for all elements.
    """
    if given.startswith("@"):
        array: Array = np.load(Path(given[1:]), allow_pickle=False)
        if array.dtype == np.dtype("V2"):
            return from_bf16_bits(array.view(np.uint16)), "bf16"
        names = {holder: name for name, holder in HOLDERS.items() if name != "bf16"}
        return array, names[array.dtype]
    match = _TEXT.fullmatch(given)
    dtype = match["type"] if match else ""
    if match is None or dtype not in HOLDERS:
        raise WorkError(FailureClass.EXPORT, f"cannot make the input {given} here")
    shape = [int(size) for size in match["sizes"].split("x") if size]
    return np.full(shape, float(match["value"] or 0), HOLDERS[dtype]), dtype


def _torch(request: Request, spec: Spec, threads: int, /, *, compiled: bool) -> Prepare:
    import torch  # noqa: PLC0415 - onnxruntime does without it

    from tidemill.exporters.torch_exporter import TorchExporter, to_torch  # noqa: PLC0415
    from tidemill.exporters.trace import DTYPES  # noqa: PLC0415

    exporter = exporter_of(request)
    if not isinstance(exporter, TorchExporter):
        name = request.fields["exporter"]
        raise WorkError(FailureClass.EXPORT, f"exporter {name} has no torch module")
    torch.set_num_threads(threads)
    # What its program() runs. That file is part of every export's key: nothing is added to it.
    model, external = exporter._built(spec, spec.dtype)
    exporter._fill(spec, external)

    def prepare(function: str, arguments: Sequence[tuple[Array, str]]) -> Call:
        given = [to_torch(array, DTYPES[dtype]) for array, dtype in arguments]
        module = _module_of(function, model, driver=request.fields["driver"])
        program: Callable[..., object] = torch.compile(module) if compiled else module

        def call() -> object:
            with torch.no_grad():
                return program(*given)

        return call

    return prepare


def _module_of(function: str, model: Any, *, driver: str) -> Any:
    """The module that became ``function``. Raises WorkError when there is none."""
    if driver == CACHED:
        # Loads transformers, which other families may do without.
        from tidemill.exporters.cached_program import Decode, Prefill  # noqa: PLC0415

        functions = {"prefill": Prefill, "decode": Decode}
        if function in functions:
            return functions[function](model.named)
    elif driver == function == MAIN:
        return model.program
    raise WorkError(FailureClass.EXPORT, f"there is no torch module of function {function}")


def _torch_eager(request: Request, spec: Spec, threads: int, /) -> Prepare:
    return _torch(request, spec, threads, compiled=False)


def _torch_inductor(request: Request, spec: Spec, threads: int, /) -> Prepare:
    return _torch(request, spec, threads, compiled=True)


def _onnxruntime(request: Request, spec: Spec, threads: int, /) -> Prepare:
    models = [path for name, path in request.files("weights").items() if name.endswith(".onnx")]
    if request.fields["exporter"] != "onnx" or len(models) != 1:
        raise WorkError(FailureClass.EXPORT, "the component is no ONNX file")
    import onnxruntime  # noqa: PLC0415 - torch's peers do without it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        os.fspath(models[0]), options, providers=["CPUExecutionProvider"]
    )

    def prepare(function: str, arguments: Sequence[tuple[Array, str]]) -> Call:
        del function  # an ONNX model has one
        feed = {item.name: array for item, (array, _) in zip(spec.inputs, arguments, strict=True)}
        return lambda: session.run(None, feed)

    return prepare


_PEERS: Mapping[str, Callable[[Request, Spec, int], Prepare]] = {
    "torch_eager": _torch_eager,
    "torch_inductor": _torch_inductor,
    "onnxruntime": _onnxruntime,
}
