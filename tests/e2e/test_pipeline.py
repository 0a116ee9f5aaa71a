"""A pipeline from manifests to pulled files: what is built, what is not, and why."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.workbench import REPO, Workbench, toolchain

pytestmark = pytest.mark.toolchain

TINY = {
    "fetch:tiny/files",
    "export:tiny/net/f32",
    "pack:tiny/net/f32",
    "reference:tiny/net/f32",
    "compile:tiny/net/f32/cpu",
    "compile:tiny/net/f32/gfx942",
    "validate:tiny/net/f32/cpu",
}
TWIN = {
    "fetch:twin/files",
    "export:twin/net/f32",
    "pack:twin/net/f32",
    "reference:twin/net/f32",
    "compile:twin/net/f32/cpu",
    "validate:twin/net/f32/cpu",
}
OPTION = "--iree-rocm-target=gfx942, --iree-opt-level=O3"
CHANGED = "--iree-rocm-target=gfx942, --iree-opt-level=O2"


def test_a_run_builds_all_ends_with_a_table_and_a_page_and_moves_the_channel(
    fresh: Workbench,
) -> None:
    done = fresh.call("run", "small", "--workers", "2")
    assert fresh.torn() == []
    assert fresh.survivors() == []
    assert len(list(fresh.records)) == len(TINY | TWIN)
    (page,) = fresh.root.glob(".tidemill/runs/*/index.html")
    assert str(page) in done.out.replace("\n", "")
    for address in ("tiny/net/f32/cpu", "tiny/net/f32/gfx942", "twin/net/f32/cpu"):
        assert address in done.out
        assert address.split("/")[0] in page.read_text(encoding="utf-8")
    assert [entry.sequence for entry in fresh.entries()] == [1]
    assert list((fresh.root / ".tidemill/work").iterdir()) == []


def test_a_second_run_builds_nothing_and_leaves_store_and_channel_alone(built: Workbench) -> None:
    before = {room: built.files(room) for room in ("blobs", "actions", "releases", "channels")}
    done = built.run()
    assert set(done.outcomes.values()) == {"reused", "unvalidated"}
    assert [seconds for node in done.json["nodes"] if (seconds := node["seconds"])] == []
    assert {room: built.files(room) for room in before} == before


def test_nothing_is_green_for_a_target_without_a_host(built: Workbench) -> None:
    found = built.states()["validate:tiny/net/f32/gfx942"]
    assert found["state"] == "blocked"
    assert found["reasons"] == ["no gfx942 device on this host (no /dev/kfd)"]
    listed = built.call("ls", "--json", "tiny/net/f32/gfx942").json
    assert {item["status"] for item in listed} == {"unvalidated"}
    assert {item["kind"] for item in listed} == {"vmfb"}


def test_what_is_pulled_is_bit_identical_and_runs_with_the_plain_tool(
    built: Workbench, tmp_path: Path
) -> None:
    to = tmp_path / "out"
    report = built.call(
        "pull", "--channel", "small", "tiny/*/*/cpu", "--to", str(to), "--json"
    ).json
    assert {Path(item["file"]).suffix for item in report["copied"]} == {
        ".mlir", ".irpa", ".npy", ".json", ".vmfb",
    }  # fmt: skip
    for item in report["copied"]:
        assert (to / item["file"]).read_bytes() == built.blob(item["digest"]).read_bytes()
    shared = to / "tiny/net/f32"
    command = [
        str(toolchain().tool("iree-run-module")),
        f"--module={shared / 'cpu/model.vmfb'}",
        f"--parameters=model={shared / 'model.irpa'}",
        "--device=local-task",
        "--function=main",
        f"--input=@{shared / 'reference/noise.input0.npy'}",
        f"--output=@{tmp_path / 'output.npy'}",
    ]
    subprocess.run(command, capture_output=True, check=True)
    made, expected = (
        np.load(tmp_path / "output.npy"),
        np.load(shared / "reference/noise.expected0.npy"),
    )
    assert made.shape == expected.shape == (3, 16)
    assert float(np.abs(made - expected).max()) < 1e-6


def test_pulling_again_copies_nothing(built: Workbench, tmp_path: Path) -> None:
    pull = ("pull", "--channel", "small", "tiny", "twin", "--to", str(tmp_path / "out"), "--json")
    first, second = built.call(*pull).json, built.call(*pull).json
    assert second["copied"] == []
    assert [item["file"] for item in second["kept"]] == [item["file"] for item in first["copied"]]


def test_one_changed_flag_recompiles_that_target_alone_and_explains_it(built: Workbench) -> None:
    built.edit("manifests/targets.yaml", (OPTION, CHANGED))
    states = built.states()
    assert {name for name, node in states.items() if node["state"] == "build"} == {
        "compile:tiny/net/f32/gfx942"
    }
    why = "changed fields.flags[2]: --iree-opt-level=O3 → --iree-opt-level=O2"
    assert states["compile:tiny/net/f32/gfx942"]["reasons"] == [why]
    assert why in built.call("plan", "small", "--why").out
    explained = built.call("explain", "tiny/net/f32/gfx942", "--stage", "compile").out
    assert explained.startswith(f"compile tiny/net/f32/gfx942: build\n  because {why}\n")
    done = built.run()
    assert done.built == {"compile:tiny/net/f32/gfx942"}
    assert done.outcomes["export", "tiny/net/f32"] == "reused"


def test_a_comment_in_the_exporter_re_exports_and_then_stops_by_early_cutoff(
    built: Workbench, tmp_path: Path
) -> None:
    shutil.copytree(REPO / "tidemill", tmp_path / "code/tidemill")
    built.extra = {"PYTHONPATH": str(tmp_path / "code")}
    assert built.run().built == set()
    exporter = tmp_path / "code/tidemill/exporters/onnx.py"
    exporter.write_text(exporter.read_text(encoding="utf-8") + "# A comment.\n", encoding="utf-8")
    (reason,) = built.states()["export:tiny/net/f32"]["reasons"]
    assert reason.startswith("changed code: ")
    explained = built.call("explain", "tiny/net/f32", "--stage", "export").out
    assert "because changed code: " in explained
    steps = ("export", "pack", "reference")
    done = built.run()
    assert done.built == {f"{step}:{model}/net/f32" for step in steps for model in ("tiny", "twin")}
    assert done.outcomes["compile", "tiny/net/f32/cpu"] == "reused"
    assert done.outcomes["validate", "tiny/net/f32/cpu"] == "reused"
