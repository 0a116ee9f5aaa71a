"""A workspace of generated models whose every action has its result in a folder store."""

import hashlib
import json
import shutil
from pathlib import Path

import msgspec

from tidemill.cache import seal_of
from tidemill.digest import Digest
from tidemill.mill import Mill
from tidemill.records import ActionResult, Output, encode
from tidemill.store.layout import action_name, blob_name
from tidemill.workspace import Workspace, find_workspace

REPO = Path(__file__).resolve().parent.parent
#: Nodes of one model: a fetch, and for two dtypes three shared nodes and two for each target.
NODES_OF_A_MODEL = 1 + 2 * (3 + 2 * 8)

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


def make_workspace(root: Path, *, models: int) -> Workspace:
    """A workspace in the folder ``root``, with the checkout's targets, pipelines and toolchains."""
    manifests = root / "manifests" / "models"
    (manifests / "configs").mkdir(parents=True)
    shutil.copy(REPO / "manifests" / "targets.yaml", root / "manifests" / "targets.yaml")
    for folder in ("toolchains", "pipelines", "tasks"):
        shutil.copytree(REPO / folder, root / folder)
    for index in range(models):
        # Equal models would share actions, and fill() gives every node its own result.
        config = json.dumps({"vocab_size": 100 + index}).encode()
        (manifests / "configs" / f"m{index:04}.json").write_bytes(config)
        digest = hashlib.sha256(config).hexdigest()
        (manifests / f"m{index:04}.yaml").write_text(MODEL.format(index=index, config=digest))
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
