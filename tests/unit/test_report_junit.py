"""JUnit XML: parsed back, its counts agree, and nothing unvalidated passes."""

from xml.etree import ElementTree as ET

from tests.reports import (
    COMPILE_FAILURE,
    NO_LONGER_FAILING,
    empty_report,
    hostile_report,
    sample_report,
)
from tidemill.records import RunReport
from tidemill.report.junit import junit_xml


def parsed(document: bytes) -> ET.Element:
    return ET.fromstring(document)  # noqa: S314 - our own document


def test_junit_names_every_node_once_in_the_suite_of_its_stage() -> None:
    report = sample_report()
    root = parsed(junit_xml(report))
    cases = [
        (suite.get("name"), case.get("name"))
        for suite in root
        for case in suite.findall("testcase")
    ]
    assert sorted(cases) == sorted((n.stage, n.address) for n in report.nodes)
    assert root.get("tests") == str(len(report.nodes))


def test_junit_counts_agree_with_its_cases() -> None:
    root = parsed(junit_xml(sample_report()))
    for suite in root:
        assert suite.get("tests") == str(len(suite.findall("testcase")))
        assert suite.get("failures") == str(len(suite.findall("testcase/failure")))
        assert suite.get("skipped") == str(len(suite.findall("testcase/skipped")))
    # Two failures, and one expectation that no longer holds.
    assert (root.get("failures"), root.get("skipped")) == ("3", "15")


def case_of(report: RunReport, address: str, stage: str) -> ET.Element:
    root = parsed(junit_xml(report))
    found = root.find(f"testsuite[@name='{stage}']/testcase[@name='{address}']")
    assert found is not None
    return found


def test_junit_failure_holds_class_lines_and_command() -> None:
    broken = case_of(sample_report(), COMPILE_FAILURE, "compile").find("failure")
    assert broken is not None
    assert broken.get("type") == "compile"
    assert (broken.get("message") or "").startswith("main.mlir:812:11: error: 'func.func' op")
    assert f"reproduce: tidemill repro {COMPILE_FAILURE} --stage compile" in (broken.text or "")


def test_junit_never_passes_what_nobody_validated() -> None:
    skipped = case_of(sample_report(), "minilm/encoder/f32/gfx942", "validate").find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "unvalidated: no host has this target"
    blocked = case_of(sample_report(), COMPILE_FAILURE, "validate").find("skipped")
    assert blocked is not None
    assert blocked.get("message") == "blocked: compile failed"


def test_junit_fails_a_node_that_passes_against_its_expectation() -> None:
    broken = case_of(sample_report(), NO_LONGER_FAILING, "compile").find("failure")
    assert broken is not None
    assert broken.get("type") == "expectation"
    assert (broken.get("message") or "").startswith("passed, but was to fail: compile: scatter")


def test_junit_carries_key_digest_and_time() -> None:
    report = sample_report()
    case = case_of(report, "minilm/encoder/f32/cpu", "compile")
    (made,) = (
        n
        for n in report.nodes
        if n.address.endswith("f32/cpu") and n.stage == "compile" and n.address.startswith("minilm")
    )
    properties = {p.get("name"): p.get("value") for p in case.findall("properties/property")}
    assert properties["key"] == made.key
    assert made.outputs[0].digest in properties.values()
    assert case.get("time") == f"{made.seconds:.3f}"


def test_hostile_junit_parses_and_holds_no_control_character() -> None:
    document = junit_xml(hostile_report())
    root = parsed(document)
    assert root.find("testsuite[@name='problems']/testcase/failure") is not None
    assert all(char in "\n\t" or char.isprintable() for char in document.decode())


def test_empty_junit_parses() -> None:
    assert parsed(junit_xml(empty_report())).get("tests") == "0"
