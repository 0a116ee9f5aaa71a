"""`tidemill run smoke` against the same work scripted by hand: a Makefile and `make -j`.

    make setup toolchain && .venv/bin/python bench/smoke_vs_raw.py [--rounds N] [--workers N]

The raw side starts exactly the same children (the same iree-turbine export, torch reference,
iree-compile command and runtime calls, one process a step, as many at a time) from a Makefile with
no keys, hashes, copies, records, bundles, limits, luigi or reports. So the ratio is what tidemill
costs on top of the tools. Weights are fetched before, for both. Rounds alternate; the first one is
the warm-up and does not count.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from pipelines.smoke import PIPELINE
from tidemill.command import WORK_MAIN, child_environment, command_of
from tidemill.digest import Digest
from tidemill.graph import Input, Node, NodeId
from tidemill.mill import Mill
from tidemill.opening import open_mill
from tidemill.workspace import Workspace, find_workspace


def run_tidemill(workspace: Workspace, *arguments: str, workers: int) -> float:
    """Seconds of one `tidemill run smoke` into the workspace's store."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "tidemill", "run", "smoke", "--no-progress", *arguments]
    done = subprocess.run(
        [*command, "--workers", str(workers), "--store", workspace.store_url],
        cwd=REPO,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - started


def place_inputs(mill: Mill, node: Node, *, root: Path) -> dict[str, dict[str, str]]:
    """Role → name → path of a file that another rule of the Makefile makes."""
    return {edge.role: _files_of(mill, edge, root=root) for edge in node.inputs}


def _files_of(mill: Mill, edge: Input, *, root: Path) -> dict[str, str]:
    names = edge.files or tuple(
        (output.name, output.name)
        for output in mill.states.of(edge.node).outputs
        if output.kind != "log"
    )
    folder = root / _slug(edge.node) / "out"
    return {name: str(folder / output) for name, output in names}


def _slug(name: NodeId) -> str:
    return name.replace(":", "-").replace("/", "-")


def write_makefile(mill: Mill, root: Path) -> int:
    """Prepare one folder a step and the Makefile over them; return the number of steps."""
    rules, steps = [], []
    for name, node in mill.graph.nodes.items():
        state = mill.states.of(name)
        folder = root / _slug(name)
        (folder / "out").mkdir(parents=True)
        (folder / "tmp").mkdir()
        if node.stage == "fetch":
            for output in state.outputs:
                if output.kind != "log":
                    mill.store.fetch_blob(Digest(output.digest), folder / "out" / output.name)
            (folder / "done").touch()
            continue
        if state.state != "up-to-date":
            continue
        steps.append(f"{_slug(name)}/done")
        inputs = place_inputs(mill, node, root=root)
        request = {"step": node.stage, "fields": node.fields, "inputs": inputs}
        (folder / "request.json").write_text(json.dumps(request))
        command = command_of(
            node.stage, fields=node.fields, environment=mill.toolchains.environment("")
        )
        if node.stage == "compile":
            command[1] = inputs["mlir"]["model.mlir"]
        assert node.stage == "compile" or command[-1] == str(WORK_MAIN)
        environment = child_environment(
            node.stage, environment=mill.toolchains.environment(""), folder=folder
        )
        variables = " ".join(f"{key}='{value}'" for key, value in environment.items())
        needs = " ".join(f"{_slug(edge.node)}/done" for edge in node.inputs)
        quoted = " ".join(f"'{part}'" for part in command)
        rules.append(
            f"{_slug(name)}/done: {needs}\n"
            f"\t@cd {folder} && env -i {variables} {quoted} >log.txt 2>&1 && touch done\n"
        )
    text = f"all: {' '.join(steps)}\n\n" + "\n".join(rules)
    (root / "Makefile").write_text(text)
    return len(steps)


def run_raw(mill: Mill, *, workers: int) -> tuple[float, int]:
    """Seconds of `make -jN` over the same steps, and how many steps."""
    with tempfile.TemporaryDirectory(dir=REPO / ".tidemill") as folder:
        root = Path(folder)
        steps = write_makefile(mill, root)
        started = time.perf_counter()
        subprocess.run(["make", "-s", f"-j{workers}", "-C", folder, "all"], check=True)
        return time.perf_counter() - started, steps


def main() -> None:
    """Alternate the two and print the ratio of every counted round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    fetched = find_workspace(start=REPO, store=str(REPO / ".tidemill" / "bench-fetched"))
    run_tidemill(fetched, "--stage", "fetch", workers=options.workers)
    ratios = []
    for number in range(options.rounds + 1):
        store = REPO / ".tidemill" / "bench-store"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(REPO / ".tidemill" / "bench-fetched", store)
        workspace = find_workspace(start=REPO, store=str(store))
        ours = run_tidemill(workspace, workers=options.workers)
        again = run_tidemill(workspace, workers=options.workers)
        mill = open_mill(
            workspace, models=PIPELINE.models, targets=frozenset(PIPELINE.targets or ())
        )
        raw, steps = run_raw(mill, workers=options.workers)
        word = "warm-up" if number == 0 else f"round {number}"
        print(
            f"{word}: {steps} steps, tidemill {ours:.1f} s, raw {raw:.1f} s,"
            f" ratio {ours / raw:.3f}; second run {again:.1f} s",
            flush=True,
        )
        if number:
            ratios.append(ours / raw)
    print(f"ratio over {len(ratios)} rounds: {', '.join(f'{ratio:.3f}' for ratio in ratios)}")


if __name__ == "__main__":
    main()
