"""A suite through the command line: a table is compared, accepted, released and pulled.

The tests of the suite themselves are not run here: the table is put where the step would put it.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.made import result_of
from tests.workbench import Done, Workbench
from tidemill.opening import open_mill
from tidemill.records import Output
from tidemill.workspace import find_workspace

pytestmark = pytest.mark.toolchain

ADDRESS = "ops/node/all/cpu"
SUITE = """\
name: ops
title: Operators, one each
license: MIT
kind: node
targets: [cpu]
"""
CAUSES = """\
causes:
  - class: compile
    match: no If
    reason: Control flow is not lowered.
"""
PIPELINE = """\
from pipelines.base import Pipeline
from tidemill.policy import Policy

PIPELINE = Pipeline(
    name="suites",
    about="for a test",
    models=("ops",),
    channel="suites",
    policy=Policy(required=("*/*/*/cpu",), on_failure="block"),
)
"""
TESTS = [
    {"name": "test_abs", "group": "ai.onnx", "outcome": "pass"},
    {"name": "test_if", "group": "ai.onnx", "outcome": "compile", "line": "no If"},
]
FACTS = {
    "tests": 2,
    "outcomes": {"compile": 1, "pass": 1},
    "groups": {"ai.onnx": {"compile": 1, "pass": 1}},
}


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    """A workspace in whose store the table of its suite lies."""
    made = Workbench.make(tmp_path / "work")
    made.write("manifests/conformance/ops.yaml", SUITE)
    made.write("manifests/conformance/ops/cpu.yaml", CAUSES)
    made.write("pipelines/suites.py", PIPELINE)
    return made


def put_table(bench: Workbench, monkeypatch: pytest.MonkeyPatch, tests: list[Any]) -> None:
    """Record the table as the step's result, under the key that it has now."""
    monkeypatch.setenv("TIDEMILL_TOOLCHAINS", bench.environment["TIDEMILL_TOOLCHAINS"])
    mill = open_mill(find_workspace(start=bench.root), models=["ops"])
    bound = mill.states.of(f"conformance:{ADDRESS}").bound
    assert bound is not None
    data = json.dumps({"tools": {"onnx": "1.23.2"}, "tests": tests}).encode()
    result = result_of(bound, mill.store, files={"table.json": data})
    (made,) = result.outputs
    table = Output(name=made.name, kind="table", digest=made.digest, size=made.size)
    told = msgspec.structs.replace(result, outputs=(table,), facts=FACTS)
    mill.cache.record(told, replacing=True)
    mill.save()


def report_of(bench: Workbench, done: Done) -> Any:
    """The whole report of a run."""
    path = bench.root / ".tidemill/runs" / done.json["run"] / "report.json"
    return json.loads(path.read_bytes())


def test_a_suite_from_its_first_table_to_a_pull(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put_table(bench, monkeypatch, TESTS)

    # Nothing is known to fail: the failure is a regression, told by its name.
    done = bench.run("suites", expect=4)
    assert done.outcomes == {("conformance", ADDRESS): "reused", ("compare", ADDRESS): "failed"}
    report = report_of(bench, done)
    (failed,) = (node["failure"] for node in report["nodes"] if node["failure"])
    assert failed["failure"] == "numerics"
    assert failed["lines"][:2] == ["1 test fails unexpectedly:", "  test_if: compile: no If"]
    (artifact,) = report["artifacts"]
    assert (artifact["kind"], artifact["status"]) == ("table", "unvalidated")
    assert artifact["digest"]

    # It is accepted with its reason, and the run is good.
    told = bench.call("conformance", "accept", "ops").out
    assert told == (
        "now known to fail: test_if\nmanifests/conformance/ops/cpu.yaml: 1 of 2 tests pass\n"
    )
    done = bench.run("suites")
    assert done.outcomes[("compare", ADDRESS)] == "built"
    assert [one["status"] for one in report_of(bench, done)["artifacts"]] == ["validated"]

    # Who reads the channel gets the table.
    to = tmp_path / "pulled"
    pull = ("pull", ADDRESS, "--channel", "suites", "--kind", "table", "--to", str(to))
    bench.call(*pull, "--store", str(bench.store))
    assert json.loads((to / ADDRESS / "table.json").read_bytes())["tests"] == TESTS

    # The page says the same.
    assert "### ops on cpu: 1 of 2 tests pass" in bench.call("conformance", "page").out

    # A pass that nobody expected is red, too.
    put_table(bench, monkeypatch, [TESTS[0], {**TESTS[1], "outcome": "pass"}])
    bench.call("run", "suites", "--force", "--stage", "compare", "--no-progress", expect=4)


def test_a_failure_without_a_reason_is_not_accepted(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_table(bench, monkeypatch, [*TESTS, {**TESTS[1], "name": "test_new", "line": "bad"}])
    done = bench.call("conformance", "accept", "ops", expect=3)
    assert "1 failing tests have no reason in manifests/conformance/ops/cpu.yaml:" in done.err
    assert "  test_new: compile: bad" in done.err
    assert (bench.root / "manifests/conformance/ops/cpu.yaml").read_text() == CAUSES


def test_what_is_not_there_is_told(bench: Workbench) -> None:
    done = bench.call("conformance", "accept", "ops", expect=2)
    assert "there is no table of ops on cpu that is up to date: not built yet" in done.err
    assert "tidemill run nightly --model ops --target cpu" in done.err
    done = bench.call("conformance", "accept", "ops", "--target", "gfx942", expect=2)
    assert "suite 'ops' has no target 'gfx942'" in done.err
    done = bench.call("conformance", "accept", "tiny", expect=2)
    assert "no suite 'tiny' in manifests/conformance (known: ops)" in done.err
