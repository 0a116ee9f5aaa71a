"""Suites in manifests and graphs: what is read, refused, hashed, and released."""

from pathlib import Path

import pytest

from tests.unit.made import failure_of, open_cache, result_of
from tests.unit.suites import ADDRESS, KNOWN, SUITE, graph_of_manifests, suite_graph, write_suite
from tidemill.errors import ManifestError
from tidemill.keys import bind
from tidemill.manifest.load import load_manifests
from tidemill.records import Artifact
from tidemill.release import NodeResult, artifacts_of

TABLE, COMPARE = f"conformance:{ADDRESS}", f"compare:{ADDRESS}"
TOOLS = {
    "iree-base-compiler": "3.13.0",
    "iree-base-runtime": "3.13.0",
    "ml-dtypes": "0.6.0",
    "numpy": "2.4.0",
    "onnx": "1.23.2",
}


def problems(root: Path, *, suite: str = SUITE, known: str = KNOWN) -> list[str]:
    """What is wrong with the two files, without their folder."""
    with pytest.raises(ManifestError) as caught:
        load_manifests(write_suite(root, suite=suite, known=known))
    lines = caught.value.message.splitlines()[:-1]
    return [line.removeprefix("manifests/conformance/") for line in lines]


def test_a_suite_is_a_table_and_its_comparison(tmp_path: Path) -> None:
    graph = suite_graph(tmp_path)
    assert list(graph.nodes) == [TABLE, COMPARE]
    table, compare = graph.nodes.values()
    assert table.fields == {
        "kind": "node",
        "flags": ["--device=local", "--more"],
        "device": "local-task",
        "test_seconds": 90,
    }
    assert (table.limits.seconds, table.limits.memory_bytes) == (3600, 2 << 30)
    assert (table.judge, table.device) == (COMPARE, "cpu")
    assert compare.fields == {
        "suite": "ops",
        "tests": 4,
        "failing": {"test_if": "compile", "test_int4": "crash"},
        "sometimes": [],
    }
    assert [edge.node for edge in compare.inputs] == [TABLE]


def test_a_new_list_costs_no_new_table(tmp_path: Path) -> None:
    keys = []
    for number, known in enumerate((KNOWN, "")):
        node = suite_graph(tmp_path / str(number), known=known).nodes[TABLE]
        keys.append(bind(node, inputs={}, tools=TOOLS, code="c").key)
    assert keys[0] == keys[1]


def test_another_onnx_or_compiler_costs_a_new_table(tmp_path: Path) -> None:
    node = suite_graph(tmp_path).nodes[TABLE]
    keys = {bind(node, inputs={}, tools=TOOLS, code="c").key}
    for tool in ("onnx", "iree-base-compiler", "iree-base-runtime"):
        keys.add(bind(node, inputs={}, tools={**TOOLS, tool: "9"}, code="c").key)
    assert len(keys) == 4


def test_reasons_and_examples_are_no_part_of_a_key(tmp_path: Path) -> None:
    other = KNOWN.replace("Control flow is not lowered.", "Nobody has written it yet.")
    nodes = [
        suite_graph(tmp_path / str(number), known=known).nodes[COMPARE]
        for number, known in enumerate((KNOWN, other))
    ]
    assert nodes[0].fields == nodes[1].fields


