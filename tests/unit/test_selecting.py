"""What is said of filters that name nothing: which one, what looks like it, and who has it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.made import MODEL, graph_of, write_workspace
from tidemill.cli.produce import _having
from tidemill.cli.selecting import named_nodes
from tidemill.errors import UsageError
from tidemill.graph import Graph, Selection
from tidemill.graph_build import build_graph
from tidemill.manifest.load import load_manifests
from tidemill.workspace import find_workspace

ELSEWHERE = {("model", "sd15"): ["nightly"], ("target", "tpu"): ["nightly", "pictures"]}


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return graph_of(tmp_path)


def named(graph: Graph, selection: Selection) -> set[str]:
    return named_nodes(
        graph,
        selection,
        pipeline="smoke",
        having=lambda axis, pattern: ELSEWHERE.get((axis, pattern), []),
    )


def two_models(root: Path) -> Graph:
    """``tiny`` with its encoder, and ``other`` with a decoder."""
    other = MODEL.replace("name: tiny", "name: other").replace("  encoder:", "  decoder:")
    folder = write_workspace(root)
    (folder / "manifests/models/other.yaml").write_text(other, encoding="utf-8")
    known = load_manifests(folder)
    return build_graph(known.models.values(), targets=known.targets.targets, compiler="3.13.0")


@pytest.mark.parametrize(
    ("selection", "message", "hint"),
    [
        (
            Selection(model=("tinny",)),
            "--model tinny fits nothing in smoke",
            "its models: tiny",
        ),
        (
            Selection(component=("encodr",), target=("cpu",)),
            "--component encodr fits nothing in smoke",
            "its components: encoder",
        ),
        (
            Selection(target=("gfx943",)),
            "--target gfx943 fits nothing in smoke",
            "its targets: gfx942, cpu",
        ),
        (
            Selection(variant=("f23",), target=("gpu",)),
            "--variant f23 fits nothing in smoke; --target gpu fits nothing in smoke",
            "its variants: f32, f16; its targets: cpu, gfx942",
        ),
        (
            Selection(stage="benchmark"),
            "--stage benchmark fits nothing in smoke",
            "the closest of its 6 stages: fetch, reference, pack, export",
        ),
        (
            Selection(model=("sd15",)),
            "sd15 is not in smoke; nightly has it",
            "look at it: tidemill plan nightly --model sd15",
        ),
        (
            Selection(model=("tiny",), target=("tpu",)),
            "tpu is not in smoke; nightly, pictures have it",
            "look at it: tidemill plan nightly --target tpu",
        ),
    ],
)
def test_the_filter_that_fits_nothing_is_named(
    graph: Graph, selection: Selection, message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as refused:
        named(graph, selection)
    assert (refused.value.message, refused.value.hint) == (message, hint)


def test_of_filters_that_fit_nothing_together_the_one_that_empties_is_named(tmp_path: Path) -> None:
    graph = two_models(tmp_path)
    with pytest.raises(UsageError) as refused:
        named(graph, Selection(model=("tiny",), component=("decoder",), target=("cpu",)))
    assert refused.value.message == (
        "nothing in smoke fits --model tiny and --component decoder, though each fits some"
    )
    assert refused.value.hint == "the components of --model tiny: encoder"
    with pytest.raises(UsageError) as refused:
        named(graph, Selection(component=("package",)))
    assert refused.value.hint == "its components: encoder, decoder"


def test_a_selection_that_names_something_is_what_it_was(graph: Graph) -> None:
    assert named(graph, Selection(target=("cpu",), stage="export")) == {
        "export:tiny/encoder/f16",
        "export:tiny/encoder/f32",
    }


@pytest.mark.parametrize(
    ("axis", "pattern", "pipelines"),
    [
        ("model", "sd15", ["nightly"]),
        ("model", "sd-sm*", ["nightly", "pictures"]),
        ("model", "sd1", []),
        ("target", "gfx942", ["nightly", "smoke"]),
        ("target", "gfx943", []),
    ],
)
def test_the_pipelines_of_this_checkout_say_what_they_take(
    axis: str, pattern: str, pipelines: list[str]
) -> None:
    workspace = find_workspace(start=Path(__file__).parents[2])
    mill: Any = SimpleNamespace(workspace=workspace, manifests=load_manifests(workspace.root))
    assert _having(mill, axis, pattern, beside="") == pipelines
    left = [name for name in pipelines if name != "nightly"]
    assert _having(mill, axis, pattern, beside="nightly") == left
