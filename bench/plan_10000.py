"""How long `tidemill plan` takes over a generated workspace of about 10,000 nodes.

    make setup toolchain && .venv/bin/python bench/plan_10000.py

Every node's record and blobs are really in the store, so a warm plan has looked at all of them. The
first plan hashes every blob; the second is the warm one. Prints seconds, and the ratio of the warm
plan to a bare `tidemill --version`, since machines differ.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from tidemill.cache import seal_of
from tidemill.digest import Digest
from tidemill.mill import Mill
from tidemill.opening import open_mill
from tidemill.records import ActionResult, Output, encode
from tidemill.store.layout import action_name, blob_name
from tidemill.workspace import Workspace, find_workspace

REPO = Path(__file__).resolve().parent.parent
NODES = 10_000

MODEL = """\
name: m{index:04}
title: generated model {index}
license: none
sources:
  config:
    from: file:configs
    files:
      config.json: {{path: m{index:04}.json, sha256: {config}}}
  random: {{from: "synthetic:seed={index}"}}
components:
  lm:
    exporter: causal_lm
    config: [config/config.json]
    weights: [random]
    inputs:
      input_ids: {{dtype: i64, shape: [1, seq]}}
    dimensions: {{seq: {{min: 2, max: 128}}}}
    dtypes: [f32, f16]
    samples:
      - name: some-tokens
        dims: {{seq: 8}}
        inputs:
          input_ids: {{kind: integers, seed: 1, low: 0, high: 100}}
"""


def make_workspace(root: Path) -> Workspace:
    """A workspace with as many models as make NODES nodes with every target."""
    targets = 8
    per_model = 1 + 2 * (3 + 2 * targets)
    models = root / "manifests" / "models"
    (models / "configs").mkdir(parents=True)
    shutil.copy(REPO / "manifests" / "targets.yaml", root / "manifests" / "targets.yaml")
    shutil.copytree(REPO / "toolchains", root / "toolchains")
    shutil.copytree(REPO / "pipelines", root / "pipelines")
    shutil.copytree(REPO / "tasks", root / "tasks")
    for index in range(NODES // per_model + 1):
        # Equal models would share actions, and fill() gives every node its own result.
        config = json.dumps({"vocab_size": 100 + index}).encode()
        (models / "configs" / f"m{index:04}.json").write_bytes(config)
        digest = hashlib.sha256(config).hexdigest()
        (models / f"m{index:04}.yaml").write_text(MODEL.format(index=index, config=digest))
    return find_workspace(start=root)


def fill(mill: Mill) -> int:
    """Write a record and its blobs for every node, in order; return how many nodes."""
    store_root = Path(mill.store.url.removeprefix("file://"))
    names = {
        "fetch": ("config.json",),
        "export": ("model.mlir",),
        "pack": ("model.irpa",),
        "reference": ("reference.json", "a.input0.npy", "a.expected0.npy"),
        "compile": ("model.vmfb",),
        "validate": ("verdict.json",),
    }
    mill.states.missing_device = lambda _target: None
    for name, node in mill.graph.nodes.items():
        state = mill.states.of(name)
        assert state.bound is not None
        outputs = [_blob(store_root, f"{name} {file}".encode(), file) for file in names[node.stage]]
        result = ActionResult(
            key=state.bound.key,
            step=node.stage,
            address=str(node.address),
            outputs=tuple(outputs),
            log=_blob(store_root, f"log of {name}".encode(), "log.txt"),
            facts={},
            parts=dict(state.bound.parts),
            seconds=1.0,
            peak_memory_bytes=1,
            host="bench",
            finished_at="2026-01-01T00:00:00Z",
        )
        path = store_root / action_name(node.stage, state.bound.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(msgspec.structs.replace(result, seal=seal_of(result))))
        mill.cache.forget_listing()
        mill.states.forget(name)
    return len(mill.graph.nodes)


def _blob(root: Path, data: bytes, name: str) -> Output:
    digest = Digest(hashlib.sha256(data).hexdigest())
    path = root / blob_name(digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Output(name=name, kind=name.rpartition(".")[2], digest=digest, size=len(data))


def timed(*arguments: str, cwd: Path) -> tuple[float, bytes]:
    """Seconds and output of one command."""
    # As people start it: with the bytecode of its modules kept.
    environment = {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "tidemill", *arguments],
        cwd=cwd,
        check=True,
        capture_output=True,
        env={**environment, "PYTHONPATH": str(REPO)},
    )
    return time.perf_counter() - started, done.stdout


def main() -> None:
    """Build the workspace, plan it cold and warm, print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        workspace = make_workspace(root)
        os.environ.setdefault("TIDEMILL_TOOLCHAINS", str(REPO / ".tidemill" / "toolchains"))
        count = fill(open_mill(workspace))
        cold, _ = timed("plan", "nightly", "--json", cwd=root)
        runs = sorted(timed("plan", "nightly", "--json", cwd=root) for _ in range(5))
        warm, output = runs[len(runs) // 2]
        bare = sorted(timed("--version", cwd=root)[0] for _ in range(5))[2]
        states = [node["state"] for node in json.loads(output)["nodes"]]
        print(f"nodes {count}, up to date {states.count('up-to-date')}")
        print(f"cold {cold:.2f} s, warm median of 5 {warm:.2f} s, bare start {bare:.2f} s")
        print(f"warm / bare start = {warm / bare:.1f}")


if __name__ == "__main__":
    main()
