"""The artifacts of a run as rows, as a matrix, and by address: what all reports draw. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tidemill.records import STAGES, Artifact, NodeReport, Output, RunReport
from tidemill.report.verdicts import Verdict, read_verdict
from tidemill.report.view import BAD, UNJUDGED, worst

TARGET_PARTS = 4

#: The stages that decide what becomes of an artifact, the one that makes it first.
STAGES_OF_KIND: Mapping[str, tuple[str, ...]] = {
    "source": ("fetch",),
    "quantised": ("quantize",),
    "mlir": ("export",),
    "config": ("export",),
    "irpa": ("pack",),
    "tokenizer": ("pack",),
    "reference": ("reference",),
    "vmfb": ("compile", "validate"),
    "verdict": ("validate",),
    "table": ("conformance", "compare"),
}
KINDS = tuple(STAGES_OF_KIND)
KIND_OF_STAGE = {
    "quantize": "quantised",
    "export": "mlir",
    "pack": "irpa",
    "reference": "reference",
    "compile": "vmfb",
    "conformance": "table",
}

#: The stages that say whether what others made computes the right thing.
_JUDGING = frozenset({"validate", "compare"})

_Nodes = Mapping[tuple[str, str], NodeReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One artifact, made or not. ``digest`` is empty and ``size`` 0 where there is no file."""

    address: str
    kind: str
    status: str
    name: str = ""
    reason: str = ""
    digest: str = ""
    size: int = 0
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    outcome: str = ""
    verdict: Verdict | None = None

    @property
    def variant(self) -> str:
        """``model/component/variant``."""
        return variant_of(self.address)

    @property
    def target(self) -> str:
        """The target, or empty for what all targets share."""
        return target_of(self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One place of the matrix; ``size`` is the sum over ``kinds``."""

    address: str
    status: str
    kinds: tuple[str, ...]
    size: int
    seconds: float
    outcome: str
    verdict: Verdict | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixRow:
    """One variant: what its targets share, and one cell a target (None: not part of this run)."""

    variant: str
    shared: Cell | None
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Variants × targets; cpu first, then by name."""

    targets: tuple[str, ...]
    rows: tuple[MatrixRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressView:
    """Everything known of one address: its nodes in stage order, its artifacts, its verdict."""

    address: str
    status: str
    nodes: tuple[NodeReport, ...]
    rows: tuple[Row, ...]
    verdict: Verdict | None


def variant_of(address: str) -> str:
    """The first three parts of an address."""
    return "/".join(address.split("/")[: TARGET_PARTS - 1])


def target_of(address: str) -> str:
    """The fourth part of an address, or empty."""
    parts = address.split("/", TARGET_PARTS - 1)
    return parts[-1] if len(parts) == TARGET_PARTS else ""


def rows(report: RunReport) -> tuple[Row, ...]:
    """Every artifact of the run, and one row for each that a failed or blocked node did not make.

    A run that made no release lists the outputs of its nodes instead. One that validates nothing
    says so of each: what was found out of the same bytes before is not in it.
    """
    nodes = {(node.address, node.stage): node for node in report.nodes}
    made = [_row_of_artifact(artifact, nodes) for artifact in report.artifacts]
    if not any(node.stage in _JUDGING for node in report.nodes):
        made = [replace(r, status=UNJUDGED) if r.status == "unvalidated" else r for r in made]
    if not made:
        outputs = [(node, out) for node in report.nodes for out in node.outputs]
        made = [_row(node.address, out.kind, nodes=nodes, file=out) for node, out in outputs]
    known = {(row.address, row.kind) for row in made}
    absent = [
        _row(node.address, KIND_OF_STAGE[node.stage], nodes=nodes)
        for node in report.nodes
        if node.outcome in BAD
        and node.stage in KIND_OF_STAGE
        and (node.address, KIND_OF_STAGE[node.stage]) not in known
    ]
    return tuple(sorted([*made, *absent], key=_order))


def gathered(listed: Sequence[Row]) -> tuple[Row, ...]:
    """The same rows with the files of one reference as one row: a table shows what it weighs."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for index, row in enumerate(listed):
        key = (row.address, row.kind if row.kind == "reference" else f"{row.kind}{index}")
        groups.setdefault(key, []).append(row)
    return tuple(
        replace(
            group[0],
            size=sum(row.size for row in group),
            digest=group[0].digest if len(group) == 1 else f"{len(group)} files",
        )
        for group in groups.values()
    )


def matrix(listed: Sequence[Row]) -> Matrix:
    """Variants × targets, each cell the VMFB of that address."""
    cells = {row.address: _cell([row]) for row in listed if row.target and row.kind == "vmfb"}
    shared = defaultdict[str, list[Row]](list)
    for row in listed:
        if row.address.count("/") == TARGET_PARTS - 2:
            shared[row.address].append(row)
    targets = tuple(sorted({target_of(address) for address in cells}, key=_cpu_first))
    return Matrix(
        targets=targets,
        rows=tuple(
            MatrixRow(
                variant=variant,
                shared=_cell(shared[variant]) if variant in shared else None,
                cells=tuple(cells.get(f"{variant}/{target}") for target in targets),
            )
            for variant in sorted({variant_of(address) for address in cells} | set(shared))
        ),
    )


def addresses(report: RunReport, listed: Sequence[Row]) -> tuple[AddressView, ...]:
    """Every address of the run in order."""
    nodes, files = defaultdict[str, list[NodeReport]](list), defaultdict[str, list[Row]](list)
    for node in report.nodes:
        nodes[node.address].append(node)
    for row in listed:
        files[row.address].append(row)
    return tuple(
        _address(address, nodes=nodes[address], files=files[address])
        for address in sorted(set(nodes) | set(files), key=_address_order)
    )


def _address(address: str, *, nodes: Sequence[NodeReport], files: Sequence[Row]) -> AddressView:
    outcomes = [node.outcome for node in nodes]
    told = [row.status for row in files] + [node.outcome for node in nodes if _tells(node)]
    verdicts = [_verdict_of(node) for node in nodes] + [row.verdict for row in files]
    return AddressView(
        address=address,
        status=worst(told) or worst(outcomes),
        nodes=tuple(sorted(nodes, key=lambda node: STAGES.index(node.stage))),
        rows=tuple(files),
        verdict=next((verdict for verdict in verdicts if verdict), None),
    )


def _tells(node: NodeReport) -> bool:
    """Whether a node's outcome is that of its address: a benchmark only has to fail for it."""
    return node.outcome in BAD and (node.stage != "benchmark" or node.outcome != "blocked")


def _verdict_of(node: NodeReport) -> Verdict | None:
    """A verdict that does not hold is kept in the facts of the failure."""
    kept = node.failure.facts.get("verdict") if node.failure else None
    return read_verdict(node.verdict) or (read_verdict(kept) if isinstance(kept, dict) else None)


def _row_of_artifact(artifact: Artifact, nodes: _Nodes) -> Row:
    return _row(artifact.address, artifact.kind, nodes=nodes, file=artifact)


def _row(address: str, kind: str, *, nodes: _Nodes, file: Artifact | Output | None = None) -> Row:
    stages = STAGES_OF_KIND.get(kind, ())
    own = [nodes[address, stage] for stage in stages if (address, stage) in nodes]
    maker = next((node for node in own if node.stage == stages[0]), None)
    said = file.status if isinstance(file, Artifact) else worst(node.outcome for node in own)
    status = worst(node.outcome for node in own if node.outcome in BAD) or said or "missing"
    verdicts = [_verdict_of(node) for node in own]
    if isinstance(file, Artifact):
        verdicts.append(read_verdict(file.verdict))
    return Row(
        address=address,
        kind=kind,
        status=status,
        name="" if file is None else file.file if isinstance(file, Artifact) else file.name,
        reason=_reason(file, own=own, status=status),
        digest=file.digest if file else "",
        size=file.size if file else 0,
        seconds=maker.seconds if maker else 0.0,
        peak_memory_bytes=maker.peak_memory_bytes if maker else 0,
        outcome=maker.outcome if maker else "",
        verdict=next((verdict for verdict in verdicts if verdict), None),
    )


def _reason(file: Artifact | Output | None, *, own: Sequence[NodeReport], status: str) -> str:
    if isinstance(file, Artifact) and file.status == "carried" and status != "carried":
        return f"carried: {file.reason}" if file.reason else "carried"
    if isinstance(file, Artifact) and file.reason:
        return file.reason
    guilty = [node for node in own if node.outcome == status and node.outcome != "reused"]
    return "; ".join(reason for node in guilty for reason in node.reasons)


def _cell(parts: Sequence[Row]) -> Cell:
    return Cell(
        address=parts[0].address,
        status=worst(row.status for row in parts),
        kinds=tuple(row.kind for row in parts if row.digest),
        size=sum(row.size for row in parts),
        # The files of one kind come from one node: its time counts once.
        seconds=sum({row.kind: row.seconds for row in parts}.values()),
        outcome=worst(row.outcome for row in parts),
        verdict=next((row.verdict for row in parts if row.verdict), None),
    )


def _cpu_first(target: str) -> tuple[bool, str]:
    return target != "cpu", target


def _address_order(address: str) -> tuple[str, bool, bool, str]:
    """A variant comes before its targets, and cpu before the others."""
    target = target_of(address)
    return variant_of(address), bool(target), *_cpu_first(target)


def _order(row: Row) -> tuple[tuple[str, bool, bool, str], int, str]:
    kind = KINDS.index(row.kind) if row.kind in KINDS else len(KINDS)
    return _address_order(row.address), kind, row.name
