"""What one artifact looks like as JSON of iree-test-suites' ``torch_models``. Pure.

Files are named below one folder, which stands beside the runner's working folder or is uploaded
under a URL. Every threshold follows from the contract by which the artifact was validated:
docs/adr/0015-torch-models-export.md.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.client.made_by import Judged
from tidemill.errors import UsageError

Json = dict[str, Any]

FOLDER = "files"
SCOPE = "model"

#: Distance from 1 to the next number of the type, and its smallest normal number.
_EPSILON = {"f64": 2.0**-52, "f32": 2.0**-23, "f16": 2.0**-10, "bf16": 2.0**-7}
_SMALLEST = {"f64": 2.0**-1022, "f32": 2.0**-126, "f16": 2.0**-14, "bf16": 2.0**-126}
FLOATS = frozenset(_EPSILON)
#: What is lost where the tool reads a threshold, and subtracts, in float32.
_SLACK = 1 + 2.0**-20

#: Executables name the file that they were compiled from, and that name is the suite's to choose:
#: measured were one name for each, and three where they are linked into one library.
_PATH_BYTES, _LIBRARY_PATHS = 256, 3

_AZURE = re.compile(r"https://[^?#\s]*blob\.core\.windows\.net/([^/?#\s][^?#\s]*)")
_DRIVERS = {"local": "local-task"}
_CHIP = re.compile(r"--iree-(?:rocm|hip|cuda)-target=([A-Za-z0-9_]+)")
_DEVICE = "--iree-hal-target-device="


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A compiled module. ``mlir`` and ``irpa`` are paths below the folder of files.

    ``device`` is a URI as ``iree-run-module`` takes it, ``function`` what to call: "" where nothing
    says so. ``dispatches`` and ``executables`` are what the compiler counted, if it did.
    """

    address: str
    flags: tuple[str, ...]
    device: str
    function: str
    mlir: str
    irpa: str
    size: int
    dispatches: int | None
    executables: int | None

    @property
    def module(self) -> str:
        """The name of the module, whose definition is in ``<address>.json``."""
        return module_name(self.address)

    @property
    def markers(self) -> list[str]:
        """The kind of device and, where flags name one, the chip."""
        kind = self.device.partition("://")[0]
        chips = [found[1] for flag in self.flags if (found := _CHIP.fullmatch(flag))]
        return ["cpu" if kind.startswith("local-") else kind or "unknown", *chips[:1]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """An expected output: its file, and by how much the result may differ; None: not at all.

    ``form`` is shape and type of a file that does not say so itself: ``2x3xbf16``.
    """

    file: str
    dtype: str
    tolerance: float | None
    form: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where tests find files: under a URL or, without one, in the runner's working folder.

    ``tolerant``: the tools there compare bf16 with a tolerance, and add a relative one to each
    threshold unless they are told not to.
    """

    base_url: str = ""
    tolerant: bool = True

    def argument(self, file: str, form: str = "") -> Json:
        """An input or an expected output that is read from ``file``."""
        if self.base_url:
            return {"url": self.url(file), **({"value": form} if form else {})}
        return {"value": f"{form}{'=' if form else ''}@{self.url(file)}"}

    def url(self, file: str) -> str:
        """Where ``file`` is; without a base, a path that the suite refuses to download."""
        return f"{self.base_url.rstrip('/')}/{file}" if self.base_url else f"{FOLDER}/{file}"


def check_base_url(url: str) -> None:
    """Raise UsageError when the suite could not download what is below ``url``."""
    found = _AZURE.fullmatch(url)
    # The suite takes everything up to the last ".net/" for the account.
    if not found or ".net/" in f"{found[1]}/":
        raise UsageError(
            f"{url!r} is not the URL of a container in Azure Blob Storage, from where alone the"
            " suite downloads",
            hint="give https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX, or no --base-url",
        )


def module_name(address: str) -> str:
    """The suite's name of a module."""
    # The suite replaces what follows the last dot of a name, so a dot must not be the address's.
    return f"{address}.vmfb" if "." in address.rpartition("/")[2] else address


def driver_of(flags: Iterable[str]) -> str:
    """The runtime's driver for what these compiler flags make; "" when they do not say."""
    named = [flag.removeprefix(_DEVICE) for flag in flags if flag.startswith(_DEVICE)]
    return _DRIVERS.get(named[-1], named[-1]) if named else ""


def incomparable(judged: Judged | None, place: Place) -> str:
    """Why the suite cannot hold an output to its contract; "" when it can."""
    if judged is None or "max_abs" not in judged.limits:
        return "no verdict says how far off it may be"
    if judged.dtype == "bf16" and not place.tolerant:
        return "these tools compare bf16 bit by bit"
    limit = judged.limits["max_abs"]
    if judged.dtype not in FLOATS and limit >= 1:
        return (
            f"it is {judged.dtype}, which the tools compare bit by bit, and may be off by {limit:g}"
        )
    return ""


def tolerance(judged: Judged, *, rounded: bool) -> float:
    """How far an output may be from what the suite expects, so that all that is right passes.

    The contract's limit is the distance from the reference. ``rounded``: the suite expects the
    reference rounded to the type of the output, which moves it by half an epsilon at most.
    """
    least, epsilon = _SMALLEST[judged.dtype], _EPSILON[judged.dtype]
    moved = epsilon / 2 * max(judged.scale or 0.0, least) if rounded else 0.0
    return (judged.limits["max_abs"] + moved) * _SLACK


def module_json(program: Program, place: Place) -> Json:
    """The definition of a module."""
    return {"mlir": place.url(program.mlir), "compiler_flags": list(program.flags)}


def compilation_info(program: Program) -> Json:
    """The part of the compiler's statistics that the suite reads."""
    return {"stream-aggregate": {"execution": {"dispatch-count": program.dispatches}}}


def compstat_json(program: Program, place: Place) -> Json:
    """The test that a module neither grows nor dispatches more."""
    size: int | None = program.size
    if place.base_url:  # the suite compiles it
        count = program.executables
        size = None if count is None else program.size + (count + _LIBRARY_PATHS) * _PATH_BYTES
    golden = {"golden_dispatch_count": program.dispatches, "golden_binary_size": size}
    return {
        "type": "compstat",
        "markers": program.markers,
        "module": program.module,
        **{name: value for name, value in golden.items() if value is not None},
    }


def benchmark_json(program: Program, inputs: Sequence[str], place: Place) -> Json:
    """The test that times a module; no golden time, since nothing has measured one."""
    return _run("benchmark", program, inputs, place)


def quality_jsons(
    program: Program, inputs: Sequence[str], expected: Sequence[Expected | None], place: Place
) -> list[Json]:
    """The tests that compare results; together they compare each output that is not None once.

    The tool has one threshold for each element type, so outputs of one type with different
    tolerances are compared in different runs.
    """
    tests = []
    for row in _rows(expected):
        test = _run("quality", program, inputs, place)
        test["expected_outputs"] = [
            place.argument(one.file, one.form) if one else {"value": "(ignored)"} for one in row
        ]
        allowed = {one.dtype: one.tolerance for one in row if one and one.tolerance is not None}
        if place.tolerant:
            test["run_args"].append("--expected_rtol=0")
        test["run_args"] += [
            f"--expected_{dtype}_threshold={value:.9g}" for dtype, value in sorted(allowed.items())
        ]
        tests.append(test)
    return tests


def _rows(expected: Sequence[Expected | None]) -> list[list[Expected | None]]:
    rows: list[list[Expected | None]] = []
    left = dict(enumerate(expected))
    while any(left.values()):
        row: list[Expected | None] = [None] * len(expected)
        allowed: dict[str, float | None] = {}
        for index, one in left.items():
            if one and allowed.setdefault(one.dtype, one.tolerance) == one.tolerance:
                row[index] = one
        left = {index: one for index, one in left.items() if one is not row[index]}
        rows.append(row)
    return rows


def _run(kind: str, program: Program, inputs: Sequence[str], place: Place) -> Json:
    arguments = [f"--device={program.device}", f"--function={program.function}"]
    weights = []
    if program.irpa and place.base_url:
        weights = [{"type": "url", "scope": SCOPE, "url": place.url(program.irpa)}]
    elif program.irpa:
        arguments.append(f"--parameters={SCOPE}={place.url(program.irpa)}")
    return {
        "type": kind,
        "markers": program.markers,
        "modules": [program.module],
        "weights": weights,
        "inputs": [place.argument(file) for file in inputs],
        "run_args": arguments,
    }
