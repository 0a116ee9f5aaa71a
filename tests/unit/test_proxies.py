"""A component too big to validate here names another one whose verdict stands for it."""

from pathlib import Path

import msgspec
import pytest

from tests.unit.made import MODEL, Bench, failure_of, graph_of, write_workspace
from tidemill.errors import ManifestError
from tidemill.graph import NodeId
from tidemill.manifest.load import load_manifests
from tidemill.release import NodeResult, artifacts_of

_, COMPONENT = MODEL.split("components:\n")
SAMPLES = COMPONENT[COMPONENT.index("    samples:") :]
BIG = COMPONENT.replace("  encoder:", "  big:").replace(SAMPLES, "    proxy: encoder\n")
SYNTHETIC = MODEL.replace(
    "components:", "  made:\n    from: synthetic:seed=7\ncomponents:"
).replace("weights: [package/model.safetensors]", "weights: [made]")
PAIR = MODEL + BIG
VERDICT = {"holds": True, "kind": "full", "summary": {"rel_l2": 1e-7}, "greedy": None}


def test_it_has_no_reference_and_no_verdict_of_its_own(tmp_path: Path) -> None:
    stages = [name for name in graph_of(tmp_path, model=PAIR).nodes if ":tiny/big/f16" in name]
    assert stages == [
        "export:tiny/big/f16",
        "pack:tiny/big/f16",
        "compile:tiny/big/f16/cpu",
        "compile:tiny/big/f16/gfx942",
    ]


def test_values_from_a_seed_are_not_packed_for_it(tmp_path: Path) -> None:
    big = BIG.replace("weights: [package/model.safetensors]", "weights: [made]")
    graph = graph_of(tmp_path, model=SYNTHETIC + big)
    assert "pack:tiny/encoder/f16" in graph.nodes
    assert "pack:tiny/big/f16" not in graph.nodes


def test_its_judge_is_the_one_variant_of_the_proxy_in_its_type(tmp_path: Path) -> None:
    sized = COMPONENT.replace("[batch, 64]", "[batch, length]")
    one, many = (
        sized.replace("    dtypes:", f"    matrix:\n      length: {sizes}\n    dtypes:")
        for sizes in ("[8]", "[64, 128]")
    )
    big = many.replace("  encoder:", "  big:").replace(SAMPLES, "    proxy: encoder\n")
    graph = graph_of(tmp_path, model=MODEL.replace(COMPONENT, one) + big)
    assert {
        name: node.judge for name, node in graph.nodes.items() if node.judge and "f32" in name
    } == {
        f"compile:tiny/{component}/f32-length{size}/{target}": (
            f"validate:tiny/encoder/f32-length8/{target}"
        )
        for component, size in (("encoder", 8), ("big", 64), ("big", 128))
        for target in ("cpu", "gfx942")
    }


def test_one_type_may_have_a_proxy_and_another_none(tmp_path: Path) -> None:
    big = COMPONENT.replace("  encoder:", "  big:")
    big = big.replace("    samples:", "    proxy: encoder\n    proxied: [f16]\n    samples:")
    nodes = graph_of(tmp_path, model=MODEL + big).nodes
    judges = {name: nodes[f"compile:tiny/big/{name}/cpu"].judge for name in ("f32", "f16")}
    assert judges == {
        "f32": "validate:tiny/big/f32/cpu",
        "f16": "validate:tiny/encoder/f16/cpu",
    }
    assert "validate:tiny/big/f16/cpu" not in nodes


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    graph = graph_of(tmp_path / "workspace", model=PAIR.replace("[f32, f16]", "[f32]"))
    bench = Bench(root=tmp_path, graph=graph, missing={"gfx942": "no AMD GPU here"})
    bench.build_all()
    return bench


