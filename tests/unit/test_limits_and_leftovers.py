"""Limits of a source, and expectations that fit nothing."""

import json
import shutil
from pathlib import Path

from click.testing import CliRunner

from tests.unit.edits import COMPONENT, after_dtypes, edited, problems_of
from tests.unit.made import graph_of
from tests.unit.suites import write_suite
from tidemill.cli.workspace import manifest
from tidemill.expectations import unmatched
from tidemill.manifest.targets import Expectation

SOURCE = ("    from: pypi:tiny==1.0\n", "    from: pypi:tiny==1.0\n    limits: {timeout: 2h}\n")


def test_a_source_may_say_how_long_its_fetch_takes(tmp_path: Path) -> None:
    plain = graph_of(tmp_path / "plain").nodes["fetch:tiny/package"]
    slow = graph_of(tmp_path / "slow", model=edited(SOURCE)).nodes["fetch:tiny/package"]
    assert (plain.limits.seconds, slow.limits.seconds) == (1800, 7200)
    assert slow.fields == plain.fields


def test_a_component_has_no_say_in_it(tmp_path: Path) -> None:
    model = edited(after_dtypes("limits: {fetch: {timeout: 2h}}"))
    assert problems_of(tmp_path, model=model) == [
        f"23: {COMPONENT}.limits: the limits of a fetch stand with its source:"
        " sources.<name>.limits"
    ]


def expectation(address: str) -> Expectation:
    return Expectation.model_validate(
        {
            "address": address,
            "stage": "compile",
            "class": "compile",
            "match": "x",
            "reason": "The compiler cannot do it.",
            "issue": "https://example.org/1",
            "owner": "somebody",
            "expires": "2027-01-31",
        }
    )


def test_an_expectation_that_fits_no_node_is_named(tmp_path: Path) -> None:
    graph = graph_of(tmp_path)
    nodes = [(node.stage, str(node.address)) for node in graph.nodes.values()]
    listed = [expectation("tiny/*/*/cpu"), expectation("tiny/*/*/cqu")]
    assert unmatched(listed, nodes=nodes) == [
        "expectation tiny/*/*/cqu (compile, compile) fits no node of any manifest:"
        " somebody must correct or remove it"
    ]


def test_an_option_that_the_exporter_does_not_have_is_refused(tmp_path: Path) -> None:
    model = edited(("{pooling: mean}", "{poling: cls}"))
    assert problems_of(tmp_path, model=model) == [
        f"17: {COMPONENT}.options.poling: exporter 'sentence_encoder' has no option 'poling'"
        " (did you mean 'pooling'? known: ignore, normalize, pooling, unused)"
    ]


SUITE_EXPECTATION = """\
expectations:
  - address: ops/node/all/{target}
    stage: conformance
    class: crash
    match: x
    reason: The package of tests crashes.
    issue: https://example.org/1
    owner: somebody
    expires: "2027-01-31"
"""
LOCK = Path(__file__).parents[2] / "toolchains/default.lock"


def checked(root: Path, *, target: str) -> list[str]:
    """What ``manifest check`` finds where a suite's table on ``target`` is expected to fail."""
    write_suite(root)
    (root / "toolchains").mkdir()
    shutil.copy(LOCK, root / "toolchains")
    text = SUITE_EXPECTATION.format(target=target)
    (root / "manifests/expectations.yaml").write_text(text, encoding="utf-8")
    arguments = ["check", "--json", "--workspace", str(root)]
    problems: list[str] = json.loads(CliRunner().invoke(manifest, arguments).output)["problems"]
    return problems


def test_the_check_knows_the_nodes_of_suites(tmp_path: Path) -> None:
    assert checked(tmp_path / "right", target="cpu") == []
    (problem,) = checked(tmp_path / "wrong", target="gfx942")
    assert "ops/node/all/gfx942 (conformance, crash) fits no node of any manifest" in problem
