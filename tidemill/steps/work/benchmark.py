"""Working half of ``benchmark``: how long calls of a compiled module take, by IREE's own tool.

``out/benchmark.json`` says for each function what ``iree-benchmark-module`` measured and, where
peers were asked for, how long the same work takes them. A tool that measures nothing is a failure
of its class, never a zero. A peer that cannot do it is not: its row says why.

Fields: ``device``, ``functions``, ``repetitions``, ``seconds``, ``tool_flags``, ``peers`` and
``machine``, what the numbers hold for (see ``toolchain.machine``). An argument is a ``file`` of the
reference, a ``shape`` to be filled with ones, or a ``text`` as the tool takes it.
"""

import importlib.util
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import iree.runtime as iree
import numpy as np

from tidemill.errors import FailureClass, WorkError
from tidemill.sizes import filled, product
from tidemill.steps.work.benchmark_command import LOCAL, TOOL, Call, arguments, driver_of
from tidemill.steps.work.dtypes import HOLDERS, save_array
from tidemill.steps.work.peers import Work, measured_peer
from tidemill.steps.work.protocol import OUT, Made, Request, Response
from tidemill.steps.work.runner import class_of
from tidemill.steps.work.spread import Json, NoMeasurement, repetitions_of, spread

MODULE, PARAMETERS, RESULT = "model.vmfb", "model.irpa", "benchmark.json"
DEVICE_URI = "TIDEMILL_DEVICE_URI"
#: IREE's own bound of workers (--task_topology_max_group_count): more are no faster there.
MOST_THREADS = 64
_DECLARED = "correct `benchmark.functions` in the manifest"
_LINES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One module on one device: everything that all functions of a benchmark have in common."""

    tool: Path
    device: str
    module: Path
    parameters: Path | None
    threads: int
    request: Request
    config: Mapping[str, Any]

    @property
    def local(self) -> bool:
        """Whether the host's own processor is the device."""
        return driver_of(self.device) == LOCAL


def run(request: Request) -> Response:
    """Write ``out/benchmark.json``; its content is also the fact ``benchmark``.

    Raises WorkError as the tool fails; then nothing was measured.
    """
    fields = request.fields
    bench = Bench(
        tool=tool_path(),
        device=os.environ.get(DEVICE_URI) or fields["device"],
        module=request.files("module")[MODULE],
        parameters=request.files("parameters").get(PARAMETERS),
        threads=min(int(fields["machine"]["processors"]), MOST_THREADS),
        request=request,
        config=_config(request),
    )
    load = os.getloadavg()[0]
    works = works_of(bench, fields["functions"])
    measured = [_measured(bench, work) for work in works]
    for one in measured:  # into the log: a peer that is killed takes the file with it
        print(f"{one['name']}: median {one['median_ms']:.4g} ms, iqr {one['iqr_ms']:.4g} ms")  # noqa: T201
    for peer in fields["peers"]:
        _beside(peer, bench, works=works, measured=measured)
    result = {
        "machine": fields["machine"],
        "threads": bench.threads if bench.local else None,
        "load": round(load, 2),
        "vmfb_bytes": bench.module.stat().st_size,
        "functions": measured,
    }
    text = json.dumps(result, indent=1, allow_nan=False)
    (Path(OUT) / RESULT).write_text(text + "\n", encoding="utf-8")
    return Response(made=(Made(name=RESULT, kind="benchmark"),), facts={"benchmark": result})


def works_of(bench: Bench, functions: Sequence[Json]) -> list[Work]:
    """What is to be called, with inputs as the tool takes them. Raises WorkError."""
    known = functions_of(bench.module)
    works = []
    for index, one in enumerate(functions):
        if one["function"] not in known:
            raise WorkError(
                FailureClass.COMPILE,
                f"{MODULE} has no function '{one['function']}'; it has {', '.join(known)}",
                hint=_DECLARED,
            )
        works.append(
            Work(
                name=one["name"],
                function=one["function"],
                inputs=_given(one["arguments"], bench=bench, folder=Path(f"given{index}")),
                tokens=_product(one["tokens"], bench.config),
            )
        )
    return works


def tool_path() -> Path:
    """The native program beside the runtime of this interpreter. Raises WorkError."""
    found = importlib.util.find_spec("iree._runtime_libs")
    for folder in (found and found.submodule_search_locations) or ():
        if (tool := Path(folder) / TOOL).is_file():
            return tool
    hint = "build the toolchain again: tidemill toolchain sync --force"
    raise WorkError(FailureClass.HOST, f"this toolchain's runtime has no {TOOL}", hint=hint)


