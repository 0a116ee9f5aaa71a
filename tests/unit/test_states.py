"""What is up to date, what must be built, what is blocked: over real records in a folder store."""

from pathlib import Path

import pytest

from tests.unit.made import MODEL, TARGETS, Bench, failure_of, graph_of
from tidemill.graph import Graph, NodeId
from tidemill.store.layout import action_name, blob_name

FETCH = "fetch:tiny/package"
EXPORT = "export:tiny/encoder/f32"
PACK = "pack:tiny/encoder/f32"
COMPILE = "compile:tiny/encoder/f32/cpu"
VALIDATE = "validate:tiny/encoder/f32/cpu"
ONE = MODEL.replace("[f32, f16]", "[f32]")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(root=tmp_path, graph=graph_of(tmp_path / "workspace", model=ONE))


def states_of(bench: Bench) -> dict[NodeId, str]:
    states = bench.states()
    return {name: states.of(name).state for name in bench.graph.nodes}


def with_code_changed(bench: Bench, name: NodeId) -> None:
    """Edit the working code of one node's step, as a comment in an exporter does."""
    node = bench.graph.nodes[name]
    bench.code = {**bench.code, node.code: "edited"}


def test_in_an_empty_store_everything_is_to_be_built(bench: Bench) -> None:
    assert set(states_of(bench).values()) == {"build"}
    states = bench.states()
    assert states.of(FETCH).reasons == ("not built yet",)
    assert states.of(EXPORT).reasons == (f"needs {FETCH}, which is to be built",)
    assert states.of(EXPORT).bound is None
    assert states.of(COMPILE).reasons == (f"needs {EXPORT}, which is to be built",)


def test_a_key_is_known_once_the_records_above_are(bench: Bench) -> None:
    bench.build(FETCH)
    export = bench.states().of(EXPORT)
    assert export.state == "build"
    assert export.reasons == ("not built yet",)
    assert export.bound is not None
    assert set(export.bound.inputs) == {"config"}
    assert bench.states().of(COMPILE).bound is None


def test_after_a_run_everything_is_up_to_date(bench: Bench) -> None:
    bench.build_all()
    assert set(states_of(bench).values()) == {"up-to-date"}


def test_the_inputs_of_a_key_are_the_digests_of_what_was_made(bench: Bench) -> None:
    bench.build_all()
    pack = bench.cache.result("pack", bench.key(PACK))
    bound = bench.states().of(VALIDATE).bound
    assert pack is not None
    assert bound is not None
    assert bound.inputs["parameters"] == {"model.irpa": pack.outputs[0].digest}
    assert set(bound.inputs) == {"module", "parameters", "reference"}
    assert "log.txt" not in bound.inputs["reference"]


# Early cutoff.


def test_an_export_that_makes_the_same_mlir_again_leaves_compile_up_to_date(bench: Bench) -> None:
    bench.build_all()
    before = bench.key(COMPILE), bench.key(EXPORT)
    with_code_changed(bench, EXPORT)
    assert bench.todo() >= {EXPORT, COMPILE, VALIDATE}
    assert bench.states().of(COMPILE).reasons == (f"needs {EXPORT}, which is to be built",)
    bench.build(EXPORT)
    assert bench.todo() == set()
    assert bench.key(EXPORT) != before[1]
    assert bench.key(COMPILE) == before[0]


def test_an_export_that_makes_other_mlir_is_compiled(bench: Bench) -> None:
    bench.build_all()
    with_code_changed(bench, EXPORT)
    bench.build(EXPORT, files={"model.mlir": b"other"})
    assert bench.todo() == {
        "compile:tiny/encoder/f32/cpu",
        "compile:tiny/encoder/f32/gfx942",
        "validate:tiny/encoder/f32/cpu",
        "validate:tiny/encoder/f32/gfx942",
    }


def test_a_module_that_comes_out_the_same_needs_no_new_verdict(bench: Bench) -> None:
    bench.build_all()
    with_code_changed(bench, COMPILE)
    bench.build(COMPILE)
    assert bench.states().of(VALIDATE).state == "up-to-date"


