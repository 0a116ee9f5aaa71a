"""What fails with a target's flags, as expected, is also compiled with those of a rung."""

import dataclasses
from pathlib import Path

import pytest

from tests.unit.made import MODEL, Bench, failure_of, graph_of, write_workspace
from tests.unit.test_proxies import PAIR
from tidemill.errors import ManifestError
from tidemill.graph import Graph, NodeId, Selection, select
from tidemill.manifest.load import load_manifests
from tidemill.manifest.targets import Expectation, RungPart
from tidemill.release import NodeResult, artifacts_of
from tidemill.rungs import replaced, with_rungs

AT = "tiny/encoder/f32/gfx942"
EXPECTATION = Expectation(
    address=AT,
    stage="compile",
    match="shared memory",
    reason="It asks for too much shared memory.",
    issue="https://example.com/1",
    owner="us",
    expires="2099-01-01",
    rung=RungPart(name="o0", flags=("--opt=O0",)),
    **{"class": "compile"},
)


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    plain = graph_of(tmp_path / "workspace", model=MODEL.replace("[f32, f16]", "[f32]"))
    return with_rungs(plain, [EXPECTATION])


def test_a_rung_is_a_compile_and_a_validation_beside_the_one_that_fails(graph: Graph) -> None:
    names = [name for name in graph.nodes if "gfx942" in name]
    assert set(names) == {
        f"compile:{AT}", f"compile:{AT}-o0", f"validate:{AT}", f"validate:{AT}-o0",
    }  # fmt: skip
    main, rung = graph.nodes[f"compile:{AT}"], graph.nodes[f"compile:{AT}-o0"]
    assert rung.fields["flags"] == [*main.fields["flags"], "--opt=O0"]
    assert rung.judge == f"validate:{AT}-o0"
    judge = graph.nodes[rung.judge]
    assert judge.device == "gfx942"
    assert [edge.node for edge in judge.inputs if edge.role == "module"] == [rung.id]


def test_who_asks_for_the_target_gets_its_rung_too(graph: Graph) -> None:
    wanted = select(graph, Selection(target=("gfx942",), stage="compile"))
    assert wanted == {f"compile:{AT}", f"compile:{AT}-o0"}
    assert select(graph, Selection(target=("gfx942-o0",))) == {f"validate:{AT}-o0"}


def test_flags_of_the_same_name_are_replaced() -> None:
    before = ["--opt=O3", "--target=gfx942", "--fast"]
    assert replaced(before, ["--opt=O0", "--slow"]) == [
        "--target=gfx942", "--fast", "--opt=O0", "--slow",
    ]  # fmt: skip


def test_an_expectation_without_a_rung_changes_nothing(tmp_path: Path) -> None:
    plain = graph_of(tmp_path)
    bare = EXPECTATION.model_copy(update={"rung": None})
    assert with_rungs(plain, [bare]) == plain


def test_a_rung_of_a_proxied_component_is_judged_by_the_proxy_with_the_same_flags(
    tmp_path: Path,
) -> None:
    plain = graph_of(tmp_path, model=PAIR.replace("[f32, f16]", "[f32]"))
    at = "tiny/big/f32/gfx942"
    nodes = with_rungs(plain, [EXPECTATION.model_copy(update={"address": at})]).nodes
    proxy = "tiny/encoder/f32/gfx942-o0"
    rung, judged = nodes[f"compile:{at}-o0"], nodes[f"compile:{proxy}"]
    assert rung.judge == judged.judge == f"validate:{proxy}"
    assert rung.fields["flags"] == judged.fields["flags"]
    inputs = {edge.role: edge.node for edge in nodes[f"validate:{proxy}"].inputs}
    assert inputs["module"] == judged.id
    assert f"validate:{at}-o0" not in nodes
    assert set(plain.nodes) < set(nodes)


def known_of(bench: Bench, *, failed: bool) -> dict[NodeId, NodeResult]:
    states, found = bench.states(), {}
    for name, node in bench.graph.nodes.items():
        state, result = states.of(name), None
        if state.state == "up-to-date" and state.bound:
            result = bench.cache.result(node.stage, state.bound.key)
        absent = "; ".join(state.reasons)
        found[name] = NodeResult(
            node=node, result=result, absent=absent, unvalidated=state.unvalidated
        )
    if failed:
        node = bench.graph.nodes[f"compile:{AT}"]
        failure = failure_of(node, lines=("error: shared memory",))
        found[node.id] = NodeResult(node=node, failure=failure, amber="too much shared memory")
    return found


@pytest.fixture
def bench(tmp_path: Path, graph: Graph) -> Bench:
    bench = Bench(root=tmp_path, graph=graph, missing={"gfx942": "no AMD GPU here"})
    bench.build_all()
    return bench


def test_a_release_gives_the_rungs_module_and_says_that_it_is_degraded(bench: Bench) -> None:
    known = known_of(bench, failed=True)
    files = {one.file: one for one in artifacts_of(bench.graph, known)}
    rung = known[f"compile:{AT}-o0"].result
    assert rung is not None
    module = files[f"{AT}/model.vmfb"]
    assert (module.digest, module.key) == (rung.outputs[0].digest, rung.key)
    assert module.rung == "--opt=O0"
    assert module.status == "unvalidated"
    assert module.reason == (
        "no AMD GPU here; degraded to --opt=O0:"
        " too much shared memory (compile: compile: error: shared memory)"
    )
    assert not any("-o0" in file for file in files)


def test_what_compiles_again_is_released_and_not_its_rung(bench: Bench) -> None:
    known = known_of(bench, failed=False)
    module = {one.file: one for one in artifacts_of(bench.graph, known)}[f"{AT}/model.vmfb"]
    main = known[f"compile:{AT}"].result
    assert main is not None
    assert (module.digest, module.reason) == (main.outputs[0].digest, "no AMD GPU here")


def test_a_failure_that_nobody_expects_is_not_replaced(bench: Bench) -> None:
    known = known_of(bench, failed=True)
    name = f"compile:{AT}"
    known[name] = dataclasses.replace(known[name], amber="")
    module = {one.file: one for one in artifacts_of(bench.graph, known)}[f"{AT}/model.vmfb"]
    assert (module.status, module.digest) == ("missing", "")


def test_a_rung_that_fails_too_leaves_the_first_failure(bench: Bench) -> None:
    known = known_of(bench, failed=True)
    node = bench.graph.nodes[f"compile:{AT}-o0"]
    known[node.id] = NodeResult(node=node, failure=failure_of(node, lines=("error: more",)))
    module = {one.file: one for one in artifacts_of(bench.graph, known)}[f"{AT}/model.vmfb"]
    assert (module.status, module.digest) == ("expected-failure", "")
    assert "shared memory" in module.reason


def test_only_a_compile_has_rungs(tmp_path: Path) -> None:
    text = f"""\
expectations:
  - address: {AT}
    stage: validate
    class: numerics
    match: off
    reason: It is off by a little.
    issue: https://example.com/1
    owner: us
    expires: "2099-01-01"
    rung: {{name: o0, flags: [--opt=O0]}}
"""
    with pytest.raises(ManifestError, match="only a compile has rungs"):
        load_manifests(write_workspace(tmp_path, expectations=text))
