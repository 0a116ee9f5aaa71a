"""From a table to the list that is committed, and from the list to the page."""

import resource
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from tests.unit.suites import KNOWN, write_suite
from tidemill.cli.conformance import BEGIN, END, conformance, with_page
from tidemill.conformance import MEANINGS, Line, Table, accept, page, read_table
from tidemill.errors import ManifestError, StoreError, ToolError, UsageError
from tidemill.manifest.known_yaml import known_yaml
from tidemill.manifest.load import load_manifests
from tidemill.manifest.suites import CausePart, ExamplePart, KnownPart, Suite

ROOT = Path(__file__).parents[2]
TABLE = Table(
    tools={"onnx": "1.24.0"},
    tests=(
        Line("test_abs", "ai.onnx", "pass"),
        Line("test_if", "ai.onnx", "compile", "no If here"),
        Line("test_loop_of_ifs", "ai.onnx", "compile", "no Loop here, said `x|y`"),
        Line("test_int4", "ai.onnx.ml", "pass"),
    ),
)


def known_of(root: Path) -> KnownPart:
    """The list of the small suite."""
    return load_manifests(write_suite(root)).suites["ops"].known["cpu"]


def test_accepting_files_every_failure_under_its_reason(tmp_path: Path) -> None:
    accepted = accept(TABLE, known_of(tmp_path), file="f.yaml")
    (cause,) = accepted.known.causes
    assert cause.tests == ("test_if", "test_loop_of_ifs")
    assert cause.example is not None
    assert (cause.example.test, cause.example.line) == ("test_if", "no If here")
    assert (accepted.known.passing, accepted.known.tests) == (2, 4)
    assert accepted.known.tools == {"onnx": "1.24.0"}


def test_a_cause_may_be_told_by_the_name_of_the_test(tmp_path: Path) -> None:
    known = known_of(tmp_path)
    named = known.causes[0].model_copy(update={"match": "^test_loop", "tests": ()})
    causes = (named, known.causes[0])
    accepted = accept(TABLE, known.model_copy(update={"causes": causes}), file="f.yaml")
    assert [cause.tests for cause in accepted.known.causes] == [("test_loop_of_ifs",), ("test_if",)]


@pytest.mark.parametrize("outcome", ["pass", "compile"])
def test_what_fails_sometimes_counts_as_failing_each_time(tmp_path: Path, outcome: str) -> None:
    known = known_of(tmp_path)
    shown = {"test": "test_if", "line": "the first time"}
    never = CausePart.model_validate(
        {
            "class": "compile",
            "match": "^test_if:",
            "sometimes": True,
            "reason": "It is not compiled each time.",
            "example": shown,
        }
    )
    tests = (Line("test_abs", "ai.onnx", "pass"), Line("test_if", "ai.onnx", outcome, "no If"))
    table = msgspec.structs.replace(TABLE, tests=tests)
    accepted = accept(table, known.model_copy(update={"causes": (never,)}), file="f.yaml").known
    assert accepted.sometimes == {"test_if"}
    assert (accepted.passing, accepted.tests) == (1, 2)
    assert accepted.causes[0].example == never.example
    other = never.model_copy(update={"example": ExamplePart(test="test_gone", line="x")})
    again_made = accept(table, known.model_copy(update={"causes": (other,)}), file="f.yaml").known
    assert again_made.causes[0].example != other.example
    text = known_yaml(accepted, suite="ops", target="cpu")
    again = load_manifests(write_suite(tmp_path / "again", known=text))
    assert again.suites["ops"].known["cpu"] == accepted
    told = page([Suite(part=again.suites["ops"].part, known=again.suites["ops"].known)])
    assert "It is not compiled each time. Not each time; counted as failing." in told


@pytest.mark.parametrize("match", ["no (If|Loop)", "^", "^test_if", "^test_if: no If", ""])
def test_a_cause_of_what_fails_sometimes_names_its_tests(tmp_path: Path, match: str) -> None:
    """With less it would take in tests that pass, or a whole class of failures."""
    given = f'match: "{match}"\n    sometimes: true'
    text = KNOWN.replace('match: "no (If|Loop)"', given)
    with pytest.raises(ManifestError, match=r"causes\[0\]\.match: of tests that fail sometimes"):
        load_manifests(write_suite(tmp_path, known=text))


def test_accepting_says_what_it_changes(tmp_path: Path) -> None:
    accepted = accept(TABLE, known_of(tmp_path), file="f.yaml")
    assert accepted.now_failing == ("test_loop_of_ifs",)
    assert accepted.now_passing == ("test_int4",)
    assert accepted.unused == ("The compiler aborts on narrow integers.",)


