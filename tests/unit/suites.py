"""A small suite and its list of known failures, for tests of what is made of them."""

from pathlib import Path

from tests.unit.made import write_workspace
from tidemill.graph import Graph
from tidemill.graph_build import build_graph
from tidemill.manifest.load import Manifests, load_manifests

SUITE = """\
name: ops
title: Operators, one each
license: MIT
kind: node
targets: [cpu]
flags: [--more]
test_timeout: 90s
limits: {timeout: 1h, memory: 2GiB}
"""
KNOWN = """\
tools: {onnx: "1.23.2"}
groups:
  ai.onnx: {tests: 4, passing: 2}
causes:
  - class: compile
    match: "no (If|Loop)"
    reason: Control flow is not lowered.
    tests: [test_if]
  - class: crash
    reason: The compiler aborts on narrow integers.
    tests: [test_int4]
"""
ADDRESS = "ops/node/all/cpu"


def write_suite(root: Path, *, suite: str = SUITE, known: str = KNOWN) -> Path:
    """A workspace with one model and one suite; without ``known`` nothing is known to fail."""
    write_workspace(root)
    folder = root / "manifests/conformance"
    (folder / "ops").mkdir(parents=True)
    (folder / "ops.yaml").write_text(suite, encoding="utf-8")
    if known:
        (folder / "ops/cpu.yaml").write_text(known, encoding="utf-8")
    return root


def suite_graph(root: Path, *, known: str = KNOWN) -> Graph:
    """The nodes of the suite alone."""
    return graph_of_manifests(load_manifests(write_suite(root, known=known)))


def graph_of_manifests(manifests: Manifests, *, only: frozenset[str] | None = None) -> Graph:
    """The nodes of the suites of ``manifests``."""
    return build_graph(
        [],
        targets=manifests.targets.targets,
        compiler="3.13.0",
        suites=manifests.suites.values(),
        only_targets=only,
    )
