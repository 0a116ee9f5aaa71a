"""A table against what is known to fail: regressions by name, unexpected passes, what is gone."""

import json
from pathlib import Path
from typing import Any

import pytest

from tidemill.errors import FailureClass, WorkError
from tidemill.steps.work.compare import compare, run
from tidemill.steps.work.protocol import Request

PASSING = {"name": "test_abs", "group": "ai.onnx", "outcome": "pass"}
FAILING = {"name": "test_if", "group": "ai.onnx", "outcome": "compile", "line": "no If"}
KNOWN = {"test_if": "compile"}


def verdict(
    tmp_path: Path,
    tests: list[Any],
    failing: dict[str, str],
    *,
    expected: int,
    sometimes: tuple[str, ...] = (),
) -> Any:
    """What the step says of a table of these tests."""
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"tests": tests}), encoding="utf-8")
    fields: dict[str, Any] = {"suite": "onnx-backend", "failing": failing, "tests": expected}
    fields["sometimes"] = list(sometimes)
    request = Request(step="compare", fields=fields, inputs={"table": {"table.json": str(table)}})
    response = run(request)
    assert response.made == ()
    return response.facts["verdict"]


def test_a_table_that_is_as_expected_holds(tmp_path: Path) -> None:
    found = verdict(tmp_path, [PASSING, FAILING], KNOWN, expected=2)
    assert found == {"holds": True, "reasons": []}


def test_a_regression_is_named_with_its_class_and_line(tmp_path: Path) -> None:
    found = verdict(tmp_path, [PASSING, FAILING], {}, expected=2)
    assert found == {
        "holds": False,
        "reasons": [
            "1 test fails unexpectedly:",
            "  test_if: compile: no If",
            "look at each, then: tidemill conformance accept onnx-backend",
        ],
    }


def test_an_unexpected_pass_does_not_hold(tmp_path: Path) -> None:
    passing = {**FAILING, "outcome": "pass"}
    found = verdict(tmp_path, [PASSING, passing], KNOWN, expected=2)
    assert found["reasons"][:2] == ["1 test passes and is listed:", "  test_if"]


@pytest.mark.parametrize("outcome", ["pass", "compile"])
def test_a_test_that_fails_sometimes_may_do_so_or_not(tmp_path: Path, outcome: str) -> None:
    tests = [PASSING, {**FAILING, "outcome": outcome}]
    found = verdict(tmp_path, tests, KNOWN, expected=2, sometimes=("test_if",))
    assert found["holds"]


def test_a_test_that_fails_sometimes_fails_in_its_own_way(tmp_path: Path) -> None:
    crashing = {**FAILING, "outcome": "crash", "line": "SIGSEGV"}
    found = verdict(tmp_path, [PASSING, crashing], KNOWN, expected=2, sometimes=("test_if",))
    assert found["reasons"][0] == "1 test fails in another way:"


def test_another_class_of_failure_does_not_hold(tmp_path: Path) -> None:
    crashing = {**FAILING, "outcome": "crash", "line": "SIGSEGV"}
    found = verdict(tmp_path, [PASSING, crashing], KNOWN, expected=2)
    assert found["reasons"][:2] == [
        "1 test fails in another way:",
        "  test_if: crash: SIGSEGV (was compile)",
    ]


def test_a_listed_test_that_is_gone_does_not_hold(tmp_path: Path) -> None:
    found = verdict(tmp_path, [PASSING], KNOWN, expected=1)
    assert found["reasons"][:2] == ["1 test is listed and not there:", "  test_if"]


def test_a_passing_test_that_is_gone_is_noticed_by_the_number(tmp_path: Path) -> None:
    found = verdict(tmp_path, [FAILING], KNOWN, expected=2)
    assert found["reasons"][0] == "there are 1 tests, the list was made of 2"


def test_an_empty_table_does_not_hold(tmp_path: Path) -> None:
    assert not verdict(tmp_path, [], {}, expected=2)["holds"]


def test_many_regressions_are_counted_and_the_first_ones_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = [{**FAILING, "name": f"test_{n:02}"} for n in range(30)]
    found = verdict(tmp_path, tests, {}, expected=30)
    assert found["reasons"][0] == "30 tests fail unexpectedly:"
    assert found["reasons"][-2] == "  and 22 more, which the log names"
    assert capsys.readouterr().out.count("regressions: test_") == 30


def test_regressions_are_told_before_all_else() -> None:
    tests = [{"name": "a", "outcome": "pass"}, {"name": "b", "outcome": "run", "line": "x"}]
    found = compare(tests, {"a": "compile", "gone": "run"}, expected=9)
    headings = [line for line in found.reasons if not line.startswith(" ")]
    assert headings == [
        "1 test fails unexpectedly:",
        "1 test passes and is listed:",
        "1 test is listed and not there:",
        "there are 2 tests, the list was made of 9",
    ]


@pytest.mark.parametrize("text", ["", "[]", '{"tests": [{}]}', '{"tests": 3}', '{"tests": [1]}'])
def test_what_is_no_table_is_a_fault_and_no_verdict(tmp_path: Path, text: str) -> None:
    table = tmp_path / "table.json"
    table.write_text(text, encoding="utf-8")
    fields: dict[str, Any] = {"suite": "s", "failing": {}, "tests": 0}
    request = Request(step="compare", fields=fields, inputs={"table": {"table.json": str(table)}})
    with pytest.raises(WorkError) as caught:
        run(request)
    assert caught.value.failure is FailureClass.INFRASTRUCTURE
    assert caught.value.message.startswith("table.json is no table of tests: ")
