"""The command line as scripts see it: documented JSON, exit codes, and words on standard error."""

import json
from pathlib import Path

import pytest

from tests.workbench import Workbench
from tidemill.digest import is_digest

pytestmark = pytest.mark.toolchain


def test_plan_json_has_exactly_the_documented_shape(built: Workbench) -> None:
    plan = built.call("plan", "small", "--json").json
    assert set(plan) == {"nodes"}
    for node in plan["nodes"]:
        assert set(node) == {"address", "stage", "state", "reasons"}
        assert node["state"] == "up-to-date" or node["reasons"]
    assert {node["state"] for node in plan["nodes"]} == {"up-to-date", "blocked"}
    assert len(plan["nodes"]) == 14


def test_plan_of_a_fresh_workspace_says_what_waits_for_what(fresh: Workbench) -> None:
    states = fresh.states()
    assert states["fetch:twin/files"] == {
        "address": "twin/files",
        "stage": "fetch",
        "state": "build",
        "reasons": ["not built yet"],
    }
    assert states["export:twin/net/f32"]["reasons"] == [
        "needs fetch:twin/files, which is to be built"
    ]
    assert not fresh.store.exists(), "a plan must change nothing"


def test_run_json_has_the_documented_shape_and_nothing_else_on_stdout(built: Workbench) -> None:
    found = built.run("small").json
    assert (built.root / ".tidemill/runs" / found["run"] / "report.json").is_file()
    for node in found["nodes"]:
        assert set(node) == {
            "address", "stage", "outcome", "seconds", "peak_memory_bytes", "key",
        }  # fmt: skip
        assert is_digest(node["key"])
    forced = built.run("small", "--model", "tiny", "--stage", "compile", "--force").json
    (node,) = [n for n in forced["nodes"] if n["address"] == "tiny/net/f32/cpu"]
    assert node["seconds"] > 0
    assert node["peak_memory_bytes"] > 1 << 20


def test_ls_json_gives_one_object_an_artifact(built: Workbench) -> None:
    listed = built.call("ls", "--json").json
    documented = {"address", "kind", "digest", "size", "status", "key"}
    assert all(documented <= set(item) for item in listed)
    kinds = [item["kind"] for item in listed if item["address"].startswith("tiny")]
    assert sorted(kinds) == sorted(["mlir", "irpa", *["reference"] * 3, "vmfb", "vmfb", "verdict"])
    for item in listed:
        assert built.blob(item["digest"]).stat().st_size == item["size"]
        assert is_digest(item["key"])
    assert {item["status"] for item in listed} == {"validated", "unvalidated"}


def test_show_verify_channel_and_status_speak_of_the_same_release(built: Workbench) -> None:
    (entry,) = built.call("channel", "list", "--json").json
    shown = built.call("show", "tiny/net/f32/cpu", "--json").json
    listed = built.call("ls", "tiny/net/f32/cpu", "--json").json
    assert [item["digest"] for item in shown] == [item["digest"] for item in listed]
    text = built.call("show", "tiny/net/f32/cpu").out
    assert "  status   validated" in text
    assert "  verdict  full, holds" in text
    assert built.call("verify", "--json").json["bad"] == []
    status = built.call("status", "small", "--json").json
    assert (status["release"], status["sequence"]) == (entry["release"], entry["sequence"])


def test_a_log_is_found_by_address_and_by_key(built: Workbench) -> None:
    by_address = built.call("log", "tiny/files", "--stage", "fetch").out
    assert by_address.startswith("fetching 1 files of file:tiny\n")
    key = built.record("fetch", "tiny/files")["key"]
    assert built.call("log", key).out == by_address


def test_reports_of_the_last_run_are_written_where_one_wants_them(
    built: Workbench, tmp_path: Path
) -> None:
    page = built.call("report", "--to", str(tmp_path / "report")).out.strip()
    assert Path(page).parent == tmp_path / "report"
    suffixes = {path.suffix for path in (tmp_path / "report").iterdir()}
    assert suffixes >= {".html", ".md", ".xml", ".json"}
    report = json.loads((tmp_path / "report/report.json").read_text(encoding="utf-8"))
    assert report["pipeline"] == "small"


