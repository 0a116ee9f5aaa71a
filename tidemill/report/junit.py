"""A run as JUnit XML: one suite a stage, one case a node, and one suite for problems of the run.

The form is the one that Jenkins, GitLab and GitHub test reporters read: ``testsuites`` with
``testsuite``, ``testcase``, ``failure``, ``skipped`` and ``properties``, as pytest writes it with
``record_property``. A node that nobody could validate, or that was blocked or failed as expected,
is skipped with its reason: it is never shown as passed.
"""

import shlex
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from tidemill.records import STAGES, NodeReport, RunReport
from tidemill.report.text import clean, one_line
from tidemill.report.view import expectations

_SKIPPED = {
    "unvalidated": "unvalidated",
    "blocked": "blocked",
    "expected-failure": "failed as expected",
}


def junit_xml(report: RunReport) -> bytes:
    """The whole document in UTF-8, with an XML declaration and a final newline."""
    root = ET.Element("testsuites", name=one_line(f"tidemill {report.pipeline}"))
    broken = {(e.node.address, e.node.stage): e.text for e in expectations(report) if e.red}
    for stage in STAGES:
        nodes = [node for node in report.nodes if node.stage == stage]
        if nodes:
            suite = _suite(stage, report=report)
            for node in nodes:
                suite.append(_case(node, broken=broken.get((node.address, node.stage), "")))
            root.append(suite)
    if report.problems:
        suite = _suite("problems", report=report)
        for number, problem in enumerate(report.problems, 1):
            case = ET.SubElement(
                suite, "testcase", name=f"problem {number}", classname="problems", time="0.000"
            )
            _child(case, "failure", kind="problem", message=problem, text=problem)
        root.append(suite)
    _total(root)
    ET.indent(root, space=" ")
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _suite(name: str, *, report: RunReport) -> ET.Element:
    suite = ET.Element("testsuite", name=name)
    suite.set("timestamp", one_line(report.started_at))
    suite.set("hostname", one_line(report.host))
    facts = {"run": report.run, "toolchain": report.toolchain, **report.tools}
    _properties(suite, facts)
    return suite


def _case(node: NodeReport, *, broken: str) -> ET.Element:
    case = ET.Element("testcase", name=one_line(node.address), classname=node.stage)
    case.set("time", f"{node.seconds:.3f}")
    facts = {"outcome": node.outcome, "key": node.key}
    facts |= {f"digest:{output.kind}:{output.name}": output.digest for output in node.outputs}
    _properties(case, {name: value for name, value in facts.items() if value})
    if node.outcome in _SKIPPED:
        why = "; ".join(part for part in (*node.reasons, node.expectation) if part)
        told = f"{_SKIPPED[node.outcome]}: {why}" if why else _SKIPPED[node.outcome]
        _child(case, "skipped", message=told)
    elif node.outcome == "failed":
        _child(case, "failure", kind=_class(node), message=_message(node), text=_text(node))
    elif broken:
        told = f"{broken}: {node.expectation}"
        _child(case, "failure", kind="expectation", message=told, text=told)
    return case


def _class(node: NodeReport) -> str:
    return node.failure.failure if node.failure else "unknown"


def _message(node: NodeReport) -> str:
    lines = node.failure.lines if node.failure else node.reasons
    return lines[0] if lines else "no diagnostic"


def _text(node: NodeReport) -> str:
    failure = node.failure
    if failure is None:
        return "\n".join(node.reasons)
    parts = [*failure.lines, f"class: {failure.failure}"]
    parts += [f"hint: {failure.hint}"] if failure.hint else []
    parts += [f"command: {shlex.join(failure.command)}"] if failure.command else []
    return "\n".join([*parts, f"reproduce: {failure.reproduce}"])


def _child(case: ET.Element, tag: str, *, message: str, kind: str = "", text: str = "") -> None:
    child = ET.SubElement(case, tag, message=one_line(message))
    if kind:
        child.set("type", one_line(kind))
    child.text = clean(text) or None


def _properties(parent: ET.Element, facts: dict[str, str]) -> None:
    box = ET.SubElement(parent, "properties")
    for name, value in facts.items():
        ET.SubElement(box, "property", name=one_line(name), value=one_line(value))


def _total(root: ET.Element) -> None:
    """Set the counts of every suite and of the whole from the cases."""
    for suite in root:
        _count(suite, suite.findall("testcase"))
    _count(root, root.findall("testsuite/testcase"))


def _count(element: ET.Element, cases: Sequence[ET.Element]) -> None:
    element.set("tests", str(len(cases)))
    element.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    element.set("errors", "0")
    element.set("skipped", str(sum(case.find("skipped") is not None for case in cases)))
    element.set("time", f"{sum(float(case.get('time', '0')) for case in cases):.3f}")