def functions_of(module: Path) -> list[str]:
    """The functions that a module exports. Raises WorkError when it cannot be loaded."""
    try:
        loaded = iree.VmModule.copy_buffer(iree.VmInstance(), module.read_bytes())
    except (RuntimeError, ValueError) as error:
        words = f"cannot load {module.name}: {str(error).splitlines()[0]}"
        hint = "the artifact cannot be used by this runtime; see its compile log"
        raise WorkError(FailureClass.COMPILE, words, hint=hint) from error
    # A function with a fence, name$async, stands beside each that the model has.
    return [name for name in loaded.function_names if not name.startswith("__") and "$" not in name]


def _config(request: Request) -> Mapping[str, Any]:
    """The first configuration file of the component; empty where none is needed."""
    for path in request.files("sizes").values():
        try:
            config: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise _declared(f"{path.name} is not JSON: {error}") from error
        return config
    return {}


def _product(size: int | str | None, config: Mapping[str, Any]) -> int | None:
    if not isinstance(size, str):
        return size
    try:
        return product(size, config)
    except ValueError as error:
        raise _declared(str(error)) from error


def _given(arguments_: Sequence[Json], *, bench: Bench, folder: Path) -> list[str]:
    """The arguments as the tool takes them; those made from a shape are files in ``folder``."""
    given = []
    files = bench.request.files("reference")
    for index, one in enumerate(arguments_):
        if "text" in one:
            given.append(filled(one["text"], lambda place: str(_product(place, bench.config))))
        elif "file" in one:
            given.append(f"@{files[one['file']]}")
        else:
            folder.mkdir(exist_ok=True)
            made = np.ones(one["shape"], HOLDERS[one["dtype"]])
            save_array(folder / f"{index}.npy", made, dtype=one["dtype"])
            given.append(f"@{folder / f'{index}.npy'}")
    return given


def _measured(bench: Bench, work: Work) -> Json:
    """What the tool measured of one function. Raises WorkError."""
    fields, out = bench.request.fields, Path(f"{work.name}.json")
    call = Call(
        function=work.function,
        inputs=work.inputs,
        repetitions=fields["repetitions"],
        seconds=fields["seconds"],
        threads=bench.threads,
    )
    given = arguments(
        call,
        device=bench.device,
        module=bench.module,
        parameters=bench.parameters,
        flags=fields["tool_flags"],
        out=out,
    )
    print(TOOL, *given)  # noqa: T201 - this is the log of the step
    ended = subprocess.run(
        [str(bench.tool), *given], stderr=subprocess.PIPE, text=True, errors="replace", check=False
    )
    print(ended.stderr, end="")  # noqa: T201 - this is the log of the step
    try:
        report = json.loads(out.read_text(encoding="utf-8"))
        times = repetitions_of(report, wanted=call.repetitions)
    except (OSError, ValueError) as error:
        detail = str(error) if isinstance(error, NoMeasurement) else ""
        raise _failed(bench, work, ended=ended, detail=detail) from error
    if ended.returncode:
        raise _failed(bench, work, ended=ended, detail="")
    named = {"name": work.name, "function": work.function, "tokens": work.tokens}
    return {**named, **spread(times, tokens=work.tokens), "peers": []}


def _failed(
    bench: Bench, work: Work, *, ended: "subprocess.CompletedProcess[str]", detail: str
) -> WorkError:
    """The error of a tool that measured nothing: what it said, by its class."""
    said = [line for line in ended.stderr.splitlines() if "; " in line and line.isprintable()]
    words = detail or (said[0] if said else f"it ended with {ended.returncode}")
    told = "\n".join(said[:_LINES])
    failure = class_of(f"{words}\n{told}", device=bench.device) or FailureClass.CRASH
    wrong = "INVALID_ARGUMENT" in words or "INVALID_ARGUMENT" in told
    hint = (
        f"the inputs do not fit: {_DECLARED}"
        if wrong
        else "run its command line, which is in the log of this step"
    )
    return WorkError(failure, f"{TOOL} measured no {work.function}: {words}", hint=hint)


def _beside(peer: str, bench: Bench, *, works: Sequence[Work], measured: Sequence[Json]) -> None:
    """Add what ``peer`` takes for the same work to every function."""
    rows: list[Json]
    if bench.local:
        rows = measured_peer(peer, works, request=bench.request, threads=bench.threads)
    else:
        why = f"is measured on the processor only, not on {driver_of(bench.device)}"
        rows = [{"why": why} for _ in works]
    for own, row in zip(measured, rows, strict=True):
        numbers: Json = {}
        if "times_ms" in row:
            numbers = spread(row["times_ms"], tokens=own["tokens"])
            numbers["ratio"] = numbers["median_ms"] / own["median_ms"]
        own["peers"].append({"name": peer, **row, **numbers})


def _declared(message: str) -> WorkError:
    return WorkError(FailureClass.EXPORT, message, hint=_DECLARED)
