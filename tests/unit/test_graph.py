"""Manifests become nodes and edges: what is shared, what is hashed, what a selection names."""

from pathlib import Path

import pytest

from tests.unit.made import MODEL, SHA, TARGETS, graph_of, parts_of, write_workspace
from tidemill.graph import DEFAULT_LIMITS, Graph, Limits, Selection, select
from tidemill.graph_build import build_graph
from tidemill.records import STAGES

SYNTHETIC = MODEL.replace(
    "components:", "  made:\n    from: synthetic:seed=7\ncomponents:"
).replace("weights: [package/model.safetensors]", "weights: [made]")


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return graph_of(tmp_path)


def test_what_targets_share_is_there_once_a_variant(graph: Graph) -> None:
    assert list(graph.nodes) == [
        "fetch:tiny/package",
        *(
            f"{stage}:tiny/encoder/{dtype}{target}"
            for dtype in ("f32", "f16")
            for stage, target in [
                ("export", ""),
                ("pack", ""),
                ("reference", ""),
                ("compile", "/cpu"),
                ("validate", "/cpu"),
                ("compile", "/gfx942"),
                ("validate", "/gfx942"),
            ]
        ),
    ]


def test_every_node_comes_after_its_inputs(graph: Graph) -> None:
    seen: set[str] = set()
    for name, node in graph.nodes.items():
        assert {edge.node for edge in node.inputs} <= seen
        seen.add(name)


def test_export_needs_no_weights_and_pack_does(graph: Graph) -> None:
    edges = {
        stage: [(edge.role, edge.node, edge.files) for edge in node.inputs]
        for stage in STAGES
        if (node := graph.nodes.get(f"{stage}:tiny/encoder/f32"))
    }
    config = ("config", "fetch:tiny/package", (("config.json", "config.json"),))
    weights = ("weights", "fetch:tiny/package", (("model.safetensors", "model.safetensors"),))
    assert edges == {
        "export": [config],
        "pack": [config, weights],
        "reference": [config, weights],
    }


def test_compile_reads_the_mlir_and_nothing_else(graph: Graph) -> None:
    (edge,) = graph.nodes["compile:tiny/encoder/f16/cpu"].inputs
    assert (edge.role, edge.node) == ("mlir", "export:tiny/encoder/f16")
    assert graph.nodes["compile:tiny/encoder/f16/cpu"].fields == {"flags": ["--device=local"]}


def test_validate_reads_module_parameters_and_reference(graph: Graph) -> None:
    node = graph.nodes["validate:tiny/encoder/f16/cpu"]
    assert [(edge.role, edge.node) for edge in node.inputs] == [
        ("module", "compile:tiny/encoder/f16/cpu"),
        ("parameters", "pack:tiny/encoder/f16"),
        ("reference", "reference:tiny/encoder/f16"),
    ]
    assert node.device == "cpu"


def test_an_exporter_that_needs_weights_gets_them(tmp_path: Path) -> None:
    model = MODEL.replace("sentence_encoder", "onnx").replace("[f32, f16]", "[f32]")
    model = model.replace("{pooling: mean}", "{}")
    graph = graph_of(tmp_path, model=model)
    roles = [edge.role for edge in graph.nodes["export:tiny/encoder/f32"].inputs]
    assert roles == ["config", "weights"]


def test_synthetic_weights_need_no_fetch(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, model=SYNTHETIC)
    pack = graph.nodes["pack:tiny/encoder/f32"]
    assert pack.fields["synthetic"] == {"seed": 7, "scale": 0.02}
    assert [edge.role for edge in pack.inputs] == ["config"]
    assert graph.nodes["export:tiny/encoder/f32"].fields["synthetic"] is None
    assert [name for name in graph.nodes if name.startswith("fetch:")] == ["fetch:tiny/package"]


