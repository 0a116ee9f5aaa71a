"""The job matrix of nightly.yml, from ``tidemill plan --json`` on standard input.

Prints ``models=[…]`` (one CPU job each) and ``gpu_targets=[…]`` (one GPU job each), and writes
what is left out, and why, to a Markdown file. Which targets have a runner is said by the
environment variable TIDEMILL_GPU_TARGETS, names apart by spaces or commas.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """A CPU job per model, a GPU job per target; ``skipped`` maps a target to why it has none."""

    models: tuple[str, ...]
    gpu_targets: tuple[str, ...]
    skipped: Mapping[str, str]


def jobs_of(
    nodes: Sequence[Mapping[str, Any]], *, device_targets: Collection[str], runners: Collection[str]
) -> Jobs:
    """The jobs that a plan needs.

    ``device_targets`` need a device that CPU runners lack; ``runners`` are those that have one
    here. A target whose compilations all wait for something that failed has nothing to validate.
    What a device's benchmarks came to, only a host with that device can know: they go along with
    the next validation, and start no job by themselves.
    """
    states = {(node["stage"], node["address"]): node["state"] for node in nodes}
    models: set[str] = set()
    waiting: set[str] = set()
    for (stage, address), state in states.items():
        target = (address.split("/") + [""] * 4)[3]
        on_device = stage in ("validate", "conformance") and target in device_targets
        if on_device and state != "up-to-date":
            if stage == "conformance" or states.get(("compile", address), "blocked") != "blocked":
                waiting.add(target)
        elif not on_device and state == "build":
            models.add(address.split("/")[0])
    why = "the repository variable TIDEMILL_GPU_TARGETS does not list it"
    return Jobs(
        models=tuple(sorted(models)),
        gpu_targets=tuple(sorted(waiting & set(runners))),
        skipped=dict.fromkeys(sorted(waiting - set(runners)), why),
    )


def summary(jobs: Jobs) -> str:
    """The plan in Markdown."""
    lines = ["### Plan", ""]
    lines += [f"- build: {', '.join(jobs.models) or 'nothing, all is up to date'}"]
    lines += [f"- validate on {target}" for target in jobs.gpu_targets]
    lines += [f"- {target}: not validated: {why}" for target, why in jobs.skipped.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the plan, print the outputs, write the summary."""
    parser = argparse.ArgumentParser(description="job matrix of a plan")
    parser.add_argument("--targets", type=Path, required=True, help="manifests/targets.yaml")
    parser.add_argument("--summary", type=Path, required=True, help="Markdown file to write")
    arguments = parser.parse_args()
    targets = yaml.safe_load(arguments.targets.read_text(encoding="utf-8"))["targets"]
    jobs = jobs_of(
        json.load(sys.stdin)["nodes"],
        device_targets={name for name, target in targets.items() if target["needs"] != "none"},
        runners=re.split(r"[,\s]+", os.environ.get("TIDEMILL_GPU_TARGETS", "")),
    )
    for name in ("models", "gpu_targets"):
        sys.stdout.write(f"{name}={json.dumps(getattr(jobs, name))}\n")
    arguments.summary.write_text(summary(jobs), encoding="utf-8")
    for target, why in jobs.skipped.items():
        sys.stderr.write(f"{target}: not validated: {why}\n")


if __name__ == "__main__":
    main()