@pytest.mark.parametrize(
    ("tool", "stages"),
    [
        ("iree-base-compiler", {"export", "compile"}),
        ("iree-base-runtime", {"validate"}),
        ("transformers", {"export", "pack", "reference"}),
        ("onnx", set()),
    ],
)
def test_a_new_tool_concerns_only_the_steps_that_use_it(
    bench: Bench, tool: str, stages: set[str]
) -> None:
    bench.build_all()
    bench.tools = {**bench.tools, tool: "99.0"}
    states = bench.states()
    own = {
        bench.graph.nodes[name].stage
        for name in bench.graph.nodes
        if (state := states.of(name)).state == "build"
        and not any(reason.startswith("needs ") for reason in state.reasons)
    }
    # A compile that waits for its export has no key yet; it is counted when the export is back.
    assert own == stages - ({"compile"} if "export" in stages else set())
    bench.build_all()
    assert bench.todo() == set()


def graph_with_flag(root: Path, *, target: str, flag: str) -> Graph:
    old = {"cpu": "[--device=local]", "gfx942": "[--device=hip, --rocm-target=gfx942]"}[target]
    assert TARGETS.count(old) == 1
    targets = TARGETS.replace(old, old.replace("]", f", {flag}]"))
    return graph_of(root, targets=targets)


@pytest.mark.parametrize(("target", "other"), [("cpu", "gfx942"), ("gfx942", "cpu")])
def test_one_flag_of_one_target_recompiles_that_target_and_exports_nothing(
    tmp_path: Path, target: str, other: str
) -> None:
    bench = Bench(root=tmp_path, graph=graph_of(tmp_path / "before"))
    bench.build_all()
    changed = graph_with_flag(tmp_path / "after", target=target, flag="--opt=O3")
    assert bench.todo(graph=changed) == {
        f"{stage}:tiny/encoder/{dtype}/{target}"
        for stage in ("compile", "validate")
        for dtype in ("f32", "f16")
    }
    states = bench.states(graph=changed)
    assert states.of(f"compile:tiny/encoder/f32/{target}").reasons == ("not built yet",)
    for dtype in ("f32", "f16"):
        for name in (f"export:tiny/encoder/{dtype}", f"compile:tiny/encoder/{dtype}/{other}"):
            assert states.of(name).state == "up-to-date"


def test_a_flag_for_one_component_recompiles_one_model_and_target(tmp_path: Path) -> None:
    bench = Bench(root=tmp_path, graph=graph_of(tmp_path / "before"))
    bench.build_all()
    model = MODEL.replace("    dtypes:", "    flags: {gfx942: [--fast]}\n    dtypes:")
    changed = graph_of(tmp_path / "after", model=model)
    assert {name.partition(":")[0] for name in bench.todo(graph=changed)} == {
        "compile",
        "validate",
    }
    assert all(name.endswith("/gfx942") for name in bench.todo(graph=changed))


def test_a_new_limit_rebuilds_nothing(tmp_path: Path) -> None:
    bench = Bench(root=tmp_path, graph=graph_of(tmp_path / "before"))
    bench.build_all()
    model = MODEL.replace("    dtypes:", "    limits: {export: {timeout: 9m}}\n    dtypes:")
    model = model.replace("title: A tiny model", "title: Another title")
    assert bench.todo(graph=graph_of(tmp_path / "after", model=model)) == set()


def test_a_damaged_blob_makes_its_node_a_build_that_replaces_its_record(bench: Bench) -> None:
    bench.build_all()
    record = bench.cache.result("export", bench.key(EXPORT))
    assert record is not None
    digest = record.outputs[0].digest
    (bench.root / "store" / blob_name(digest)).write_bytes(b"damaged")
    state = bench.states().of(EXPORT)
    assert (state.state, state.damaged) == ("build", True)
    assert state.reasons[0].startswith(f"model.mlir: blob {digest[:12]}… has 7 bytes, expected ")
    assert bench.states().of(PACK).state == "up-to-date"


def test_a_record_without_the_file_that_is_needed_blocks_and_says_so(bench: Bench) -> None:
    bench.build(FETCH)
    bench.build(EXPORT, files={"other.mlir": b"x"})
    state = bench.states().of(COMPILE)
    assert state.state == "blocked"
    assert state.reasons == (f"needs model.mlir of {EXPORT}, which has made no such file",)


# Failures.