def test_the_matrix_names_its_variants_dtype_first(tmp_path: Path) -> None:
    model = MODEL.replace(
        "    dtypes: [f32, f16]\n", "    dtypes: [f32, f16]\n    matrix: {bs: [1, 4], heads: [2]}\n"
    ).replace("shape: [batch, 64]", "shape: [batch, bs, 64]")
    graph = graph_of(tmp_path, model=model)
    exports = [n.address.variant for n in graph.nodes.values() if n.stage == "export"]
    assert exports == ["f32-bs1-heads2", "f32-bs4-heads2", "f16-bs1-heads2", "f16-bs4-heads2"]
    shapes = [n.fields["inputs"][0]["shape"] for n in graph.nodes.values() if n.stage == "export"]
    assert shapes == [["batch", 1, 64], ["batch", 4, 64]] * 2


def test_flags_are_the_targets_then_the_models_then_the_models_for_that_target(
    tmp_path: Path,
) -> None:
    model = MODEL.replace(
        "    dtypes:", "    flags: {all: [--every], gfx942: [--only-here]}\n    dtypes:"
    )
    graph = graph_of(tmp_path, model=model, compiler="3.10.0")
    assert graph.nodes["compile:tiny/encoder/f32/gfx942"].fields["flags"] == [
        "--device=hip",
        "--hip-target=gfx942",
        "--every",
        "--only-here",
    ]
    assert graph.nodes["compile:tiny/encoder/f32/cpu"].fields["flags"] == [
        "--device=local",
        "--every",
    ]


def test_limits_come_from_the_manifest_where_it_gives_any(tmp_path: Path) -> None:
    model = MODEL.replace(
        "    dtypes:", "    limits: {compile: {timeout: 90s, memory: 512MiB}}\n    dtypes:"
    )
    graph = graph_of(tmp_path, model=model)
    expected = Limits(seconds=90, memory_bytes=512 << 20)
    assert graph.nodes["compile:tiny/encoder/f32/cpu"].limits == expected
    assert DEFAULT_LIMITS["export"].timeout == "20m"
    assert graph.nodes["export:tiny/encoder/f32"].limits.seconds == 20 * 60


def test_greedy_decoding_is_only_in_the_variants_that_ask_for_it(tmp_path: Path) -> None:
    model = MODEL.replace(
        "      - name: noise\n", "      - name: noise\n        greedy: {tokens: 4}\n"
    )
    graph = graph_of(tmp_path, model=model)
    samples = {
        dtype: graph.nodes[f"reference:tiny/encoder/{dtype}"].fields["samples"][0]["greedy"]
        for dtype in ("f32", "f16")
    }
    assert samples == {"f32": {"tokens": 4}, "f16": None}


def test_a_tokenizer_is_an_input_of_the_reference(tmp_path: Path) -> None:
    text = "        text: {tokenizer: package/tokenizer.json, texts: [Ebb], length: 64}\n"
    model = MODEL.replace("        inputs:\n", f"{text}        inputs:\n").replace(
        "{kind: integers, seed: 1, low: 0, high: 9}", "{kind: text, field: ids}"
    )
    node = graph_of(tmp_path, model=model).nodes["reference:tiny/encoder/f32"]
    assert [edge.role for edge in node.inputs] == ["config", "weights", "tokenizer"]
    assert node.tools == ("numpy", "tokenizers", "torch", "transformers")
    assert node.fields["samples"] == [
        {
            "name": "noise",
            "dims": {"batch": 2},
            "text": {"tokenizer": "tokenizer.json", "texts": ["Ebb"], "length": 64},
            "inputs": {"ids": {"kind": "text", "field": "ids"}},
            "greedy": None,
        }
    ]


def test_a_reference_without_text_does_not_depend_on_the_tokenizers(graph: Graph) -> None:
    assert graph.nodes["reference:tiny/encoder/f32"].tools == ("numpy", "torch", "transformers")


def test_the_reason_for_a_pickle_is_for_people_and_not_hashed(tmp_path: Path) -> None:
    fields = {}
    for index, reason in enumerate(("", "pinned by its digest", "loaded with weights only")):
        line = f"    pickle: {reason}\n    files:\n" if reason else "    files:\n"
        graph = graph_of(tmp_path / str(index), model=MODEL.replace("    files:\n", line))
        fields[reason] = graph.nodes["pack:tiny/encoder/f32"].fields
    unsafe = {**fields[""], "pickle": True}
    assert fields["pinned by its digest"] == fields["loaded with weights only"] == unsafe


