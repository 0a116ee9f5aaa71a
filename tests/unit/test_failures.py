"""The end of a child process becomes a class, the first lines to read, and what to do."""

import signal

import pytest

from tidemill.address import Address
from tidemill.child import ChildEnd, ChildLimits, Ending
from tidemill.ending import told
from tidemill.errors import DETERMINISTIC, EXIT_OF_CLASS, ExitCode, FailureClass
from tidemill.failures import MAX_LINE, MAX_LINES, Diagnosis, diagnose, first_lines
from tidemill.records import STAGES, Stage
from tidemill.steps.work.protocol import ChildError

LIMITS = ChildLimits(seconds=60, memory_bytes=2 << 30)
OOM = "LLVM ERROR: out of memory"


def ended(
    ending: Ending, code: int = 0, *, seconds: float = 1.0, memory: int = 1 << 20
) -> ChildEnd:
    return ChildEnd(ending=ending, code=code, seconds=seconds, peak_memory_bytes=memory)


def judged(
    end: ChildEnd, *, log: str = "", error: ChildError | None = None, stage: Stage = "compile"
) -> Diagnosis:
    return diagnose(stage, end=end, limits=LIMITS, log=log, error=error)


WRONG = ChildError(failure=FailureClass.NUMERICS, message="too far off\nby 3.0", hint="look at it")
TABLE = {
    "exit status with a diagnostic": (
        judged(ended("exit", 1), log="note: x\nm.mlir:1: error: bad\nmore\n"),
        FailureClass.COMPILE,
        ("m.mlir:1: error: bad", "more"),
    ),
    "exit status without a word": (
        judged(ended("exit", 7)),
        FailureClass.COMPILE,
        ("exit status 7",),
    ),
    "status zero but nothing made": (
        judged(ended("exit", 0)),
        FailureClass.COMPILE,
        ("ended well but made no result",),
    ),
    "a step that says what it is": (
        judged(ended("exit", 1), log="Traceback", error=WRONG, stage="validate"),
        FailureClass.NUMERICS,
        ("too far off", "by 3.0"),
    ),
    "time-out": (
        judged(ended("timeout", 9, seconds=60.4), log="still at it\n"),
        FailureClass.TIMEOUT,
        ("no result after 60 s (the limit is 60 s)", "still at it"),
    ),
    "time-out of a download": (
        judged(ended("timeout", 9, seconds=60.4), log="1 of 2 files\n", stage="fetch"),
        FailureClass.INFRASTRUCTURE,
        ("not fetched after 60 s (the limit is 60 s)", "1 of 2 files"),
    ),
    "a log that could not be written": (
        judged(ended("exit", 120), stage="reference"),
        FailureClass.INFRASTRUCTURE,
        ("could not write its log to the end (is the disk full?)",),
    ),
    "memory limit": (
        judged(ended("memory", 9, memory=3 << 30)),
        FailureClass.OUT_OF_MEMORY,
        ("used 3.00 GiB of memory (the limit is 2.00 GiB)",),
    ),
    "time-out of a suite": (
        judged(ended("timeout", 9, seconds=60.4), stage="conformance"),
        FailureClass.TIMEOUT,
        ("no result after 60 s (the limit is 60 s)",),
    ),
    "memory limit of a suite": (
        judged(ended("memory", 9, memory=3 << 30), stage="conformance"),
        FailureClass.OUT_OF_MEMORY,
        ("used 3.00 GiB of memory (the limit is 2.00 GiB)",),
    ),
    "memory limit of a comparison": (
        judged(ended("memory", 9, memory=3 << 30), stage="compare"),
        FailureClass.OUT_OF_MEMORY,
        ("used 3.00 GiB of memory (the limit is 2.00 GiB)",),
    ),
    "no memory to be had": (
        judged(ended("signal", signal.SIGABRT), log=f"{OOM}\n"),
        FailureClass.OUT_OF_MEMORY,
        (OOM,),
    ),
    "std::bad_alloc": (
        judged(ended("exit", 1), log="terminate called: std::bad_alloc\n"),
        FailureClass.OUT_OF_MEMORY,
        ("terminate called: std::bad_alloc",),
    ),
    "a step that says it was something else than memory": (
        judged(ended("exit", 1), log="MemoryError\n", error=WRONG),
        FailureClass.NUMERICS,
        ("too far off", "by 3.0"),
    ),
    "segmentation fault": (
        judged(ended("signal", signal.SIGSEGV), log="Stack dump:\n"),
        FailureClass.CRASH,
        ("crashed with SIGSEGV", "Stack dump:"),
    ),
    "an abort of the compiler": (
        judged(ended("signal", signal.SIGABRT), log="assertion failed\n"),
        FailureClass.CRASH,
        ("crashed with SIGABRT", "assertion failed"),
    ),
    "a signal without a name": (
        judged(ended("signal", 99)),
        FailureClass.CRASH,
        ("crashed with signal 99",),
    ),
    "killed": (
        judged(ended("signal", signal.SIGKILL)),
        FailureClass.INFRASTRUCTURE,
        ("killed from outside by SIGKILL",),
    ),
    "terminated": (
        judged(ended("signal", signal.SIGTERM), log="working\n"),
        FailureClass.INFRASTRUCTURE,
        ("killed from outside by SIGTERM", "working"),
    ),
    "disk full": (
        judged(ended("exit", 1), log="OSError: [Errno 28] No space left on device\n", error=WRONG),
        FailureClass.INFRASTRUCTURE,
        ("OSError: [Errno 28] No space left on device",),
    ),
    "quota": (
        judged(ended("exit", 1), log="error: Disk quota exceeded\n"),
        FailureClass.INFRASTRUCTURE,
        ("error: Disk quota exceeded",),
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_an_end_has_a_class_and_first_lines(name: str) -> None:
    diagnosis, failure, lines = TABLE[name]
    assert (diagnosis.failure, diagnosis.lines) == (failure, lines)
    assert diagnosis.deterministic == (failure in DETERMINISTIC)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        (
            "time-out",
            "Raise limits.compile.timeout in the manifest, or find out why it is slow.",
        ),
        (
            "memory limit",
            "Raise limits.compile.memory in the manifest, or find out why it needs so much.",
        ),
        (
            "time-out of a suite",
            "Raise limits.timeout in the manifest of the suite, or find out why it is slow.",
        ),
        (
            "memory limit of a suite",
            "Raise limits.memory in the manifest of the suite, or find out why it needs so much.",
        ),
        ("memory limit of a comparison", "Find out why it needs so much."),
        ("killed", "The machine or a person ended it (or ran out of memory); run again."),
        ("disk full", "Free disk space where the workspace lies, then run again."),
        ("a step that says what it is", "look at it"),
        ("segmentation fault", ""),
    ],
)
def test_the_hint_says_what_to_do(name: str, hint: str) -> None:
    assert TABLE[name][0].hint == hint


