"""Failures: their class, first lines and exit code, what goes on beside them, and reproduction."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.workbench import Done, Workbench

pytestmark = pytest.mark.toolchain

REFUSED = "failed to legalize operation 'torch_c.from_builtin_tensor'"
EXPECTATION = """\
expectations:
  - address: {address}
    stage: {stage}
    class: {failure}
    match: "{match}"
    reason: The importer's types are not known to that input pipeline.
    issue: https://example.org/issues/7
    owner: compiler team
    expires: "{expires}"
"""
KNOWN = {
    "address": "twin",
    "stage": "compile",
    "failure": "compile",
    "match": "failed to legalize",
    "expires": "2999-12-31",
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workbench, Done]:
    """A workspace in which everything fails in its own way but ``tiny``, and its first run."""
    bench = Workbench.make(tmp_path_factory.mktemp("broken") / "work")
    bench.model("twin", flags="{cpu: [--iree-input-type=stablehlo]}")
    bench.onnx("crash", seed=3, width=16)
    bench.model("crash", flags="{cpu: [--iree-llvmcpu-target-triple=abacus]}")
    bench.onnx("wrong", seed=4, width=16)
    bench.model("wrong", numerics="{absolute: {max_abs: 1.0e-30, reason: Nobody can be so exact.}}")
    little = "{timeout: 10m, memory: 50MiB}"
    limits = f"{{export: {{timeout: 1s, memory: 8GiB}}, pack: {little}, reference: {little}}}"
    bench.model("lm", limits=limits)
    # By themselves: one second is time enough for a warm export.
    return bench, bench.run("nightly", "--no-warm", expect=3)


@pytest.fixture
def mine(broken: tuple[Workbench, Done], tmp_path: Path) -> Workbench:
    """The same workspace, to be changed."""
    return broken[0].copy(tmp_path / "work")


def failures(bench: Workbench) -> dict[str, dict[str, Any]]:
    """``stage:address`` → the recorded failure."""
    found = [json.loads(p.read_bytes()) for p in (bench.store / "failures").rglob("*.json")]
    return {f"{one['step']}:{one['address']}": one for one in found}


def test_every_failure_has_its_class_and_its_first_lines(
    broken: tuple[Workbench, Done],
) -> None:
    found = failures(broken[0])
    classes = {name: failure["failure"] for name, failure in found.items()}
    assert classes == {
        "compile:twin/net/f32/cpu": "compile",
        "compile:crash/net/f32/cpu": "crash",
        "validate:wrong/net/f32/cpu": "numerics",
        "export:lm/logits/f32": "timeout",
        "pack:lm/logits/f32": "out-of-memory",
        "reference:lm/logits/f32": "out-of-memory",
    }
    first = {name: failure["lines"][0] for name, failure in found.items()}
    assert REFUSED in first["compile:twin/net/f32/cpu"]
    assert first["compile:twin/net/f32/cpu"].startswith("in/mlir/model.mlir:5:10: error: ")
    assert first["compile:crash/net/f32/cpu"] == "crashed with SIGSEGV"
    assert first["validate:wrong/net/f32/cpu"].startswith("sample noise output0: max abs ")
    assert first["validate:wrong/net/f32/cpu"].endswith(" exceeds the absolute tolerance 1.0e-30")
    assert first["export:lm/logits/f32"] == "no result after 1 s (the limit is 1 s)"
    assert first["pack:lm/logits/f32"].endswith(" of memory (the limit is 0.05 GiB)")
    assert found["pack:lm/logits/f32"]["hint"].startswith(
        "Raise limits.pack.memory in the manifest"
    )
    assert all(failure["deterministic"] for failure in found.values())


def test_other_branches_go_on_and_what_hangs_below_is_blocked(
    broken: tuple[Workbench, Done],
) -> None:
    outcomes = broken[1].outcomes
    assert outcomes["validate", "tiny/net/f32/cpu"] == "built"
    assert outcomes["compile", "tiny/net/f32/gfx942"] == "built"
    assert outcomes["reference", "twin/net/f32"] == "built"
    assert outcomes["compile", "twin/net/f32/cpu"] == "failed"
    assert outcomes["validate", "twin/net/f32/cpu"] == "blocked"
    assert outcomes["compile", "lm/logits/f32/cpu"] == "blocked"
    assert broken[0].torn() == []
    assert broken[0].survivors() == []


@pytest.mark.parametrize(
    ("model", "code"), [("twin", 3), ("crash", 3), ("lm", 3), ("wrong", 4), ("tiny", 0)]
)
def test_a_recorded_failure_is_told_again_and_not_tried_again(
    mine: Workbench, model: str, code: int
) -> None:
    before = mine.files("failures")
    done = mine.run("nightly", "--model", model, expect=code)
    assert done.built == set()
    assert ("failed" in done.outcomes.values()) == (code != 0)
    assert mine.files("failures") == before


def test_retry_failed_tries_again(mine: Workbench) -> None:
    before = mine.files("failures")
    name = f"failures/compile/{failures(mine)['compile:twin/net/f32/cpu']['key']}.json"
    states = mine.states("nightly", "--model", "twin", "--retry-failed")
    assert states["compile:twin/net/f32/cpu"]["state"] == "build"
    mine.run("nightly", "--model", "twin", "--stage", "compile", "--retry-failed", expect=3)
    after = mine.files("failures")
    assert {one for one in after if after[one] != before[one]} == {name}


def test_other_limits_make_a_time_out_worth_another_try(mine: Workbench) -> None:
    assert mine.states("nightly")["export:lm/logits/f32"]["state"] == "blocked"
    mine.edit("manifests/models/lm.yaml", ("export: {timeout: 1s,", "export: {timeout: 2s,"))
    assert mine.states("nightly")["export:lm/logits/f32"]["state"] == "build"


def test_a_mended_manifest_builds_and_the_failure_is_forgotten(mine: Workbench) -> None:
    mine.edit(
        "manifests/models/twin.yaml", ("    flags: {cpu: [--iree-input-type=stablehlo]}\n", "")
    )
    done = mine.run("nightly", "--model", "twin")
    assert done.built == {"compile:twin/net/f32/cpu", "validate:twin/net/f32/cpu"}


def test_a_failed_required_artifact_keeps_the_channel_where_it_is(mine: Workbench) -> None:
    done = mine.run("small", expect=3)
    assert done.json["release"] == ""
    (problem,) = done.json["problems"]
    assert problem.startswith(
        "channel small stays where it is: 1 required artifact cannot be published:"
        " twin/net/f32/cpu/model.vmfb: compile: compile: in/mlir/model.mlir:5:10: error: "
    )
    assert not (mine.store / "channels").exists()


@pytest.mark.parametrize(
    "node",
    ["compile:twin/net/f32/cpu", "compile:crash/net/f32/cpu", "validate:wrong/net/f32/cpu",
     "export:lm/logits/f32", "pack:lm/logits/f32"],
)  # fmt: skip
def test_one_printed_command_reproduces_a_failure_with_the_same_lines(
    broken: tuple[Workbench, Done], tmp_path: Path, node: str
) -> None:
    bench, _ = broken
    failure = failures(bench)[node]
    assert failure["reproduce"] == f"tidemill repro {failure['key']}"
    code = 4 if failure["failure"] == "numerics" else 3
    done = bench.call("repro", failure["key"], "--to", str(tmp_path / "again"), expect=code)
    said = done.err.splitlines()
    step, _, address = node.partition(":")
    at = said.index(f"{step} {address}: {failure['failure']}")
    if failure["failure"] == "out-of-memory":
        assert said[at + 1].endswith(" of memory (the limit is 0.05 GiB)")
    else:
        assert said[at + 1] == f"  {failure['lines'][0]}"
    assert (tmp_path / "again/command.txt").is_file()


def test_the_bundle_holds_what_it_says_and_fails_alike_without_tidemill(
    broken: tuple[Workbench, Done], tmp_path: Path
) -> None:
    bench, _ = broken
    failure = failures(bench)["compile:twin/net/f32/cpu"]
    said = bench.call("log", failure["key"], "--bundle", str(tmp_path)).out.splitlines()
    assert str(tmp_path / "in/mlir/model.mlir") in said
    names = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert names == {
        "README.txt", "action.json", "command.txt", "log.txt", "request.json", "in/mlir/model.mlir",
    }  # fmt: skip
    action = json.loads((tmp_path / "action.json").read_text(encoding="utf-8"))
    assert (action["key"], action["parts"]) == (failure["key"], failure["parts"])
    assert action["command"] == failure["command"]
    mlir = action["parts"]["inputs"]["mlir"]["model.mlir"]
    assert (tmp_path / "in/mlir/model.mlir").read_bytes() == bench.blob(mlir).read_bytes()
    log = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert log == bench.call("log", failure["key"]).out
    command = (tmp_path / "command.txt").read_text(encoding="utf-8").split()
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert ran.stderr.splitlines()[0][:400] == failure["lines"][0]


def test_a_bundle_is_unpacked_where_there_is_one_and_room_for_it(
    broken: tuple[Workbench, Done], tmp_path: Path
) -> None:
    bench, _ = broken
    (tmp_path / "mine").write_text("kept", encoding="utf-8")
    failed = ("log", "twin/net/f32/cpu", "--stage", "compile", "--bundle", str(tmp_path))
    assert "is not empty" in bench.call(*failed, expect=2).err
    good = ("log", "twin/net/f32", "--stage", "export", "--bundle", str(tmp_path / "new"))
    assert "has no bundle: only failures have one" in bench.call(*good, expect=2).err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_table_names_the_failure_and_the_command(mine: Workbench) -> None:
    done = mine.call("run", "nightly", "--model", "twin", expect=3)
    key = failures(mine)["compile:twin/net/f32/cpu"]["key"]
    assert "FAILED compile twin/net/f32/cpu" in done.out
    assert f"tidemill repro {key}" in done.out.replace("\n", "")


def expect(bench: Workbench, **parts: str) -> None:
    bench.write("manifests/expectations.yaml", EXPECTATION.format(**{**KNOWN, **parts}))


def test_an_expectation_turns_a_known_failure_amber(mine: Workbench) -> None:
    expect(mine)
    done = mine.run("nightly", "--model", "twin")
    assert done.outcomes["compile", "twin/net/f32/cpu"] == "expected-failure"
    assert done.outcomes["validate", "twin/net/f32/cpu"] == "blocked"
    assert done.json["problems"] == []


def test_an_expectation_covers_only_its_own_diagnostic(mine: Workbench) -> None:
    expect(mine, match="out of registers")
    done = mine.run("nightly", "--model", "twin", expect=3)
    assert done.outcomes["compile", "twin/net/f32/cpu"] == "failed"


def test_an_expired_expectation_is_red_and_names_who_must_decide(mine: Workbench) -> None:
    expect(mine, expires="2020-01-31")
    done = mine.run("nightly", "--model", "twin", expect=3)
    assert done.outcomes["compile", "twin/net/f32/cpu"] == "failed"
    assert done.json["problems"] == [
        "expectation twin (compile, compile) expired on 2020-01-31: compiler team must decide"
        " (https://example.org/issues/7)"
    ]


@pytest.mark.parametrize("expires", ["2020-01-31", "2999-12-31"])
def test_an_unexpected_pass_is_red_whether_expired_or_not(mine: Workbench, expires: str) -> None:
    expect(mine, address="tiny", expires=expires)
    done = mine.run("nightly", "--model", "tiny", expect=2)
    assert set(done.outcomes.values()) == {"reused", "unvalidated"}
    (problem,) = done.json["problems"]
    words = "expired on 2020" if expires < "2026" else "is met by nothing any more: it passes."
    assert problem.startswith(f"expectation tiny (compile, compile) {words}")