def test_a_target_that_is_not_asked_for_has_no_nodes(tmp_path: Path) -> None:
    manifests = load_manifests(write_suite(tmp_path))
    assert not graph_of_manifests(manifests, only=frozenset({"gfx942"})).nodes
    assert len(graph_of_manifests(manifests, only=frozenset({"cpu"})).nodes) == 2


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "name: ops",
            "name: tiny",
            "1: name: duplicate name 'tiny', also in manifests/models/tiny.yaml",
        ),
        ("targets: [cpu]", "targets: [cpu, cray]", "5: targets: no target 'cray'"),
        ("targets: [cpu]", "targets: []", "5: targets: must not be empty"),
        ("kind: node", "kind: real", "4: kind: unknown value 'real' (known: 'node')"),
        (
            "test_timeout: 90s",
            "test_timeout: soon",
            "7: test_timeout: 'soon' is not a time: write it as 90s, 10m or 2h",
        ),
        (
            "license: MIT",
            "licence: MIT",
            "3: licence: unknown key (did you mean 'license'? known: flags, homepage,"
            " kind, license, limits, name, targets, test_timeout, title)",
        ),
    ],
)
def test_a_wrong_suite_says_where(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert f"ops.yaml:{problem}" in problems(tmp_path, suite=SUITE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "class: crash",
            "class: bad",
            "8: causes[1].class: unknown value 'bad' (known: 'import', 'compile', 'unsupported',"
            " 'run', 'numerics', 'crash' or 'timeout')",
        ),
        (
            "no (If|Loop)",
            "no (If",
            "6: causes[0].match: 'no (If' is not a regular expression: missing ), unterminated"
            " subpattern at position 3",
        ),
        ("[test_int4]", "[test_if]", "7: causes[0].tests[0]: 'test_if' is listed more than once"),
        (
            "Control flow is not lowered.",
            "Broken.",
            "7: causes[0].reason: a reason is a sentence that somebody else can judge",
        ),
    ],
)
def test_a_wrong_list_says_where(tmp_path: Path, old: str, new: str, problem: str) -> None:
    found = problems(tmp_path, known=KNOWN.replace(old, new))
    assert any(line.endswith(problem.partition(": ")[2]) for line in found), found
    assert all(line.startswith("ops/cpu.yaml:") for line in found)


def test_a_list_for_a_target_that_the_suite_has_not_is_refused(tmp_path: Path) -> None:
    root = write_suite(tmp_path)
    (root / "manifests/conformance/ops/gpu.yaml").write_text("causes: []\n", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"ops/gpu\.yaml:1: is no target of a suite"):
        load_manifests(root)


def released(tmp_path: Path, *, made: bool, judged: bool, failure: str = "") -> Artifact:
    """The one artifact of a suite whose steps ended so."""
    graph = suite_graph(tmp_path / "workspace")
    table, compare = graph.nodes[TABLE], graph.nodes[COMPARE]
    store = open_cache(tmp_path).store
    first = bind(table, inputs={}, tools=TOOLS, code="c")
    second = bind(compare, inputs={"table": {"table.json": "0" * 64}}, tools={}, code="c")
    broken = failure_of(compare if made else table, failure=failure or "crash", lines=("2 fail:",))
    known = {
        TABLE: NodeResult(
            node=table,
            result=result_of(first, store, files={"table.json": b"{}"}) if made else None,
            failure=None if made else broken,
        ),
        COMPARE: NodeResult(
            node=compare,
            result=result_of(second, store, files={}) if judged else None,
            failure=broken if made and failure else None,
            absent="" if judged else "needs the table",
        ),
    }
    (artifact,) = artifacts_of(graph, known)
    return artifact


def test_a_table_as_expected_is_released_as_validated(tmp_path: Path) -> None:
    found = released(tmp_path, made=True, judged=True)
    assert (found.kind, found.status, found.reason) == ("json", "validated", "")
    assert (found.address, found.file) == (ADDRESS, f"{ADDRESS}/table.json")
    assert found.digest


def test_a_table_with_a_regression_is_released_all_the_same_and_says_so(tmp_path: Path) -> None:
    found = released(tmp_path, made=True, judged=False, failure="numerics")
    assert (found.status, found.reason) == ("unvalidated", "compare: numerics: 2 fail:")
    assert found.digest


def test_a_table_that_nobody_compared_is_unvalidated(tmp_path: Path) -> None:
    found = released(tmp_path, made=True, judged=False)
    assert (found.status, found.reason) == ("unvalidated", "needs the table")


def test_a_table_that_could_not_be_made_is_missing(tmp_path: Path) -> None:
    found = released(tmp_path, made=False, judged=False)
    assert (found.kind, found.status, found.digest) == ("table", "missing", "")
    assert found.file == f"{ADDRESS}/table.json"
    assert found.reason == "conformance: crash: 2 fail:"
