"""Tests of a suite through the real importer, compiler and runtime."""

from pathlib import Path
from typing import Any

import pytest

from tests.probing import probe

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return probe(toolchain_python, tmp_path_factory.mktemp("made"), "suite_probes.py", "made")


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return probe(toolchain_python, tmp_path_factory.mktemp("step"), "suite_probes.py", "step")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return probe(toolchain_python, tmp_path_factory.mktemp("host"), "suite_probes.py", "host")


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return probe(toolchain_python, tmp_path_factory.mktemp("busy"), "suite_probes.py", "busy")


def test_a_good_graph_passes_through_all_phases(made: dict[str, Any]) -> None:
    assert made["good"] == ["pass", "", ["import", "compile", "run"]]


def test_a_result_that_is_empty_is_a_numerics_failure(made: dict[str, Any]) -> None:
    """The compiled program of open height and width ends well and gives (1,1,0,0)."""
    assert made["empty result"][:2] == [
        "numerics",
        "output 0 is empty: it has shape (1,1,0,0), expected (1,1,4,4)",
    ]


def test_values_where_nothing_is_expected_are_a_numerics_failure(made: dict[str, Any]) -> None:
    assert made["empty expected"][:2] == [
        "numerics",
        "output 0 has shape (1,1,4,4), expected (1,1,0,0)",
    ]


def test_wrong_values_are_a_numerics_failure(made: dict[str, Any]) -> None:
    assert made["wrong"][:2] == [
        "numerics",
        "output 0 differs in 16 of 16 values, by up to 1.0e+00",
    ]


def test_a_result_that_is_wrong_at_the_fifth_call_only_is_a_numerics_failure(
    made: dict[str, Any],
) -> None:
    assert made["now and then"] == [*made["wrong"][:2], 5]


def test_what_cannot_be_passed_is_told_after_it_has_compiled(made: dict[str, Any]) -> None:
    phases = ["import", "compile", "run"]
    assert made["strings"] == ["unsupported", "value 0 is a tensor of strings", phases]
    assert made["absent"] == ["unsupported", "value 0 is an optional that is absent", phases]


def test_a_compiler_that_takes_too_long_is_ended(made: dict[str, Any]) -> None:
    assert made["slow"] == ["timeout", "no module after 0 s", ["import", "compile"]]


def test_a_model_that_onnx_does_not_know_ends_in_the_import(made: dict[str, Any]) -> None:
    assert made["no operator"][0] == "import"
    assert "NoSuchOperator" in made["no operator"][1]
    assert made["no operator"][2] == ["import"]


def test_what_the_compiler_says_is_the_line(made: dict[str, Any]) -> None:
    outcome, line, phases = made["flag"]
    assert (outcome, phases) == ("compile", ["import", "compile"])
    assert "--no-such-flag" in line


def test_the_table_has_every_test_though_one_ended_its_process(step: dict[str, Any]) -> None:
    found = {test["name"]: test["outcome"] for test in step["table"]["tests"]}
    assert found == {
        "test_abs": "pass",
        "test_and2d": "crash",
        "test_cast_DOUBLE_to_FLOAT": "pass",
        "test_loop11": "compile",
        "test_max_uint8": "pass",
    }


def test_a_failure_has_its_diagnostic(step: dict[str, Any]) -> None:
    lines = {test["name"]: test.get("line", "") for test in step["table"]["tests"]}
    assert lines["test_and2d"] == "the process ended with SIGSEGV in run"
    assert lines["test_loop11"].startswith("failed to legalize operation 'torch.operator'")
    assert 'name = "onnx.Loop"' in lines["test_loop11"]
    assert lines["test_abs"] == ""


def test_the_same_suite_gives_the_same_table(step: dict[str, Any]) -> None:
    assert step["same twice"]


def test_the_facts_count_what_the_table_holds(step: dict[str, Any]) -> None:
    assert step["facts"]["tests"] == 5
    assert step["facts"]["outcomes"] == {"compile": 1, "crash": 1, "pass": 3}
    assert step["facts"]["groups"] == {"ai.onnx": step["facts"]["outcomes"]}
    assert step["facts"]["tools"] == step["table"]["tools"]
    assert step["made"] == [["table.json", "table"]]


def test_the_suite_is_all_of_onnx_not_some(step: dict[str, Any]) -> None:
    assert step["every"] > 1800


@pytest.mark.parametrize("name", ["KILL", "TERM"])
def test_a_compiler_that_others_end_is_no_outcome_of_the_test(
    host: dict[str, Any], name: str
) -> None:
    words = f"good: the compiler ended with SIG{name}: it was killed from outside"
    assert host[name] == ["infrastructure", words]


def test_a_compiler_that_crashes_by_itself_is_one(host: dict[str, Any]) -> None:
    assert host["SEGV"] == ["outcome", "crash", "the compiler ended with SIGSEGV"]


def test_a_worker_that_others_end_is_none_either(host: dict[str, Any]) -> None:
    words = "test_and2d: the process ended with SIGKILL in run: it was killed from outside"
    assert host["worker"] == ["infrastructure", words]


def test_a_full_disk_and_a_process_that_cannot_start_are_none(host: dict[str, Any]) -> None:
    said = ["infrastructure", "good: the compiler says: No space left on device"]
    assert host["full"] == said
    assert host["no process"][0] == "infrastructure"
    for name in ("no model", "no MLIR"):
        assert host[name] == ["infrastructure", "good: [Errno 27] File too large"]


def test_a_test_that_takes_too_long_is_tried_again_alone(busy: dict[str, Any]) -> None:
    assert busy["local"]["tests"] == {
        "test_abs": "pass",
        "test_and2d": "pass",
        "test_cast_DOUBLE_to_FLOAT": "pass",
        "test_loop11": "timeout",
        "test_max_uint8": "pass",
    }


def test_workers_do_not_grow_with_the_host_without_end(busy: dict[str, Any]) -> None:
    assert busy["local"]["at a time"] == [8, 1]


def test_the_device_of_the_environment_is_the_one_that_runs(busy: dict[str, Any]) -> None:
    assert set(busy["local"]["devices"]) == {"local-task://1"}
    assert set(busy["hip"]["devices"]) == {"hip://1"}


def test_a_device_that_is_not_the_processor_serves_one_test_at_a_time(
    busy: dict[str, Any],
) -> None:
    assert busy["hip"]["at a time"] == [1, 1]
