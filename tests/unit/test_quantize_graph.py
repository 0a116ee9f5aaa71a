"""A quantised component as nodes: what hangs on what, and with which flags it is compiled."""

from pathlib import Path

import pytest
import yaml

from tidemill.graph import Graph
from tidemill.graph_build import build_graph
from tidemill.manifest.load import load_manifests
from tidemill.toolchain.flags import known_flags, lint

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "manifests/models/tiny-llama-paged.yaml"
AT = "tiny-llama-paged/fp8/f32-bs4"


@pytest.fixture(scope="module")
def graph() -> Graph:
    manifests = load_manifests(ROOT)
    return build_graph(
        [manifests.models["tiny-llama-paged"]],
        targets=manifests.targets.targets,
        compiler="3.12.0",
    )


def edges(graph: Graph, name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for edge in graph.nodes[name].inputs:
        found.setdefault(edge.role, []).append(edge.node.removeprefix("fetch:tiny-llama-paged/"))
    return found


def test_a_verdict_is_told_of_the_promise_and_no_other_verdict_is(graph: Graph) -> None:
    told = {
        node.address.component: node.fields["holds_for"]
        for node in graph.nodes.values()
        if "holds_for" in node.fields
    }
    assert told == {"fp8_fused": "rows of equal length"}


def test_quantising_hangs_on_whatever_makes_its_bytes(graph: Graph) -> None:
    tools = set(graph.nodes[f"quantize:{AT}"].tools)
    assert {"accelerate", "numpy", "pyarrow", "tokenizers"} <= tools


def test_the_dataset_stands_for_the_checkpoint_after_quantising(graph: Graph) -> None:
    assert edges(graph, f"quantize:{AT}") == {
        "config": ["config"],
        "tokenizer": ["tokenizer"],
        "calibration": ["text"],
        "evaluation": ["text"],
    }
    assert graph.nodes[f"quantize:{AT}"].fields["synthetic"] == {"seed": 7, "scale": 0.17}
    for stage in ("pack", "reference"):
        assert edges(graph, f"{stage}:{AT}")["quantised"] == [f"quantize:{AT}"]
        assert graph.nodes[f"{stage}:{AT}"].fields["synthetic"] is None
    assert edges(graph, f"export:{AT}")["parameters"] == [f"pack:{AT}"]


def test_a_verdict_reads_what_quantisation_cost(graph: Graph) -> None:
    node = graph.nodes[f"validate:{AT}/cpu"]
    assert edges(graph, node.id)["quantised"] == [f"quantize:{AT}"]
    assert node.fields["perplexity_rise"] == 0.05
    assert (
        "perplexity_rise" not in graph.nodes["validate:tiny-llama-paged/float/f32-bs4/cpu"].fields
    )


def test_sizes_and_limits_do_not_quantise_again(graph: Graph) -> None:
    fields = graph.nodes[f"quantize:{AT}"].fields
    assert (fields["inputs"], fields["options"], fields["dynamic"]) == ([], {}, {})
    assert "evaluation" not in fields["quantize"]


def test_a_float_component_is_not_quantised(graph: Graph) -> None:
    assert "quantize:tiny-llama-paged/float/f32-bs4" not in graph.nodes


def test_the_seeds_flags_reach_the_compiler_translated(graph: Graph) -> None:
    flags = graph.nodes[f"compile:{AT}/gfx942"].fields["flags"]
    seed = yaml.safe_load(MODEL.read_text(encoding="utf-8"))["components"]["fp8"]["flags"]["gfx942"]
    assert flags == [
        "--iree-hal-target-device=hip",
        "--iree-rocm-target=gfx942",
        "--iree-opt-level=O3",
        *seed,
    ]
    assert seed == [
        "--iree-hal-indirect-command-buffers=true",
        "--iree-stream-resource-memory-model=discrete",
        "--iree-hal-memoization=true",
    ]


@pytest.mark.toolchain
def test_the_seeds_compile_command_is_translated_for_the_compiler_that_runs(
    tmp_path: Path, toolchain_python: Path
) -> None:
    """Word for word as Brevitas' instructions have it, by the renames of targets.yaml."""
    seed = [
        "--iree-hal-target-device=hip",
        "--iree-hip-target=gfx942",
        "--iree-opt-level=O3",
        "--iree-hal-indirect-command-buffers=true",
        "--iree-stream-resource-memory-model=discrete",
        "--iree-hal-memoization=true",
    ]
    known = known_flags(toolchain_python.with_name("iree-compile"), cache=tmp_path / "flags")
    targets = load_manifests(ROOT).targets
    linted = lint(seed, known=known, renames=targets.renames, version="3.13.0")
    assert linted.problems == ()
    assert list(linted.flags) == [
        one.replace("--iree-hip-target", "--iree-rocm-target") for one in seed
    ]
