"""Suites of tests as nodes: a table of all outcomes, and its comparison with what is known. Pure.

Two nodes, so that a new list of known failures costs a second and not the suite again.
"""

from collections.abc import Iterator, Mapping

from tidemill.address import Address
from tidemill.graph import DEFAULT_LIMITS, Input, Node
from tidemill.graph_variant import limits_of
from tidemill.manifest.part import parse_time
from tidemill.manifest.suites import KnownPart, Suite
from tidemill.manifest.targets import TargetPart
from tidemill.steps.table import STEPS

TABLE = "table.json"
#: The variant of a suite's address: its tests bring dtypes and shapes of their own.
ALL = "all"


def suite_nodes(
    suite: Suite,
    targets: Mapping[str, TargetPart],
    /,
    *,
    compiler: str,
    only_targets: frozenset[str] | None = None,
) -> Iterator[Node]:
    """Table and comparison for every target. Raises ManifestError as ``flags_for`` does."""
    part = suite.part
    for name in part.targets:
        if only_targets is not None and name not in only_targets:
            continue
        target = targets[name]
        address = Address(part.name, part.kind, ALL, name)
        compare = f"compare:{address}"
        table = Node(
            stage="conformance",
            address=address,
            fields={
                "kind": part.kind,
                "flags": [*target.flags_for(compiler, name=name), *part.flags],
                "device": target.device,
                "test_seconds": parse_time(part.test_timeout),
            },
            judge=compare,
            tools=STEPS["conformance"].tools,
            code=STEPS["conformance"].code,
            limits=limits_of(part.limits),
            device=name,
        )
        yield table
        known = suite.known.get(name, KnownPart())
        yield Node(
            stage="compare",
            address=address,
            fields={
                "suite": part.name,
                "tests": known.tests,
                "failing": known.failing,
                "sometimes": sorted(known.sometimes),
            },
            inputs=(Input(role="table", node=table.id, files=((TABLE, TABLE),)),),
            code=STEPS["compare"].code,
            limits=limits_of(DEFAULT_LIMITS["compare"]),
        )
