"""Working half of one peer of a benchmark: the same inputs and threads through another runtime.

* ``torch_eager``, ``torch_inductor``: the very module that was exported, with its real weights, in
  the variant's element type; tensors are made before the clock runs, as IREE's tool does it.
* ``onnxruntime``: the ONNX file itself, on its CPU provider.

A peer that has nothing to run for a function says why in that function's row; so does one that
fails. How long the first call takes is told apart: that is when a compiler works.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.base import Spec
from tidemill.steps.work.dtypes import Array, from_bf16_bits
from tidemill.steps.work.protocol import Request, Response
from tidemill.steps.work.spec import exporter_of, spec_of

Call = Callable[[], object]
Prepare = Callable[[Sequence[Array]], Call]
_RAW_BF16 = np.dtype("V2")
_MESSAGE = 300


def run(request: Request) -> Response:
    """Measure every function. Raises WorkError where the peer cannot do any of them."""
    fields = request.fields
    prepare = _PEERS[fields["peer"]](request, spec_of(request), int(fields["threads"]))
    rows = [_row(prepare, work, fields=fields) for work in fields["works"]]
    return Response(made=(), facts={"rows": rows})


def _row(prepare: Prepare, work: Mapping[str, Any], *, fields: Mapping[str, Any]) -> dict[str, Any]:
    files = [Path(one[1:]) for one in work["inputs"] if one.startswith("@")]
    if work["function"] != "main" or len(files) < len(work["inputs"]):
        return {"why": "does main only, with the inputs of a sample or of dims"}
    try:
        call = prepare([_read(path) for path in files])
        first = _seconds(call)
        times = timed(call, repetitions=fields["repetitions"], seconds=fields["seconds"])
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


def _read(path: Path) -> Array:
    array: Array = np.load(path, allow_pickle=False)
    return from_bf16_bits(array.view(np.uint16)) if array.dtype == _RAW_BF16 else array


def _torch(request: Request, spec: Spec, threads: int, /, *, compiled: bool) -> Prepare:
    import torch  # noqa: PLC0415 - onnxruntime does without it

    from tidemill.exporters.torch_exporter import TorchExporter, to_torch  # noqa: PLC0415
    from tidemill.exporters.trace import input_dtype  # noqa: PLC0415

    exporter = exporter_of(request)
    if not isinstance(exporter, TorchExporter):
        name = request.fields["exporter"]
        raise WorkError(FailureClass.EXPORT, f"exporter {name} has no torch module")
    torch.set_num_threads(threads)
    # What its program() runs. That file is part of every export's key: nothing is added to it.
    model, external = exporter._built(spec, spec.dtype)
    exporter._fill(spec, external)
    program: Callable[..., object] = torch.compile(model.program) if compiled else model.program

    def prepare(arrays: Sequence[Array]) -> Call:
        given = [
            to_torch(array, input_dtype(item, dtype=spec.dtype))
            for array, item in zip(arrays, spec.inputs, strict=True)
        ]

        def call() -> object:
            with torch.no_grad():
                return program(*given)

        return call

    return prepare


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

    def prepare(arrays: Sequence[Array]) -> Call:
        feed = {item.name: array for item, array in zip(spec.inputs, arrays, strict=True)}
        return lambda: session.run(None, feed)

    return prepare


_PEERS: Mapping[str, Callable[[Request, Spec, int], Prepare]] = {
    "torch_eager": _torch_eager,
    "torch_inductor": _torch_inductor,
    "onnxruntime": _onnxruntime,
}