def test_doctor_and_toolchain_list_say_that_the_toolchain_is_built(built: Workbench) -> None:
    out = built.call("doctor").out
    assert "  default: built\n" in out
    assert "  cpu        can be validated here\n" in out
    assert "  gfx942     no gfx942 device on this host (no /dev/kfd)\n" in out
    (row,) = built.call("toolchain", "list", "--json").json
    assert (row["name"], bool(row["built"])) == ("default", True)
    assert row["versions"]["iree-base-compiler"] == "3.13.0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("plan", "sixteen"),
            "error: no pipeline 'sixteen' (known: language, nightly, one, small)\n",
        ),
        (
            ("run", "small", "--model", "minilm"),
            "error: --model minilm fits nothing in small\n  its models: twin, tiny\n",
        ),
        (
            ("plan", "small", "--model", "lm"),
            "error: lm is not in small; language, nightly have it\n"
            "  look at it: tidemill plan language --model lm\n",
        ),
        (
            ("explain", "tiny/nothing", "--pipeline", "one"),
            "error: no node of pipeline one has the address tiny/nothing\n"
            "  its addresses: tiny/net/f32, tiny/files, tiny/net/f32/gfx942, tiny/net/f32/cpu\n",
        ),
        (
            ("explain", "tiny/net/f32/cpu", "--pipeline", "one", "--stage", "export"),
            "error: tiny/net/f32/cpu has no stage export\n  its stages: compile, validate\n",
        ),
        (
            ("log", "tiny/nothing"),
            "error: tiny/nothing is neither a key nor an address with a known key in a run on this"
            " machine\n  the closest of its ",
        ),
        (("repro", "0" * 64), "error: the store has no action with the key 000000000000\n"),
        (
            ("show", "tiny/nothing"),
            "error: nothing released has the address tiny/nothing\n  the closest of its ",
        ),
        (("pull", "tiny", "--to", "out"), "error: give either --channel or --release\n"),
        (
            ("report", "--run", "none", "--to", "out"),
            "error: no run none on this machine\n  Run one: tidemill run PIPELINE\n",
        ),
        (("run", "small", "--toolchain", "nightly"), "error: no toolchain"),
        (("build",), "no command 'build'; `tidemill --help` lists them"),
    ],
)
def test_what_is_not_there_is_named_with_exit_code_two(
    template: Workbench, arguments: tuple[str, ...], message: str
) -> None:
    done = template.call(*arguments, expect=2)
    assert message in done.err
    assert done.out == ""
    assert "Traceback" not in done.err


def test_a_toolchain_that_is_not_built_is_named_with_the_command_that_builds_it(
    template: Workbench, tmp_path: Path
) -> None:
    bench = Workbench(root=template.root, store=template.store)
    bench.extra = {"TIDEMILL_TOOLCHAINS": str(tmp_path)}
    assert bench.call("plan", "small", expect=2).err == (
        "error: toolchain default is not built here\n  build it: tidemill toolchain sync default\n"
    )


def test_a_folder_without_manifests_is_no_workspace(template: Workbench, tmp_path: Path) -> None:
    assert template.call("plan", "small", "--workspace", str(tmp_path), expect=2).err == (
        f"error: {tmp_path} is not in a tidemill workspace (no folder above it holds manifests/)\n"
        "  Name a store (--store URL), or change into a checkout, or give --workspace.\n"
    )


def test_a_flag_that_the_compiler_does_not_know_is_refused_before_anything_runs(
    built: Workbench,
) -> None:
    built.model("twin", flags="{cpu: [--iree-opt-strength=3]}")
    err = built.call("run", "small", expect=2).err
    assert err.startswith("error: twin/net/f32/cpu: ")
    assert "--iree-opt-strength" in err
    assert err.endswith("  Mend the flags in manifests/targets.yaml or in the model.\n")


def test_offline_refuses_to_fetch_and_otherwise_runs(built: Workbench) -> None:
    assert built.run("small", "--offline").built == set()


def test_offline_names_the_sources_that_are_missing(fresh: Workbench) -> None:
    assert fresh.run("small", "--offline", expect=2).err == (
        "error: --offline, but these sources are not in the store: tiny/files, twin/files\n"
        "  Run once without --offline.\n"
    )


def test_another_store_is_another_world(built: Workbench, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    states = built.states("small", "--store", other)
    assert {node["state"] for node in states.values()} == {"build", "blocked"}
    assert built.call("ls", "--store", other, expect=2).err == (
        f"error: there is no store at {other}\n  check --store or TIDEMILL_STORE, and mounts\n"
    )
