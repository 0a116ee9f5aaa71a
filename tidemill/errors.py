"""Errors that say who must act, and the exit code that CI sees.

Every error that a person is meant to read is a TidemillError: the message says what is wrong, and
``hint`` says what to do. Only ``tidemill.cli`` turns one into an exit. Standard library only.
"""

from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """What the process tells its caller (docs/guide.md lists them)."""

    GOOD = 0
    USAGE = 2
    TOOL = 3
    NUMERICS = 4
    STORE = 5
    INTERRUPTED = 130


class FailureClass(StrEnum):
    """What kind of thing went wrong in a node; decides who acts and whether a retry can help."""

    FETCH = "fetch"
    EXPORT = "export"
    COMPILE = "compile"
    NUMERICS = "numerics"
    CRASH = "crash"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out-of-memory"
    HOST = "host"
    INFRASTRUCTURE = "infrastructure"


#: Same inputs, same result: not tried again under the same key unless asked (--retry-failed).
#: Time-outs and memory limits count while the limits are what they were.
DETERMINISTIC = frozenset(
    {
        FailureClass.EXPORT,
        FailureClass.COMPILE,
        FailureClass.NUMERICS,
        FailureClass.CRASH,
        FailureClass.TIMEOUT,
        FailureClass.OUT_OF_MEMORY,
    }
)

EXIT_OF_CLASS = {
    FailureClass.FETCH: ExitCode.TOOL,
    FailureClass.EXPORT: ExitCode.TOOL,
    FailureClass.COMPILE: ExitCode.TOOL,
    FailureClass.CRASH: ExitCode.TOOL,
    FailureClass.TIMEOUT: ExitCode.TOOL,
    FailureClass.OUT_OF_MEMORY: ExitCode.TOOL,
    FailureClass.NUMERICS: ExitCode.NUMERICS,
    FailureClass.HOST: ExitCode.STORE,
    FailureClass.INFRASTRUCTURE: ExitCode.STORE,
}


class TidemillError(Exception):
    """Base of every error that is meant for a person."""

    exit_code: ExitCode = ExitCode.TOOL

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(TidemillError):
    """The command line asks for something that is not there. The caller must act."""

    exit_code = ExitCode.USAGE


class ManifestError(TidemillError):
    """A YAML file is wrong. Its author must act; ``message`` lists every problem found."""

    exit_code = ExitCode.USAGE


class ToolError(TidemillError):
    """An exporter, the compiler or another tool failed."""

    exit_code = ExitCode.TOOL


class StoreError(TidemillError):
    """The store or the machine failed; a retry may help."""

    exit_code = ExitCode.STORE


class BlobDamaged(StoreError):  # noqa: N818 - it says what is so, as BlobMissing does
    """A blob's bytes are not those of its name: never used, always rebuilt."""


class WorkError(TidemillError):
    """Raised by the working half of a step: a failure whose class is already known.

    The child process writes it into its response; the message becomes the node's diagnostic.
    """

    def __init__(self, failure: FailureClass, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.failure = failure
