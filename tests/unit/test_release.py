"""What a release lists, with which status; nothing without a holding verdict becomes a file."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.unit.made import MODEL, Bench, failure_of, graph_of
from tidemill.graph import Graph, NodeId
from tidemill.records import ActionResult, Artifact
from tidemill.release import NodeResult, artifacts_of

SHARED = "tiny/encoder/f32"
CPU, GPU = f"{SHARED}/cpu", f"{SHARED}/gfx942"
ONE = MODEL.replace("[f32, f16]", "[f32]")
VERDICT = {"holds": True, "kind": "full", "summary": "1e-7", "greedy": None, "outputs": ["…"]}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(root=tmp_path, graph=graph_of(tmp_path / "workspace", model=ONE))
    bench.missing = {"gfx942": "no AMD GPU here"}
    bench.build_all()
    return bench


def results(bench: Bench) -> dict[NodeId, NodeResult]:
    """What a run knows of every node when everything went well and there is no GPU."""
    found = {}
    states = bench.states()
    for name, node in bench.graph.nodes.items():
        state = states.of(name)
        result: ActionResult | None = None
        if state.state == "up-to-date" and state.bound:
            result = bench.cache.result(node.stage, state.bound.key)
        if result and node.stage == "validate":
            result = msgspec.structs.replace(result, facts={"verdict": VERDICT})
        absent = "; ".join(state.reasons)
        found[name] = NodeResult(
            node=node, result=result, absent=absent, unvalidated=state.unvalidated
        )
    return found


def failed(
    known: dict[NodeId, NodeResult], *names: NodeId, amber: str = "", kind: str = "compile"
) -> dict[NodeId, NodeResult]:
    """The first of ``names`` has failed; the others, below it, could not run."""
    first, *below = names
    node = known[first].node
    failure = failure_of(node, failure=kind, lines=("error: bad", "more"))
    changed = {**known, first: NodeResult(node=node, failure=failure, amber=amber)}
    for name in below:
        changed[name] = NodeResult(node=known[name].node, absent=f"needs {first}, which failed")
    return changed


def listed(bench: Bench, known: Mapping[NodeId, NodeResult]) -> dict[str, Artifact]:
    artifacts = artifacts_of(bench.graph, known)
    assert [(a.address, a.file) for a in artifacts] == sorted(
        (a.address, a.file) for a in artifacts
    )
    files = {artifact.file: artifact for artifact in artifacts}
    assert len(files) == len(artifacts)
    return files


def statuses(files: Mapping[str, Artifact]) -> dict[str, tuple[str, str, bool]]:
    """file → status, reason, whether there are bytes."""
    return {file: (a.status, a.reason, bool(a.digest)) for file, a in files.items()}


def test_a_good_run_lists_every_file_with_its_status(bench: Bench) -> None:
    assert statuses(listed(bench, results(bench))) == {
        f"{SHARED}/model.irpa": ("validated", "", True),
        f"{SHARED}/model.mlir": ("validated", "", True),
        f"{SHARED}/reference.json": ("validated", "", True),
        f"{CPU}/model.vmfb": ("validated", "", True),
        f"{CPU}/verdict.json": ("validated", "", True),
        f"{GPU}/model.vmfb": ("unvalidated", "no AMD GPU here", True),
    }


def test_an_artifact_names_its_bytes_its_key_and_its_verdict(bench: Bench) -> None:
    known = results(bench)
    made = known[f"compile:{CPU}"].result
    assert made is not None
    assert listed(bench, known)[f"{CPU}/model.vmfb"] == Artifact(
        address=CPU,
        kind="vmfb",
        file=f"{CPU}/model.vmfb",
        digest=made.outputs[0].digest,
        size=made.outputs[0].size,
        key=made.key,
        status="validated",
        verdict={"holds": True, "kind": "full", "summary": "1e-7", "greedy": None},
        compiler="3.13.0",
    )
    others = [one for one in listed(bench, known).values() if one.kind != "vmfb"]
    assert {one.compiler for one in others} == {""}


def test_a_module_that_holds_for_some_inputs_only_says_for_which(bench: Bench) -> None:
    bound = {"holds_for": "rows of equal length"}
    nodes = {
        name: replace(node, fields={**node.fields, **bound}) if node.stage == "validate" else node
        for name, node in bench.graph.nodes.items()
    }
    bench.graph = Graph(nodes=nodes)
    bench.build_all()
    known = results(bench)
    check = known[f"validate:{CPU}"]
    assert check.result is not None
    told = msgspec.structs.replace(check.result, facts={"verdict": {**VERDICT, **bound}})
    files = listed(bench, {**known, f"validate:{CPU}": replace(check, result=told)})
    assert statuses(files) == {
        f"{SHARED}/model.irpa": ("validated", "", True),
        f"{SHARED}/model.mlir": ("validated", "holds for rows of equal length", True),
        f"{SHARED}/reference.json": ("validated", "", True),
        f"{CPU}/model.vmfb": ("validated", "holds for rows of equal length", True),
        f"{CPU}/verdict.json": ("validated", "holds for rows of equal length", True),
        f"{GPU}/model.vmfb": (
            "unvalidated",
            "no AMD GPU here; made for rows of equal length",
            True,
        ),
    }
    brief = files[f"{CPU}/model.vmfb"].verdict
    assert brief is not None
    assert brief["holds_for"] == "rows of equal length"


def test_files_of_a_reference_lie_in_a_folder_of_their_own(bench: Bench) -> None:
    known = results(bench)
    name = f"reference:{SHARED}"
    made = known[name].result
    assert made is not None
    outputs = tuple(msgspec.structs.replace(each, kind="reference") for each in made.outputs)
    changed = msgspec.structs.replace(made, outputs=outputs)
    known[name] = NodeResult(node=known[name].node, result=changed)
    assert f"{SHARED}/reference/reference.json" in listed(bench, known)


def test_a_module_whose_verdict_does_not_hold_is_not_published(bench: Bench) -> None:
    known = failed(results(bench), f"validate:{CPU}", kind="numerics")
    files = listed(bench, known)
    made = known[f"compile:{CPU}"].result
    assert made is not None
    assert files[f"{CPU}/model.vmfb"] == Artifact(
        address=CPU,
        kind="vmfb",
        file=f"{CPU}/model.vmfb",
        digest="",
        size=0,
        key=made.key,
        status="missing",
        reason="validate: numerics: error: bad",
    )
    assert made.outputs[0].digest not in {artifact.digest for artifact in files.values()}
    assert files[f"{SHARED}/model.mlir"].status == "unvalidated"


def test_a_module_that_did_not_compile_is_missing(bench: Bench) -> None:
    files = listed(bench, failed(results(bench), f"compile:{CPU}", f"validate:{CPU}"))
    assert statuses(files)[f"{CPU}/model.vmfb"] == (
        "missing",
        "compile: compile: error: bad",
        False,
    )
    assert files[f"{CPU}/model.vmfb"].key == ""
    assert statuses(files)[f"{GPU}/model.vmfb"] == ("unvalidated", "no AMD GPU here", True)


def test_an_expected_failure_is_listed_with_its_expectation(bench: Bench) -> None:
    known = failed(results(bench), f"compile:{GPU}", f"validate:{GPU}", amber="known (issue)")
    assert statuses(listed(bench, known))[f"{GPU}/model.vmfb"] == (
        "expected-failure",
        "known (issue) (compile: compile: error: bad)",
        False,
    )


BELOW_EXPORT = [f"compile:{CPU}", f"validate:{CPU}", f"compile:{GPU}", f"validate:{GPU}"]


@pytest.mark.parametrize(
    ("amber", "status", "reason"),
    [
        ("", "missing", "export: export: error: bad"),
        ("known (issue)", "expected-failure", "known (issue) (export: export: error: bad)"),
    ],
)
def test_what_needs_a_failed_export_shares_its_status(
    bench: Bench, amber: str, status: str, reason: str
) -> None:
    export = f"export:{SHARED}"
    known = failed(results(bench), export, *BELOW_EXPORT, amber=amber, kind="export")
    found = statuses(listed(bench, known))
    for file in (f"{SHARED}/model.mlir", f"{CPU}/model.vmfb", f"{GPU}/model.vmfb"):
        assert found[file] == (status, reason, False)
    doubt = f"no target of this variant was validated: cpu, gfx942: {reason}"
    assert found[f"{SHARED}/model.irpa"] == ("unvalidated", doubt, True)


def test_what_targets_share_says_why_none_of_them_was_validated(bench: Bench) -> None:
    found = statuses(listed(bench, failed(results(bench), f"validate:{CPU}", kind="numerics")))
    reason = (
        "no target of this variant was validated: "
        "cpu: validate: numerics: error: bad; gfx942: no AMD GPU here"
    )
    for file in ("model.irpa", "model.mlir", "reference.json"):
        assert found[f"{SHARED}/{file}"] == ("unvalidated", reason, True)


def test_what_targets_share_says_that_no_target_was_asked_for(bench: Bench) -> None:
    wanted = bench.graph.ancestors([f"export:{SHARED}"])
    known = {name: result for name, result in results(bench).items() if name in wanted}
    (mlir,) = artifacts_of(bench.graph.only(wanted), known)
    assert (mlir.status, mlir.reason) == (
        "unvalidated",
        "no target of this variant was validated: none was asked for",
    )


@pytest.mark.parametrize("amber", ["", "known (issue)"])
@pytest.mark.parametrize("stage", ["export", "pack", "reference", "compile", "validate"])
def test_a_failure_outweighs_an_older_result(bench: Bench, stage: str, amber: str) -> None:
    """As after a forced rebuild that failed: what was published before is still in the store."""
    known = results(bench)
    name = f"{stage}:{CPU if stage in ('compile', 'validate') else SHARED}"
    node, result = known[name].node, known[name].result
    assert result is not None
    failure = failure_of(node, failure="crash", lines=("error: bad", "more"))
    known[name] = NodeResult(node=node, result=result, failure=failure, amber=amber)
    found = statuses(listed(bench, known))
    words = f"{stage}: crash: error: bad"
    lost = ("expected-failure", f"{amber} ({words})", False) if amber else ("missing", words, False)
    assert found[f"{CPU}/model.vmfb"] == lost
    if stage in ("export", "pack", "reference"):
        kind = {"export": "mlir", "pack": "irpa", "reference": "reference"}[stage]
        assert found[f"{SHARED}/model.{kind}"] == lost
    assert "validated" not in {status for status, _, _ in found.values()}


def test_a_module_that_could_not_be_checked_for_a_failure_is_not_published(bench: Bench) -> None:
    """Only the lack of a device excuses the lack of a verdict."""
    reference = f"reference:{SHARED}"
    known = failed(results(bench), reference, f"validate:{CPU}", kind="out-of-memory")
    found = statuses(listed(bench, known))
    words = "reference: out-of-memory: error: bad"
    assert found[f"{CPU}/model.vmfb"] == ("missing", words, False)
    assert found[f"{SHARED}/model.reference"] == ("missing", words, False)


def test_a_module_that_was_not_checked_yet_is_not_published(bench: Bench) -> None:
    known = results(bench)
    name = f"validate:{CPU}"
    known[name] = NodeResult(node=known[name].node, absent="not built yet")
    found = statuses(listed(bench, known))
    assert found[f"{CPU}/model.vmfb"] == ("missing", "not built yet", False)


def test_a_failure_that_is_not_expected_outweighs_one_that_is(bench: Bench) -> None:
    known = failed(results(bench), f"pack:{SHARED}", f"validate:{CPU}", amber="known (issue)")
    known = failed(known, f"reference:{SHARED}", f"validate:{CPU}", kind="timeout")
    assert statuses(listed(bench, known))[f"{CPU}/model.vmfb"] == (
        "missing",
        "reference: timeout: error: bad",
        False,
    )


def test_without_validation_in_the_graph_a_module_is_unvalidated(bench: Bench) -> None:
    wanted = bench.graph.ancestors([f"compile:{CPU}"])
    graph = bench.graph.only(wanted)
    known = {name: result for name, result in results(bench).items() if name in wanted}
    files = {artifact.file: artifact for artifact in artifacts_of(graph, known)}
    assert statuses(files)[f"{CPU}/model.vmfb"] == (
        "unvalidated",
        "validation was not asked for",
        True,
    )


@pytest.mark.parametrize("stage", ["export", "pack", "reference", "compile", "validate"])
def test_no_failed_node_has_bytes_in_a_release(bench: Bench, stage: str) -> None:
    known = results(bench)
    names = [name for name in known if name.startswith(f"{stage}:")]
    for name in names:
        below = [each for each in known if each != name and name in bench.graph.ancestors([each])]
        files = listed(bench, failed(known, name, *below))
        lost = {known[each].node.address for each in (name, *below)}
        for artifact in files.values():
            if artifact.kind == "vmfb" and any(str(at) == artifact.address for at in lost):
                assert (artifact.digest, artifact.size) == ("", 0)
                assert artifact.status == "missing"
