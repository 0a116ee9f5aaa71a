"""luigi's own command line runs single tasks, with parameters that a person can type."""

import subprocess
import sys

import pytest

from tests.workbench import Workbench

pytestmark = pytest.mark.toolchain

TINY = ("--model", "tiny", "--component", "net", "--variant", "f32")
COMPILE = ("CompileVmfb", *TINY, "--target", "cpu")


def luigi(bench: Workbench, *arguments: str, expect: int = 0) -> str:
    """Run ``python -m luigi --module tasks …``; give what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "luigi", "--module", "tasks", *arguments, "--local-scheduler"],
        cwd=bench.root,
        env=bench.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == expect, done.stderr
    return done.stdout + done.stderr


def test_a_task_brings_what_it_needs_and_nothing_else(fresh: Workbench) -> None:
    said = luigi(fresh, *COMPILE)
    assert "===== Luigi Execution Summary =====" in said
    assert "    - 1 CompileVmfb(model=tiny, component=net, variant=f32, target=cpu)\n" in said
    assert "    - 1 ExportMlir(model=tiny, component=net, variant=f32)\n" in said
    assert "    - 1 Fetch(model=tiny, source=files)\n" in said
    assert "This progress looks :)" in said
    assert [record["step"] for record in fresh.records] == ["compile", "export", "fetch"]


def test_workers_share_the_work_of_a_whole_address(fresh: Workbench) -> None:
    said = luigi(fresh, "ValidateNumerics", *TINY, "--target", "cpu", "--workers", "2")
    assert "Scheduled 6 tasks of which:\n* 6 ran successfully:" in said
    assert fresh.record("validate", "tiny/net/f32/cpu")["facts"]["holds"] is True
    assert fresh.survivors() == []


def test_what_is_up_to_date_is_not_run(built: Workbench) -> None:
    before = built.files("actions")
    said = luigi(built, *COMPILE)
    assert "* 1 complete ones were encountered:" in said
    assert built.files("actions") == before


def test_force_runs_one_task_again(built: Workbench) -> None:
    before = built.files("actions")
    said = luigi(built, *COMPILE, "--force")
    assert "* 1 ran successfully:\n    - 1 CompileVmfb(" in said
    after = built.files("actions")
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {f"actions/compile/{built.record('compile', 'tiny/net/f32/cpu')['key']}.json"}


def test_a_task_that_fails_is_told_with_its_first_line_and_an_exit_code(fresh: Workbench) -> None:
    fresh.model("tiny", limits="{compile: {timeout: 10m, memory: 10MiB}}")
    said = luigi(fresh, *COMPILE, expect=3)
    assert "compile tiny/net/f32/cpu: out-of-memory: used " in said
    assert "* 1 failed:\n    - 1 CompileVmfb(" in said
    assert "This progress looks :(" in said


def test_an_address_that_no_manifest_declares_is_an_error(fresh: Workbench) -> None:
    said = luigi(fresh, "CompileVmfb", *TINY, "--target", "abacus", expect=5)
    assert "no manifest declares compile:tiny/net/f32/abacus" in said