def fail(bench: Bench, name: NodeId, *, failure: str) -> None:
    bench.cache.record_failure(
        failure_of(bench.graph.nodes[name], key=bench.key(name), failure=failure)
    )


@pytest.mark.parametrize(
    "failure", ["export", "compile", "numerics", "crash", "timeout", "out-of-memory"]
)
def test_a_deterministic_failure_blocks_until_it_is_retried(bench: Bench, failure: str) -> None:
    bench.build(FETCH)
    fail(bench, EXPORT, failure=failure)
    states = bench.states()
    state = states.of(EXPORT)
    assert state.state == "blocked"
    assert state.failure is not None
    assert state.reasons == (f"failed before ({failure}): error: x",)
    assert states.of(COMPILE).state == "blocked"
    assert states.of(COMPILE).reasons == (f"needs {EXPORT}, which failed",)
    assert states.of(VALIDATE).reasons == (f"needs {COMPILE}, which is blocked",)
    assert states.of(PACK).state == "build"
    assert bench.states(retry_failed=True).of(EXPORT).state == "build"


@pytest.mark.parametrize("failure", ["fetch", "host", "infrastructure"])
def test_a_failure_of_the_surroundings_never_blocks(bench: Bench, failure: str) -> None:
    fail(bench, FETCH, failure=failure)
    state = bench.states().of(FETCH)
    assert (state.state, state.failure) == ("build", None)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [("timeout", "build"), ("out-of-memory", "build"), ("compile", "blocked")],
)
def test_a_limit_that_was_raised_forgives_what_ran_into_it(
    bench: Bench, tmp_path: Path, failure: str, expected: str
) -> None:
    bench.build(FETCH)
    fail(bench, EXPORT, failure=failure)
    model = ONE.replace("    dtypes:", "    limits: {export: {timeout: 2h}}\n    dtypes:")
    changed = graph_of(tmp_path / "after", model=model)
    assert bench.states(graph=changed).of(EXPORT).state == expected


def test_a_failure_under_another_key_is_forgotten(bench: Bench) -> None:
    bench.build(FETCH)
    fail(bench, EXPORT, failure="export")
    with_code_changed(bench, EXPORT)
    assert bench.states().of(EXPORT).state == "build"


def test_a_target_without_a_device_is_unvalidated_and_still_compiled(bench: Bench) -> None:
    bench.missing = {"gfx942": "no AMD GPU here"}
    states = bench.states()
    validate = states.of("validate:tiny/encoder/f32/gfx942")
    assert (validate.state, validate.unvalidated) == ("blocked", True)
    assert validate.reasons == ("no AMD GPU here",)
    assert states.of("compile:tiny/encoder/f32/gfx942").state == "build"
    assert states.of(VALIDATE).state == "build"
    bench.build_all()
    assert bench.todo() == {"validate:tiny/encoder/f32/gfx942"}
    assert bench.states().of("validate:tiny/encoder/f32/gfx942").unvalidated


def test_a_verdict_from_another_host_counts_without_a_device(bench: Bench) -> None:
    bench.build_all()
    bench.missing = {"gfx942": "no AMD GPU here"}
    assert bench.todo() == set()


def test_states_are_kept_until_they_are_forgotten(bench: Bench) -> None:
    states = bench.states()
    assert states.of(FETCH).state == "build"
    bench.build(FETCH)
    assert states.of(FETCH).state == "build"
    states.forget(FETCH)
    assert states.of(FETCH).state == "up-to-date"
    assert states.of(EXPORT).reasons == ("not built yet",)


def test_a_fresh_look_sees_what_other_workers_built(bench: Bench) -> None:
    states = bench.states()
    assert states.of(COMPILE).state == "build"
    for name in (FETCH, EXPORT, COMPILE):
        bench.build(name)
    assert states.of(COMPILE).state == "build"
    assert states.fresh(COMPILE).state == "up-to-date"
    assert states.of(EXPORT).state == "up-to-date"


def test_a_fresh_look_sees_that_a_result_is_gone(bench: Bench) -> None:
    key = bench.build(FETCH).key
    states = bench.states()
    assert states.of(FETCH).state == "up-to-date"
    bench.cache.store.remove(action_name("fetch", key))
    assert states.of(FETCH).state == "up-to-date"
    assert states.fresh(FETCH).state == "build"
