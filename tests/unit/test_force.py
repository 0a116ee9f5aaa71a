"""What a forced or repeated try may change: a good result is never kept beside its disproof."""

from pathlib import Path

import pytest

from tests.unit.made import Bench, failure_of, graph_of
from tidemill.cache import Hit, Miss
from tidemill.code import code_digest, fresh_code_digest
from tidemill.errors import ExitCode, FailureClass
from tidemill.execute import CodeChanged, refuse_edited_code
from tidemill.failures import Diagnosis
from tidemill.keys import bind

EXPORT = "export:tiny/encoder/f32"
GPU = "validate:tiny/encoder/f32/gfx942"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(root=tmp_path, graph=graph_of(tmp_path / "workspace"))


def test_retrying_leaves_a_failure_alone_that_this_host_cannot_try_again(bench: Bench) -> None:
    bench.build_all()
    bound = bench.states().of(GPU).bound
    assert bound is not None
    failure = failure_of(bound.node, key=bound.key, failure="numerics")
    bench.cache.record_failure(failure, superseding=True)
    bench.missing["gfx942"] = "no gfx942 device on this host"
    state = bench.states(retry_failed=True).of(GPU)
    assert (state.state, state.unvalidated) == ("blocked", False)
    assert state.failure == failure


def test_a_disproof_takes_the_older_result_away(bench: Bench) -> None:
    bench.build_all()
    bound = bench.states().of(EXPORT).bound
    assert bound is not None
    failure = failure_of(bound.node, key=bound.key, failure="export")
    bench.cache.record_failure(failure)
    assert isinstance(bench.cache.look_up("export", bound.key), Hit)
    bench.cache.record_failure(failure, superseding=True)
    assert bench.cache.look_up("export", bound.key) == Miss(reason="not built yet")
    assert bench.states().of(EXPORT).failure == failure


@pytest.mark.parametrize(
    ("failure", "disproves"),
    [
        ("numerics", True),
        ("compile", True),
        ("crash", True),
        ("timeout", False),
        ("out-of-memory", False),
        ("host", False),
        ("infrastructure", False),
    ],
)
def test_only_a_bad_end_disproves_an_older_result(failure: str, disproves: bool) -> None:
    assert Diagnosis(failure=FailureClass(failure), lines=()).disproves is disproves


def test_a_node_can_be_forced_where_its_inputs_and_its_device_are(bench: Bench) -> None:
    assert not bench.states().can_run(EXPORT)
    bench.build_all()
    assert bench.states().can_run(EXPORT)
    assert bench.states().can_run(GPU)
    bench.missing["gfx942"] = "no gfx942 device on this host"
    assert not bench.states().can_run(GPU)


def test_a_result_of_edited_code_is_refused(bench: Bench) -> None:
    node = bench.graph.nodes[EXPORT]
    sound = bind(node, inputs={}, tools=bench.tools, code=code_digest(node.code))
    refuse_edited_code(sound)
    stale = bind(node, inputs={}, tools=bench.tools, code="0" * 64)
    with pytest.raises(CodeChanged) as caught:
        refuse_edited_code(stale)
    assert caught.value.message == (
        "the code of export was edited while it ran, so its result was dropped"
    )
    assert (caught.value.hint, caught.value.exit_code) == ("Run again.", ExitCode.STORE)


def test_a_fresh_digest_sees_an_edit_that_the_remembered_one_does_not(tmp_path: Path) -> None:
    module = tmp_path / "part.py"
    module.write_text("x = 1\n")
    roots = ("tidemill.part",)
    before = code_digest(roots, package=tmp_path)
    module.write_text("x = 2\n")
    assert code_digest(roots, package=tmp_path) == before
    assert fresh_code_digest(roots, package=tmp_path) != before