def known_of(bench: Bench) -> dict[NodeId, NodeResult]:
    """What a run knows of every node: all is built and holds, but on no GPU."""
    states, found = bench.states(), {}
    for name, node in bench.graph.nodes.items():
        state, result = states.of(name), None
        if state.state == "up-to-date" and state.bound:
            result = bench.cache.result(node.stage, state.bound.key)
        if result and node.stage == "validate":
            result = msgspec.structs.replace(result, facts={"verdict": VERDICT})
        absent = "; ".join(state.reasons)
        found[name] = NodeResult(
            node=node, result=result, absent=absent, unvalidated=state.unvalidated
        )
    return found


def test_a_release_says_which_proxy_was_validated(bench: Bench) -> None:
    files = {one.file: one for one in artifacts_of(bench.graph, known_of(bench))}
    module = files["tiny/big/f32/cpu/model.vmfb"]
    why = "validated on its proxy tiny/encoder/f32"
    assert (module.status, module.reason) == ("proxy", why)
    assert module.verdict == {**VERDICT, "kind": "proxy", "proxy": "tiny/encoder/f32"}
    assert files["tiny/big/f32/gfx942/model.vmfb"].status == "unvalidated"
    mlir = files["tiny/big/f32/model.mlir"]
    assert (mlir.status, mlir.reason) == ("proxy", why)
    assert "tiny/big/f32/cpu/verdict.json" not in files
    assert files["tiny/encoder/f32/cpu/model.vmfb"].status == "validated"


def test_a_proxy_that_fails_takes_what_it_stands_for_with_it(bench: Bench) -> None:
    known = known_of(bench)
    name = "validate:tiny/encoder/f32/cpu"
    node = bench.graph.nodes[name]
    failure = failure_of(node, failure="numerics", lines=("off by one",))
    known[name] = NodeResult(node=node, failure=failure)
    files = {one.file: one for one in artifacts_of(bench.graph, known)}
    module = files["tiny/big/f32/cpu/model.vmfb"]
    assert (module.status, module.digest) == ("missing", "")
    assert module.reason == "its proxy tiny/encoder/f32: validate: numerics: off by one"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (PAIR.replace("proxy: encoder", "proxy: other"), "no component 'other' with samples"),
        (PAIR.replace("proxy: encoder", "proxy: big"), "no component 'big' with samples"),
        (MODEL + BIG.replace("    proxy: encoder\n", ""), "components.big: has no samples"),
        (
            PAIR.replace("    proxy: encoder\n", "    proxy: encoder\n    proxied: [f16]\n"),
            "has no samples: say what f32 is validated with",
        ),
        (
            PAIR.replace("    proxy: encoder\n", "    proxy: encoder\n    proxied: [bf16]\n"),
            "components.big.proxied: 'bf16' is no type of this component",
        ),
        (
            MODEL.replace("    samples:", "    proxied: [f16]\n    samples:"),
            "says which types a proxy stands for, and names no proxy",
        ),
        (
            PAIR + "    numerics: {factor: 9.0}\n",
            "components.big.numerics: is validated by its proxy",
        ),
        (PAIR + SAMPLES, "components.big.samples: is validated by its proxy"),
        (
            MODEL + BIG.replace("pooling: mean", "pooling: cls"),
            "'encoder' has other options: it stands for something else",
        ),
        (MODEL.replace("[f32, f16]", "[f32]") + BIG, "'encoder' lacks the dtypes f16"),
        (
            MODEL.replace("    dtypes", "    targets: [cpu]\n    dtypes") + BIG,
            "'encoder' lacks the targets gfx942",
        ),
        (
            MODEL.replace("[batch, 64]", "[batch, length]").replace(
                "    dtypes", "    matrix:\n      length: [8, 16]\n    dtypes"
            )
            + BIG,
            "'encoder' has 2 sizes of 'length': a proxy is one variant a dtype",
        ),
    ],
)
def test_a_proxy_that_cannot_stand_for_it_is_refused(
    tmp_path: Path, model: str, words: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifests(write_workspace(tmp_path, model=model))
    assert words in caught.value.message