def test_a_failure_without_a_reason_is_not_accepted(tmp_path: Path) -> None:
    known = known_of(tmp_path)
    table = Table(tools={}, tests=(Line("test_new", "ai.onnx", "run", "no If"),))
    with pytest.raises(ToolError) as caught:
        accept(table, known, file="f.yaml")
    assert caught.value.message == (
        "1 failing tests have no reason in f.yaml:\n  test_new: run: no If"
    )
    assert caught.value.hint == "Find out why, and add causes to f.yaml: class, match, reason."


def test_the_list_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    accepted = accept(TABLE, known_of(tmp_path), file="f.yaml").known
    text = known_yaml(accepted, suite="ops", target="cpu")
    again = load_manifests(write_suite(tmp_path / "again", known=text))
    assert again.suites["ops"].known["cpu"] == accepted


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b'{"tools": {}}', b'{"tests": [{}]}'])
def test_what_is_no_table_is_refused(data: bytes) -> None:
    with pytest.raises(StoreError, match="the table cannot be read: "):
        read_table(data)


def test_the_page_tells_numbers_classes_reasons_and_examples(tmp_path: Path) -> None:
    manifests = load_manifests(write_suite(tmp_path))
    known = accept(TABLE, manifests.suites["ops"].known["cpu"], file="f.yaml").known
    text = page([Suite(part=manifests.suites["ops"].part, known={"cpu": known})])
    assert "### ops on cpu: 2 of 4 tests pass" in text
    assert "Operators, one each; onnx 1.24.0." in text
    assert "| ai.onnx | 3 | 1 | 33 % |" in text
    assert f"| compile | 2 | {MEANINGS['compile']} |" in text
    assert "| 2 | Control flow is not lowered. | `test_if`: `no If here` |" in text
    assert "crash" not in text


def test_no_line_of_a_tool_can_break_the_table_of_the_page(tmp_path: Path) -> None:
    manifests = load_manifests(write_suite(tmp_path))
    table = msgspec.structs.replace(TABLE, tests=TABLE.tests[2:])
    known = accept(table, manifests.suites["ops"].known["cpu"], file="f.yaml").known
    text = page([Suite(part=manifests.suites["ops"].part, known={"cpu": known})])
    assert "| `test_loop_of_ifs`: `no Loop here, said 'x\\|y'` |" in text


def test_a_document_keeps_what_people_wrote_around_the_page() -> None:
    document = f"# Title\n{BEGIN}old\n{END}end\n"
    assert with_page(document, "new\n", file="d.md") == f"# Title\n{BEGIN}new\n{END}end\n"


@pytest.mark.parametrize("document", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_a_document_without_a_place_for_the_page_is_refused(document: str) -> None:
    with pytest.raises(UsageError, match=r"d\.md has no place for the page"):
        with_page(document, "new", file="d.md")


def test_the_committed_document_says_what_the_committed_list_says() -> None:
    """After a change of the list: tidemill conformance page --into docs/onnx.md."""
    text = page(load_manifests(ROOT).suites.values())
    document = (ROOT / "docs/onnx.md").read_text(encoding="utf-8")
    assert document == with_page(document, text, file="docs/onnx.md")


def test_the_committed_numbers_add_up() -> None:
    for suite in load_manifests(ROOT).suites.values():
        assert set(suite.known) == set(suite.part.targets)
        for known in suite.known.values():
            assert known.tests - known.passing == len(known.failing) > 0
            assert all(cause.tests and cause.example for cause in known.causes)


def test_the_committed_lists_are_as_the_command_writes_them() -> None:
    for suite in load_manifests(ROOT).suites.values():
        for target, known in suite.known.items():
            path = ROOT / f"manifests/conformance/{suite.part.name}/{target}.yaml"
            text = known_yaml(known, suite=suite.part.name, target=target)
            assert path.read_text(encoding="utf-8") == text


def test_a_document_that_cannot_be_written_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_suite(tmp_path / "workspace")
    document = tmp_path / "onnx.md"
    text = f"{BEGIN}{END}"
    document.write_text(text, encoding="utf-8")
    monkeypatch.chdir(root)
    command = ["page", "--into", str(document)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(StoreError, match="cannot write it: "):
            conformance(command, standalone_mode=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert document.read_text(encoding="utf-8") == text
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["onnx.md"]
    conformance(command, standalone_mode=False)
    assert "### ops on cpu" in document.read_text(encoding="utf-8")


def test_the_help_says_that_comments_go() -> None:
    told = CliRunner().invoke(conformance, ["accept", "--help"]).output
    assert "comments in it, between the causes too, go" in " ".join(told.split())
