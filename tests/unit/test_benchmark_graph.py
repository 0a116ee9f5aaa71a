"""Benchmarks as nodes: what they read, what their keys hold, whom they hold up (nobody)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.unit.edits import after_dtypes
from tests.unit.made import MODEL, Bench, bytes_of, graph_of
from tidemill.graph import Graph, Node, Selection, select
from tidemill.graph_benchmark import with_machines

CPU = "benchmark:tiny/encoder/f32/cpu"
GPU = "benchmark:tiny/encoder/f32/gfx942"
EPYC = {"device": "AMD EPYC", "driver": "local-task", "processors": 2}


def asking(text: str, *, matrix: str = "") -> str:
    old, new = after_dtypes(f"benchmark: {text}")
    return MODEL.replace(old, new.replace("    benchmark", f"    {matrix}\n    benchmark"))


def graph(root: Path, text: str, **more: Any) -> Graph:
    return graph_of(root, model=asking(text, **more))


SAMPLE = "{functions: [{name: noise, function: main, sample: noise, tokens: batch * 64}]}"


def test_a_component_that_asks_for_nothing_has_no_benchmark(tmp_path: Path) -> None:
    assert not [node for node in graph_of(tmp_path).nodes.values() if node.stage == "benchmark"]


def test_a_benchmark_of_a_sample_reads_module_parameters_and_those_inputs(tmp_path: Path) -> None:
    node = graph(tmp_path, SAMPLE).nodes[CPU]
    assert [(edge.role, edge.node, edge.files) for edge in node.inputs] == [
        ("module", "compile:tiny/encoder/f32/cpu", (("model.vmfb", "model.vmfb"),)),
        ("parameters", "pack:tiny/encoder/f32", ()),
        ("reference", "reference:tiny/encoder/f32", (("noise.input0.npy", "noise.input0.npy"),)),
    ]
    assert node.fields["functions"] == [
        {
            "name": "noise",
            "function": "main",
            "arguments": [{"file": "noise.input0.npy", "dtype": "i64"}],
            "tokens": 128,
        }
    ]
    assert node.tools == ("iree-base-runtime", "numpy")


def test_inputs_by_size_need_no_reference(tmp_path: Path) -> None:
    node = graph(tmp_path, "{functions: [{name: main, dims: {batch: 8}}]}").nodes[CPU]
    assert [edge.role for edge in node.inputs] == ["module", "parameters"]
    assert node.fields["functions"][0]["arguments"] == [{"shape": [8, 64], "dtype": "i64"}]


def test_written_inputs_take_sizes_from_the_matrix_the_type_and_the_configuration(
    tmp_path: Path,
) -> None:
    text = (
        "{functions: [{name: decode, inputs: ['{bs}x1xi64=1',"
        " '{config.layers * 2}x{bs}x{float}'], tokens: bs}]}"
    )
    found = graph(tmp_path, text, matrix="matrix: {bs: [4]}").nodes
    node = found["benchmark:tiny/encoder/f16-bs4/cpu"]
    (function,) = node.fields["functions"]
    assert function["function"] == "decode"
    assert function["tokens"] == 4
    assert function["arguments"] == [{"text": "4x1xi64=1"}, {"text": "{2 * config.layers}x4xf16"}]
    assert ("sizes", (("config.json", "config.json"),)) in [
        (edge.role, edge.files) for edge in node.inputs
    ]


def test_the_configuration_of_a_cached_model_is_the_one_that_its_export_writes(
    tmp_path: Path,
) -> None:
    text = "{functions: [{name: decode, inputs: ['{config.cache.layers}xi64']}]}"
    model = asking(text).replace("sentence_encoder", "cached_lm").replace(
        "{pooling: mean}", "{positions: 64}"
    )  # fmt: skip
    node = graph_of(tmp_path, model=model).nodes[CPU]
    assert ("sizes", "export:tiny/encoder/f32") in [(e.role, e.node) for e in node.inputs]


def test_only_the_targets_and_types_that_are_named_are_measured(tmp_path: Path) -> None:
    text = "{functions: [{name: main, sample: noise}], targets: [cpu], dtypes: [f16]}"
    found = graph(tmp_path, text).nodes
    assert [name for name in found if name.startswith("benchmark:")] == [
        "benchmark:tiny/encoder/f16/cpu"
    ]


def test_peers_bring_the_model_and_their_versions_into_the_key(tmp_path: Path) -> None:
    text = "{functions: [{name: main, sample: noise}], peers: [torch_eager, onnxruntime]}"
    node = graph(tmp_path, text).nodes[CPU]
    assert node.tools == ("iree-base-runtime", "numpy", "onnxruntime", "torch", "transformers")
    assert {"config", "weights"} <= {edge.role for edge in node.inputs}
    assert node.fields["exporter"] == "sentence_encoder"


def test_a_component_that_a_proxy_is_validated_for_is_not_measured(tmp_path: Path) -> None:
    model = asking(SAMPLE)
    whole = model.partition("components:\n")[2].partition("    samples:")[0]
    big = whole.replace("  encoder:", "  big:").replace("    benchmark", "    proxy: encoder\n#")
    found = graph_of(tmp_path, model=model + big).nodes
    assert "compile:tiny/big/f32/cpu" in found
    assert "benchmark:tiny/big/f32/cpu" not in found
    assert CPU in found


def machined(graph: Graph, **machines: dict[str, Any]) -> Graph:
    return with_machines(graph, lambda node: machines.get(node.device, {}))


def bench_on(root: Path, **machines: dict[str, Any]) -> Bench:
    known = graph(root / "workspace", SAMPLE)
    return Bench(root=root, graph=machined(known, **machines))


def made(node: Node) -> dict[str, bytes]:
    inputs = {"noise.input0.npy": b"the sample"} if node.stage == "reference" else {}
    return {**bytes_of(node), **inputs}


def build_all(bench: Bench) -> None:
    for name, node in bench.graph.nodes.items():
        if bench.states().of(name).state == "build":
            bench.build(name, files=made(node))


def test_numbers_of_one_machine_are_none_of_another(tmp_path: Path) -> None:
    bench = bench_on(tmp_path, cpu=EPYC)
    build_all(bench)
    assert bench.states().of(CPU).state == "up-to-date"
    faster = machined(bench.graph, cpu={**EPYC, "processors": 64})
    renewed = machined(bench.graph, cpu={**EPYC, "driver": "local-sync"})
    for other in (faster, renewed):
        assert bench.todo(graph=other) >= {CPU}
        kept = {name for name in other.nodes if name != CPU and not name.startswith("benchmark:")}
        assert bench.todo(graph=other).isdisjoint(kept)


def test_the_key_names_the_module_by_its_bytes_and_the_machine(tmp_path: Path) -> None:
    bench = bench_on(tmp_path, cpu=EPYC)
    build_all(bench)
    bound = bench.states().of(CPU).bound
    assert bound is not None
    compiled = bench.states().of("compile:tiny/encoder/f32/cpu")
    (vmfb,) = (output.digest for output in compiled.outputs if output.name == "model.vmfb")
    assert bound.parts["inputs"]["module"] == {"model.vmfb": vmfb}
    assert bound.parts["fields"]["machine"] == EPYC


def test_without_the_device_a_benchmark_waits_and_nothing_waits_for_it(tmp_path: Path) -> None:
    bench = bench_on(tmp_path, cpu=EPYC)
    bench.missing = {"gfx942": "no gfx942 device on this host"}
    build_all(bench)
    state = bench.states().of(GPU)
    assert (state.state, state.unvalidated) == ("blocked", True)
    assert state.reasons == ("no gfx942 device on this host",)
    above = {edge.node for node in bench.graph.nodes.values() for edge in node.inputs}
    assert not [name for name in above if name.startswith("benchmark:")]


def test_it_is_among_what_a_run_is_for_and_can_be_asked_for_alone(tmp_path: Path) -> None:
    known = graph(tmp_path, SAMPLE)
    assert {CPU, "validate:tiny/encoder/f32/cpu"} <= select(known, Selection())
    only = select(known, replace(Selection(), stage="benchmark", target=("cpu",)))
    assert only == {CPU, "benchmark:tiny/encoder/f16/cpu"}
