"""One test through importer, compiler and runtime: pass, or a class and the first diagnostic line.

The compiler is started as people start it; importer and runtime run in this process, which is a
worker that may end with the test (``pool``).
"""

import re
import signal
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from tidemill.errors import FailureClass, WorkError
from tidemill.steps.work.suite.cases import Case
from tidemill.steps.work.suite.judge import difference

LONGEST = 240
#: A program that reads what is not its own is right now and then; each call loads it anew.
CALLS = 5
_MLIR, _VMFB = "model.mlir", "model.vmfb"
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{4,}")
_TELLING = re.compile(r"error|assert|unreachable", re.IGNORECASE)
_DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded")
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM}
_PLACE = re.compile(r"^(?:\S+:\d+:\d+: |loc\(.*?\): |<unknown>:0: )+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``outcome`` is ``pass`` or the class of a failure, ``line`` what a person reads first."""

    outcome: str
    line: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How tests go: the compiler's program and flags, the device, and seconds for a compile."""

    compiler: str
    flags: tuple[str, ...]
    device: str
    seconds: float


def through(case: Case, *, way: Way, tell: Callable[[str], None]) -> Outcome:
    """The outcome of one test; ``tell`` is told what begins. Never raises for the tools' errors.

    Raises WorkError where it is the host that fails: that says nothing about the test.
    """
    try:
        return _through(case, way=way, tell=tell)
    except OSError as error:
        raise host_failed(f"{case.name}: {error}") from error


def host_failed(what: str) -> WorkError:
    """The error that ends the whole step, to be tried again: no table is made of it."""
    hint = "see to the memory, disk and processes of this host; the next run tries again"
    return WorkError(FailureClass.INFRASTRUCTURE, what, hint=hint)


def from_outside(code: int) -> bool:
    """Whether a process with this exit status was ended by others, as when memory runs out."""
    return -code in _FROM_OUTSIDE


def _through(case: Case, *, way: Way, tell: Callable[[str], None]) -> Outcome:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tell("import")
        if line := _imported(case, folder):
            return Outcome(outcome="import", line=line)
        tell("compile")
        if (lost := _compiled(case.name, folder, way=way)) is not None:
            return lost
        tell("run")
        return _ran(case, folder / _VMFB, way=way)


def _imported(case: Case, folder: Path) -> str:
    """What the importer said; "" when there is MLIR."""
    from iree.compiler.tools.import_onnx import (  # noqa: PLC0415 - only workers pay for it
        __main__ as import_tool,
    )

    source = folder / "model.onnx"
    onnx.save(case.model, source)
    try:
        import_tool.main(import_tool.parse_arguments([str(source), "-o", str(folder / _MLIR)]))
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the system; all else, whatever it is, is the importer's answer
        said = str(error).replace(f"{folder}/", "")
        return first_line(said) or type(error).__name__
    return ""


def _compiled(name: str, folder: Path, *, way: Way) -> Outcome | None:
    """What the compiler came to when it made no module; None when it made one."""
    command = [way.compiler, _MLIR, *way.flags, "-o", _VMFB]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, timeout=way.seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return Outcome(outcome="timeout", line=f"no module after {way.seconds:.0f} s")
    said = done.stderr.decode("utf-8", errors="replace")
    if done.returncode and (full := _DISK_FULL.search(said)):
        raise host_failed(f"{name}: the compiler says: {full[0]}")
    if done.returncode < 0:
        ended = f"the compiler ended with {signal.Signals(-done.returncode).name}"
        if from_outside(done.returncode):
            raise host_failed(f"{name}: {ended}: it was killed from outside")
        cause = telling_line(said)
        return Outcome(outcome="crash", line=f"{ended}: {cause}" if cause else ended)
    if done.returncode or not (folder / _VMFB).is_file():
        line = first_line(said) or f"exit status {done.returncode}"
        return Outcome(outcome="compile", line=line)
    return None


def _ran(case: Case, module: Path, *, way: Way) -> Outcome:
    from tidemill.steps.work.suite import device  # noqa: PLC0415 - loads iree.runtime

    why = device.refusal(case.inputs) or device.refusal(case.outputs)
    if why:
        return Outcome(outcome="unsupported", line=why)
    for _ in range(CALLS):
        try:
            made = device.call(way.device, module, case.inputs, expected=case.outputs)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the runtime's answer
            return Outcome(outcome="run", line=first_line(str(error)) or type(error).__name__)
        if line := difference(made, case.outputs, rtol=case.rtol, atol=case.atol):
            return Outcome(outcome="numerics", line=line)
    return Outcome(outcome="pass")


def first_line(said: str) -> str:
    """The line that tells of an error, or else the first; "" for no text at all."""
    lines = (line.strip() for line in said.splitlines())
    return telling_line(said) or _plain(next(filter(None, lines), ""))


def telling_line(said: str) -> str:
    """The first line that speaks of an error, "" if none does."""
    return next((_plain(line) for line in said.splitlines() if _TELLING.search(line)), "")


def _plain(line: str) -> str:
    """A line without places and addresses: the same every time."""
    short = _PLACE.sub("", _ADDRESS.sub("0x…", line.strip()))
    return short.removeprefix("error: ")[:LONGEST]
