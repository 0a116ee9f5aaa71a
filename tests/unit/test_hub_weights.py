"""One manifest, two origins: real weights from the hub with a token, values from a seed without."""

from pathlib import Path

import pytest

from tests.unit.made import MODEL, TARGETS, parts_of, write_workspace
from tidemill.errors import ManifestError
from tidemill.graph import Graph
from tidemill.graph_build import build_graph
from tidemill.manifest.load import load_manifests

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = f"""\
  weights:
    from: synthetic:seed=7
    hub:
      from: hf:org/tiny@{COMMIT}
      files:
        one.safetensors: deep/one.safetensors
        two.safetensors: deep/two.safetensors
components:
"""
BOTH = MODEL.replace("components:\n", HUB).replace(
    "weights: [package/model.safetensors]",
    "weights: [weights/one.safetensors, weights/two.safetensors]",
)


def graph_with(tmp_path: Path, *, token: bool) -> Graph:
    part, targets = parts_of(write_workspace(tmp_path, model=BOTH, targets=TARGETS))
    return build_graph([part], targets=targets, compiler="3.13.0", token=token)


def test_without_a_token_values_come_from_the_seed(tmp_path: Path) -> None:
    graph = graph_with(tmp_path, token=False)
    assert "fetch:tiny/weights" not in graph.nodes
    pack = graph.nodes["pack:tiny/encoder/f32"]
    assert pack.fields["synthetic"] == {"seed": 7, "scale": 0.02}
    assert [edge.role for edge in pack.inputs] == ["config"]


def test_with_a_token_the_commit_of_the_hub_is_fetched(tmp_path: Path) -> None:
    graph = graph_with(tmp_path, token=True)
    fetch = graph.nodes["fetch:tiny/weights"]
    assert fetch.fields["from"] == f"hf:org/tiny@{COMMIT}"
    assert fetch.fields["files"]["one.safetensors"] == {
        "path": "deep/one.safetensors",
        "sha256": "",
    }
    pack = graph.nodes["pack:tiny/encoder/f32"]
    assert pack.fields["synthetic"] is None
    (weights,) = (edge for edge in pack.inputs if edge.role == "weights")
    assert [name for name, _ in weights.files] == ["one.safetensors", "two.safetensors"]
    assert (
        graph.nodes["export:tiny/encoder/f32"]
        == (graph_with(tmp_path / "other", token=False).nodes["export:tiny/encoder/f32"])
    )


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            "weights/two.safetensors]",
            "weights/three.safetensors]",
            "source 'weights' has no file 'three.safetensors'",
        ),
        ("weights/one.safetensors, ", "weights, ", "source 'weights' has no file ''"),
        (f"hf:org/tiny@{COMMIT}", "pypi:tiny==1.0", "'pypi:tiny==1.0' is not on the hub"),
        ("from: synthetic:seed=7", "from: file:tiny", "stands in place of a synthetic: source"),
    ],
)
def test_mistakes_in_it_are_told(tmp_path: Path, before: str, after: str, words: str) -> None:
    assert before in BOTH
    with pytest.raises(ManifestError) as caught:
        load_manifests(write_workspace(tmp_path, model=BOTH.replace(before, after)))
    assert words in caught.value.message
