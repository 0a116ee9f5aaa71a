"""What kind of failure a child's end is, and the lines that a person should read first. Pure."""

import re
import signal
from dataclasses import dataclass

from tidemill.child import ChildEnd, ChildLimits
from tidemill.errors import DETERMINISTIC, FailureClass
from tidemill.records import Stage
from tidemill.steps.work.protocol import ChildError

MAX_LINES = 12
MAX_LINE = 400
_ERROR_LINE = re.compile(r"\berror:|^error\b|^\w*(Error|Exception)\b", re.IGNORECASE)
_DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded")
_OUT_OF_MEMORY = re.compile(
    r"MemoryError|std::bad_alloc|Cannot allocate memory|LLVM ERROR: out of memory"
)
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}

#: These say that it did not come to an end, not that it came to a bad one.
_LIMITED = {FailureClass.TIMEOUT, FailureClass.OUT_OF_MEMORY}

#: Python's exit status when its output cannot be flushed at the end (Py_FinalizeEx, CPython).
_UNFLUSHED = 120

_OWN_CLASS: dict[Stage, FailureClass] = {
    "fetch": FailureClass.FETCH,
    "quantize": FailureClass.EXPORT,
    "export": FailureClass.EXPORT,
    "pack": FailureClass.EXPORT,
    "reference": FailureClass.EXPORT,
    "compile": FailureClass.COMPILE,
    "validate": FailureClass.CRASH,
    "benchmark": FailureClass.CRASH,
    "conformance": FailureClass.CRASH,
    "compare": FailureClass.CRASH,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The class of a failure, its first lines, and what to do about it."""

    failure: FailureClass
    lines: tuple[str, ...]
    hint: str = ""

    @property
    def disproves(self) -> bool:
        """Whether an older result under the same key cannot be trusted any more."""
        return self.deterministic and self.failure not in _LIMITED

    @property
    def deterministic(self) -> bool:
        """Whether the same action would fail the same way again."""
        return self.failure in DETERMINISTIC


def diagnose(
    stage: Stage,
    *,
    end: ChildEnd,
    limits: ChildLimits,
    log: str,
    error: ChildError | None,
) -> Diagnosis:
    """Name the failure of a child that did not end well."""
    lines = first_lines(log)
    return (
        _limit_reached(stage, lines, end=end, limits=limits)
        or _host_trouble(lines, end=end, log=log)
        or _own_fault(stage, lines, end=end, log=log, error=error)
    )


def _limit_reached(
    stage: Stage, lines: tuple[str, ...], *, end: ChildEnd, limits: ChildLimits
) -> Diagnosis | None:
    if end.ending == "timeout" and stage == "fetch":
        head = f"not fetched after {end.seconds:.0f} s (the limit is {limits.seconds:.0f} s)"
        hint = "Run again; if the source is large or slow, raise its limits.timeout."
        return Diagnosis(failure=FailureClass.INFRASTRUCTURE, lines=(head, *lines), hint=hint)
    if end.ending == "timeout":
        head = f"no result after {end.seconds:.0f} s (the limit is {limits.seconds:.0f} s)"
        hint = _raise(stage, "timeout", otherwise="find out why it is slow")
        return Diagnosis(failure=FailureClass.TIMEOUT, lines=(head, *lines), hint=hint)
    if end.ending == "memory":
        head = (
            f"used {_gib(end.peak_memory_bytes)} of memory (the limit is"
            f" {_gib(limits.memory_bytes)})"
        )
        hint = _raise(stage, "memory", otherwise="find out why it needs so much")
        return Diagnosis(failure=FailureClass.OUT_OF_MEMORY, lines=(head, *lines), hint=hint)
    return None


def _raise(stage: Stage, limit: str, *, otherwise: str) -> str:
    """What to do about a limit, in the words of the manifest that has it."""
    if stage == "compare":  # its limits stand in no manifest
        return f"{otherwise.capitalize()}."
    at = f"limits.{limit}" if stage == "conformance" else f"limits.{stage}.{limit}"
    whose = "manifest of the suite" if stage == "conformance" else "manifest"
    return f"Raise {at} in the {whose}, or {otherwise}."


def _host_trouble(lines: tuple[str, ...], *, end: ChildEnd, log: str) -> Diagnosis | None:
    if end.ending == "signal" and end.code in _FROM_OUTSIDE:
        head = f"killed from outside by {_signal(end.code)}"
        hint = "The machine or a person ended it (or ran out of memory); run again."
        return Diagnosis(failure=FailureClass.INFRASTRUCTURE, lines=(head, *lines), hint=hint)
    if _DISK_FULL.search(log):
        hint = "Free disk space where the workspace lies, then run again."
        return Diagnosis(failure=FailureClass.INFRASTRUCTURE, lines=lines, hint=hint)
    return None


def _own_fault(
    stage: Stage, lines: tuple[str, ...], *, end: ChildEnd, log: str, error: ChildError | None
) -> Diagnosis:
    if error is None and _OUT_OF_MEMORY.search(log):
        return Diagnosis(failure=FailureClass.OUT_OF_MEMORY, lines=lines)
    if end.code == _UNFLUSHED and error is None:
        head = "could not write its log to the end (is the disk full?)"
        hint = "Free disk space where the workspace lies, then run again."
        return Diagnosis(failure=FailureClass.INFRASTRUCTURE, lines=(head, *lines), hint=hint)
    if end.ending == "signal":
        head = f"crashed with {_signal(end.code)}"
        return Diagnosis(failure=FailureClass.CRASH, lines=(head, *lines))
    if error is not None:
        said = tuple(line[:MAX_LINE] for line in error.message.splitlines()[:MAX_LINES])
        return Diagnosis(failure=error.failure, lines=said, hint=error.hint)
    head = f"exit status {end.code}" if end.code else "ended well but made no result"
    return Diagnosis(failure=_OWN_CLASS[stage], lines=lines or (head,))


def first_lines(log: str) -> tuple[str, ...]:
    """The lines from the first error on; the last lines when none looks like an error."""
    lines = [line.rstrip()[:MAX_LINE] for line in log.splitlines() if line.strip()]
    for index, line in enumerate(lines):
        if _ERROR_LINE.search(line):
            return tuple(lines[index : index + MAX_LINES])
    return tuple(lines[-MAX_LINES:])


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.2f} GiB"
