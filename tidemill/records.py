"""What tidemill writes down: frozen values that are stored as JSON and read back years later.

Field names are the format. A change that old readers cannot take needs a new FORMAT and an ADR.
"""

from typing import Any, Literal, get_args

import msgspec

FORMAT = 1
#: What makes VMFBs: the tool whose version decides which runtimes load them.
COMPILER = "iree-base-compiler"

Stage = Literal[
    "fetch",
    "quantize",
    "export",
    "pack",
    "reference",
    "compile",
    "validate",
    "benchmark",
    "conformance",
    "compare",
]
#: In the order in which reports tell them.
STAGES: tuple[Stage, ...] = get_args(Stage)
#: Stages that no component of a model has, only a suite of tests.
SUITE_STAGES: tuple[Stage, ...] = ("conformance", "compare")

Outcome = Literal["built", "reused", "failed", "expected-failure", "blocked", "unvalidated"]
ArtifactStatus = Literal[
    "validated", "proxy", "unvalidated", "carried", "expected-failure", "missing"
]


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """One file that an action made.

    ``kind``: mlir, irpa, vmfb, reference, verdict, benchmark, table, config, tokenizer, source,
    log; see ``steps/work`` for what else a step makes.
    """

    name: str
    kind: str
    digest: str
    size: int


class ActionResult(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one action that succeeded: ``actions/<step>/<key>.json``.

    ``parts`` are the named parts that the key was hashed from, so that a later run can say what
    changed. ``facts`` are what the step measured (dispatch count, verdict, noise floor …).
    ``seconds`` is wall time, ``peak_memory_bytes`` the largest resident set of the child process.
    ``seal`` is the digest of all other fields.
    """

    key: str
    step: str
    address: str
    outputs: tuple[Output, ...]
    log: Output
    facts: dict[str, Any]
    parts: dict[str, Any]
    seconds: float
    peak_memory_bytes: int
    host: str
    finished_at: str
    seal: str = ""
    format: int = FORMAT


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The record of an action that failed, ``failures/<step>/<key>.json``: never as a result.

    ``lines`` are the first diagnostic lines. ``bundle`` is a tar blob that holds what is needed to
    reproduce it; ``reproduce`` is the one command to type. ``limits`` are those it ran under: a
    time-out stands only while they are the same. ``facts`` holds a verdict that does not hold.
    """

    key: str
    step: str
    address: str
    failure: str
    lines: tuple[str, ...]
    hint: str
    deterministic: bool
    command: tuple[str, ...]
    log: Output | None
    bundle: Output | None
    reproduce: str
    parts: dict[str, Any]
    limits: dict[str, int]
    seconds: float
    peak_memory_bytes: int
    host: str
    finished_at: str
    facts: dict[str, Any] = {}
    format: int = FORMAT


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """One published file of a release.

    ``address`` has four parts for what belongs to a target (vmfb, verdict, table) and three for
    what all targets of a variant share (mlir, irpa, reference). ``file`` is the path below the pull
    folder. ``compiler`` is the version of the compiler that made a VMFB, "" for all else and where
    releases did not say yet: a carried one was made by an older compiler than its release's.
    ``rung`` are the flags of a degraded VMFB, with which the compile worked when it failed with the
    target's.
    """

    address: str
    kind: str
    file: str
    digest: str
    size: int
    key: str
    status: ArtifactStatus
    reason: str = ""
    verdict: dict[str, Any] | None = None
    compiler: str = ""
    rung: str = ""


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable, complete list of artifacts: ``releases/<digest>.json``, its own sha256.

    It carries no time, so a night that changes nothing makes the same release.
    """

    pipeline: str
    toolchain: str
    tools: dict[str, str]
    artifacts: tuple[Artifact, ...]
    format: int = FORMAT


class ChannelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One position of a channel, as its signed document tells it. The highest is the head.

    ``expires`` is UTC text as ISO 8601; ``length`` is the size of the release in bytes. ``pinned``
    says why the channel is to stay where it is, if it is. ``provenance`` is the digest of the
    statement about the release, if there is one.
    """

    channel: str
    sequence: int
    release: str
    run: str
    moved_at: str
    reason: str
    pinned: str = ""
    provenance: str = ""
    expires: str = ""
    length: int = 0


class NodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one node of a run."""

    address: str
    stage: str
    outcome: Outcome
    seconds: float
    peak_memory_bytes: int
    key: str
    reasons: tuple[str, ...] = ()
    failure: Failure | None = None
    verdict: dict[str, Any] | None = None
    outputs: tuple[Output, ...] = ()
    log: str = ""
    expectation: str = ""
    facts: dict[str, Any] = {}


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One named thing that was so and is so now; None: it was, or is, not there."""

    name: str
    was: str | int | float | None
    now: str | int | float | None


class ArtifactChange(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file between two releases.

    ``causes`` are the parts of the action's key that differ: ``flags``, ``tool torch``,
    ``input mlir/model.mlir``, ``code`` …; empty where the records do not say.
    """

    address: str
    kind: str
    file: str
    change: Literal["added", "removed", "changed"]
    differences: tuple[Difference, ...] = ()
    causes: tuple[str, ...] = ()


class ReleaseDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What changed from release ``before`` to release ``after``: digests, "" for no release.

    ``tools`` holds the toolchain and the versions that differ. ``unknown`` are the files whose
    records are not there any more, so that flags and causes cannot be told.
    """

    before: str
    after: str
    tools: tuple[Difference, ...] = ()
    artifacts: tuple[ArtifactChange, ...] = ()
    unchanged: int = 0
    unknown: tuple[str, ...] = ()


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a pipeline: kept as ``runs/<run>/report.json``, drawn by report/.

    ``changes`` are those since the channel's last release, where this run has made one.
    """

    run: str
    pipeline: str
    toolchain: str
    tools: dict[str, str]
    store: str
    host: str
    started_at: str
    seconds: float
    exit_code: int
    nodes: tuple[NodeReport, ...]
    artifacts: tuple[Artifact, ...] = ()
    release: str = ""
    channel: str = ""
    sequence: int = 0
    problems: tuple[str, ...] = ()
    changes: ReleaseDiff | None = None
    format: int = FORMAT


def encode(record: msgspec.Struct) -> bytes:
    """``record`` as JSON with sorted keys and a final newline, so that it reads well in a pager."""
    return msgspec.json.format(msgspec.json.encode(record, order="sorted"), indent=1) + b"\n"
