"""A workspace of the paged Llama of this repository alone, and what its runs say."""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.workbench import PIPELINE_MODULES, REPO, Workbench

MODEL, FILE = "tiny-llama-paged", "manifests/models/tiny-llama-paged.yaml"
KNOWN = "manifests/expectations.yaml"
PIPELINE = """\
from pipelines.base import Pipeline
from tidemill.policy import Policy

PIPELINE = Pipeline(
    name="paged",
    about="one model",
    channel="paged",
    policy=Policy(required=("*/*/*/cpu",), on_failure="carry"),
)
"""
HOUR = 3600


def workspace(root: Path) -> Workbench:
    """The model, its toolchains, and a pipeline of it."""
    bench = Workbench(root=root, store=root / ".tidemill/store")
    for name in PIPELINE_MODULES:
        bench.write(f"pipelines/{name}.py", (REPO / f"pipelines/{name}.py").read_text())
    bench.write("pipelines/paged.py", PIPELINE)
    (root / "tasks").symlink_to(REPO / "tasks")
    (root / "luigi.cfg").symlink_to(REPO / "luigi.cfg")
    shutil.copytree(REPO / "toolchains", root / "toolchains")
    shutil.copytree(REPO / f"manifests/models/{MODEL}", root / f"manifests/models/{MODEL}")
    for file in (FILE, "manifests/targets.yaml"):
        shutil.copy(REPO / file, root / file)
    bench.write(KNOWN, expectations())
    return bench


def expectations() -> str:
    """What this repository expects of the model; a workspace refuses those of models it has not."""
    all_of_them = yaml.safe_load((REPO / KNOWN).read_text(encoding="utf-8"))["expectations"]
    ours = [one for one in all_of_them if one["address"].startswith(f"{MODEL}/")]
    return yaml.safe_dump({"expectations": ours})


def run(bench: Workbench, *more: str, expect: int = 0) -> dict[str, str]:
    """``stage:component/target`` → outcome of a run of the pipeline."""
    process = bench.start("run", "paged", "--json", "--workers", "1", *more)
    out, err = process.communicate(timeout=HOUR)
    assert process.returncode == expect, out + err
    return {
        f"{node['stage']}:{node['address'].removeprefix(f'{MODEL}/').replace('/f32-bs4', '')}": (
            node["outcome"]
        )
        for node in json.loads(out)["nodes"]
    }


def verdict(bench: Workbench, component: str) -> Any:
    record = bench.record("validate", f"{MODEL}/{component}/f32-bs4/cpu")
    return record["facts"]["verdict"]


def agreement(told: Any) -> dict[str, float]:
    (sample,) = told["samples"]
    return {output["name"]: output["top1"] for output in sample["outputs"]}
