"""Limits of a source, and expectations that fit nothing."""

from pathlib import Path

from tests.unit.edits import COMPONENT, after_dtypes, edited, problems_of
from tests.unit.made import graph_of
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
        " (it has: ignore, normalize, pooling, unused)"
    ]