def test_what_a_step_does_not_classify_is_its_own_kind() -> None:
    kinds = {stage: str(judged(ended("exit", 1), stage=stage).failure) for stage in STAGES}
    assert kinds == {
        "fetch": "fetch",
        "quantize": "export",
        "export": "export",
        "pack": "export",
        "reference": "export",
        "compile": "compile",
        "validate": "crash",
        "benchmark": "crash",
        "conformance": "crash",
        "compare": "crash",
    }


@pytest.mark.parametrize("failure", FailureClass)
def test_a_class_that_a_step_gives_is_kept(failure: FailureClass) -> None:
    error = ChildError(failure=failure, message="why")
    assert judged(ended("exit", 1), error=error).failure == failure


def test_every_class_has_an_exit_code_for_ci() -> None:
    assert {str(failure): int(code) for failure, code in EXIT_OF_CLASS.items()} == {
        "fetch": 3,
        "export": 3,
        "compile": 3,
        "crash": 3,
        "timeout": 3,
        "out-of-memory": 3,
        "numerics": 4,
        "host": 5,
        "infrastructure": 5,
    }
    assert set(EXIT_OF_CLASS) == set(FailureClass)
    assert int(ExitCode.INTERRUPTED) == 130


@pytest.mark.parametrize(
    ("log", "lines"),
    [
        ("", ()),
        ("\n \n", ()),
        ("a\nb\n", ("a", "b")),
        ("a\nerror: b\nc\n", ("error: b", "c")),
        ("a\nf.py:1: error: b\n", ("f.py:1: error: b",)),
        ("a\nValueError: b\n", ("ValueError: b",)),
        ("a\nRuntimeException\n", ("RuntimeException",)),
        ("no errors found\nb\n", ("no errors found", "b")),
        ("x" * 900, ("x" * MAX_LINE,)),
    ],
)
def test_a_log_is_read_from_its_first_error_on(log: str, lines: tuple[str, ...]) -> None:
    assert first_lines(log) == lines


def test_without_an_error_the_last_lines_of_a_log_count() -> None:
    log = "\n".join(str(number) for number in range(40))
    assert first_lines(log) == tuple(str(number) for number in range(28, 40))


def test_with_an_error_the_lines_from_it_on_count() -> None:
    log = "\n".join(["error: 0", *map(str, range(1, 40))])
    assert first_lines(log) == ("error: 0", *map(str, range(1, MAX_LINES)))


def test_a_fetch_names_its_source_as_the_manifest_does() -> None:
    lost = Diagnosis(failure=FailureClass.FETCH, lines=("file x: is not there", "more"))
    where = Address("sd15", "config", "")
    assert told(lost, stage="fetch", address=where) == (
        "source config: file x: is not there",
        "more",
    )
    assert told(lost, stage="export", address=where) == lost.lines
    silent = Diagnosis(failure=FailureClass.FETCH, lines=())
    assert told(silent, stage="fetch", address=where) == ()
