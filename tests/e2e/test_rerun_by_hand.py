"""A person runs one step again, whatever the cache says."""

from pathlib import Path

import msgspec
import pytest

from tests.workbench import Workbench
from tidemill.cache import seal_of
from tidemill.records import ActionResult, encode
from tidemill.store.layout import action_name

pytestmark = pytest.mark.toolchain

COMPILE = ("--model", "tiny", "--stage", "compile", "--target", "gfx942")


def test_force_builds_exactly_the_named_node_again(built: Workbench) -> None:
    before = built.record("compile", "tiny/net/f32/gfx942")
    done = built.run("small", *COMPILE, "--force")
    assert done.outcomes == {
        ("fetch", "tiny/files"): "reused",
        ("export", "tiny/net/f32"): "reused",
        ("compile", "tiny/net/f32/gfx942"): "built",
    }
    after = built.record("compile", "tiny/net/f32/gfx942")
    assert after["outputs"] == before["outputs"], "compiling again must give the same bytes"
    assert after["seal"] != before["seal"], "the record must be that of the new build"


def test_without_force_a_named_node_that_is_up_to_date_is_left_alone(built: Workbench) -> None:
    assert built.run("small", *COMPILE).built == set()


def test_a_part_of_a_pipeline_leaves_the_channel_alone_and_says_so(built: Workbench) -> None:
    built.edit(
        "manifests/targets.yaml", ("=gfx942, --iree-opt-level=O3", "=gfx942, --iree-opt-level=O2")
    )
    done = built.call("run", "small", *COMPILE)
    assert "Part of the pipeline ran, so channel small was left alone.\n" in done.err
    assert [entry.sequence for entry in built.entries()] == [1]


def test_one_stage_of_one_model_builds_only_what_that_needs(fresh: Workbench) -> None:
    done = fresh.run("small", "--model", "twin", "--stage", "compile")
    assert done.built == {
        "fetch:twin/files",
        "export:twin/net/f32",
        "compile:twin/net/f32/cpu",
    }
    assert set(done.outcomes.values()) == {"built"}


def test_a_forced_build_that_fails_is_reported_although_an_older_result_holds(
    built: Workbench,
) -> None:
    built.model("twin", limits="{compile: {timeout: 10m, memory: 10MiB}}")
    compile_twin = ("--model", "twin", "--stage", "compile")
    done = built.run("small", *compile_twin, "--force", expect=3)
    assert done.outcomes["compile", "twin/net/f32/cpu"] == "failed"
    assert built.run("small", *compile_twin).outcomes["compile", "twin/net/f32/cpu"] == "reused"


def test_a_repro_says_whether_the_same_bytes_came_out(built: Workbench, tmp_path: Path) -> None:
    record = built.record("compile", "tiny/net/f32/cpu")
    done = built.call("repro", record["key"], "--to", str(tmp_path / "one"))
    assert "it succeeded, with the same bytes as recorded" in done.err
    other = {**record["outputs"][0], "digest": "0" * 64}
    kept = msgspec.convert({**record, "outputs": [other], "seal": ""}, ActionResult)
    file = built.store / action_name("compile", record["key"])
    file.write_bytes(encode(msgspec.structs.replace(kept, seal=seal_of(kept))))
    done = built.call("repro", record["key"], "--to", str(tmp_path / "two"))
    assert "with other bytes than recorded: model.vmfb (not reproducible)" in done.err