def test_only_the_targets_of_the_pipeline_are_built(tmp_path: Path) -> None:
    model, targets = parts_of(write_workspace(tmp_path))
    graph = build_graph(
        [model], targets=targets, compiler="3.13.0", only_targets=frozenset({"cpu"})
    )
    assert {node.address.target for node in graph.nodes.values()} == {"", "cpu"}


def test_the_folder_of_a_manifest_is_known_and_not_compared(tmp_path: Path) -> None:
    model, targets = parts_of(write_workspace(tmp_path))
    one, other = (
        build_graph([model], targets=targets, compiler="3.13.0", folders={"tiny": folder})
        for folder in ("here", "there")
    )
    assert one.nodes["fetch:tiny/package"].base == "here"
    assert one == other


def test_a_fetch_is_pinned_by_what_the_manifest_says(graph: Graph) -> None:
    fields = graph.nodes["fetch:tiny/package"].fields
    assert fields["from"] == "pypi:tiny==1.0"
    assert fields["sha256"] == SHA
    assert fields["files"]["config.json"] == {"path": "tiny/config.json", "sha256": SHA}
    assert fields["pickle"] == ""


def test_ancestors_are_everything_that_a_node_needs(graph: Graph) -> None:
    assert graph.ancestors(["compile:tiny/encoder/f16/cpu"]) == {
        "compile:tiny/encoder/f16/cpu",
        "export:tiny/encoder/f16",
        "fetch:tiny/package",
    }
    closed = graph.only(graph.ancestors(["compile:tiny/encoder/f16/cpu"]))
    assert list(closed.nodes) == [
        "fetch:tiny/package",
        "export:tiny/encoder/f16",
        "compile:tiny/encoder/f16/cpu",
    ]


def test_translating_flags_changes_compile_nodes_only(graph: Graph) -> None:
    changed = graph.with_flags(lambda node: [*node.fields["flags"], "--new"])
    for name, node in graph.nodes.items():
        same = changed.nodes[name] == node
        assert same == (node.stage != "compile"), name
    assert changed.nodes["compile:tiny/encoder/f16/cpu"].fields["flags"] == [
        "--device=local",
        "--new",
    ]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (
            Selection(),
            {
                "validate:tiny/encoder/f32/cpu",
                "validate:tiny/encoder/f32/gfx942",
                "validate:tiny/encoder/f16/cpu",
                "validate:tiny/encoder/f16/gfx942",
            },
        ),
        (Selection(variant=("f16",), target=("gfx*",)), {"validate:tiny/encoder/f16/gfx942"}),
        (
            Selection(stage="compile", target=("cpu",)),
            {"compile:tiny/encoder/f32/cpu", "compile:tiny/encoder/f16/cpu"},
        ),
        (Selection(stage="fetch", component=("encoder",)), {"fetch:tiny/package"}),
        (
            Selection(stage="export", target=("cpu",)),
            {"export:tiny/encoder/f32", "export:tiny/encoder/f16"},
        ),
        (Selection(model=("huge",)), set()),
        (
            Selection(stage="compile", variant=("f16",), target=("cpu", "gfx*")),
            {"compile:tiny/encoder/f16/cpu", "compile:tiny/encoder/f16/gfx942"},
        ),
        (Selection(target=("tpu",)), set()),
        (Selection(component=("ENCODER",)), set()),
    ],
)
def test_a_selection_names_nodes(graph: Graph, selection: Selection, expected: set[str]) -> None:
    assert select(graph, selection) == expected


def test_only_an_empty_selection_is_whole() -> None:
    assert Selection().whole
    assert not Selection(target=("cpu",)).whole
    assert not Selection(stage="compile").whole


def test_targets_that_a_component_names_are_the_only_ones(tmp_path: Path) -> None:
    model = MODEL.replace("    dtypes:", "    targets: [gfx942]\n    dtypes:")
    graph = graph_of(tmp_path, model=model, targets=TARGETS)
    assert {n.address.target for n in graph.nodes.values() if n.stage == "compile"} == {"gfx942"}
