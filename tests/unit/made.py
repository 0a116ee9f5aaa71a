"""Small manifests, graphs, records and states for tests of the pure core. No doubles."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidemill.cache import Cache
from tidemill.digest import Digest
from tidemill.graph import Graph, Node, NodeId
from tidemill.graph_build import build_graph
from tidemill.keys import Bound
from tidemill.manifest.load import load_manifests
from tidemill.manifest.model import ManifestPart
from tidemill.manifest.targets import TargetPart
from tidemill.records import ActionResult, Failure, Output
from tidemill.states import States
from tidemill.store import Store
from tidemill.store.folder import FolderStore
from tidemill.store.verified import Verified

SHA = "a" * 64
TARGETS = """\
targets:
  cpu:
    device: local-task
    needs: none
    flags:
      - versions: ">=3.9"
        flags: [--device=local]
  gfx942:
    device: hip
    needs: amdgpu
    chip: gfx942
    flags:
      - versions: ">=3.11"
        flags: [--device=hip, --rocm-target=gfx942]
      - versions: "<3.11"
        flags: [--device=hip, --hip-target=gfx942]
"""
MODEL = f"""\
name: tiny
title: A tiny model
license: MIT
sources:
  package:
    from: pypi:tiny==1.0
    sha256: {SHA}
    files:
      config.json: {{path: tiny/config.json, sha256: {SHA}}}
      tokenizer.json: {{path: tiny/tokenizer.json, sha256: {SHA}}}
      model.safetensors: {{path: tiny/model.safetensors, sha256: {SHA}}}
components:
  encoder:
    exporter: sentence_encoder
    config: [package/config.json]
    weights: [package/model.safetensors]
    options: {{pooling: mean}}
    inputs:
      ids: {{dtype: i64, shape: [batch, 64]}}
    dimensions:
      batch: {{min: 1, max: 8}}
    dtypes: [f32, f16]
    samples:
      - name: noise
        dims: {{batch: 2}}
        inputs:
          ids: {{kind: integers, seed: 1, low: 0, high: 9}}
"""
TOOLS = {
    "iree-base-compiler": "3.13.0",
    "iree-base-runtime": "3.13.0",
    "iree-turbine": "3.9.0",
    "numpy": "2.4.0",
    "onnx": "1.20.0",
    "torch": "2.13.0",
    "transformers": "5.23.0",
}


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncate": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
    "garbage": lambda _: b"\x00\xff\xfe not a record",
    "flip": _flip,
    "other type": lambda _: b"[1, 2, 3]",
}


def write_workspace(
    root: Path, *, model: str = MODEL, targets: str = TARGETS, expectations: str = ""
) -> Path:
    """A folder with one model, ``tiny``; returns it."""
    folder = root / "manifests"
    (folder / "models").mkdir(parents=True)
    (folder / "targets.yaml").write_text(targets, encoding="utf-8")
    (folder / "models/tiny.yaml").write_text(model, encoding="utf-8")
    if expectations:
        (folder / "expectations.yaml").write_text(expectations, encoding="utf-8")
    return root


def parts_of(root: Path) -> tuple[ManifestPart, Mapping[str, TargetPart]]:
    """The model and the targets of a workspace."""
    manifests = load_manifests(root)
    return manifests.models["tiny"], manifests.targets.targets


def graph_of(
    root: Path, *, model: str = MODEL, targets: str = TARGETS, compiler: str = "3.13.0"
) -> Graph:
    """The graph of a workspace that is written into the empty folder ``root``."""
    part, known = parts_of(write_workspace(root, model=model, targets=targets))
    return build_graph([part], targets=known, compiler=compiler)


def open_cache(root: Path, *, store: Store | None = None) -> Cache:
    """A cache over a folder store."""
    folder = root / "cache"
    return Cache(store or FolderStore(root / "store"), Verified(folder), folder / "records.msgpack")


def code_of(graph: Graph) -> dict[tuple[str, ...], str]:
    """A made-up digest of every node's working code."""
    return {node.code: f"code of {' '.join(node.code)}" for node in graph.nodes.values()}


def result_of(bound: Bound, store: Store, *, files: Mapping[str, bytes]) -> ActionResult:
    """The record of an action that made ``files``, whose blobs are in the store."""
    outputs = [_stored(store, name, data) for name, data in files.items()]
    return ActionResult(
        key=bound.key,
        step=bound.node.stage,
        address=str(bound.node.address),
        outputs=tuple(outputs),
        log=_stored(store, "log.txt", b"log of " + bound.key.encode(), kind="log"),
        facts={},
        parts=dict(bound.parts),
        seconds=1.5,
        peak_memory_bytes=1 << 20,
        host="mill",
        finished_at="2026-11-20T00:00:00Z",
    )


def _stored(store: Store, name: str, data: bytes, *, kind: str = "") -> Output:
    digest = store.put_bytes(data)
    kind = kind or name.rpartition(".")[2]
    return Output(name=name, kind=kind, digest=digest, size=len(data))


def failure_of(
    node: Node,
    *,
    key: str = "0" * 64,
    failure: str = "compile",
    lines: tuple[str, ...] = ("error: x",),
) -> Failure:
    """The record of a failed action."""
    limits = {"seconds": node.limits.seconds, "memory_bytes": node.limits.memory_bytes}
    return Failure(
        key=key,
        step=node.stage,
        address=str(node.address),
        failure=failure,
        lines=lines,
        hint="",
        deterministic=failure not in ("fetch", "host", "infrastructure"),
        command=(),
        log=None,
        bundle=None,
        reproduce="",
        parts={},
        limits=limits,
        seconds=1.0,
        peak_memory_bytes=1,
        host="mill",
        finished_at="2026-11-20T00:00:00Z",
    )


def bytes_of(node: Node) -> dict[str, bytes]:
    """What a step of that kind makes, by name; different for every node."""
    names = {
        "fetch": tuple(node.fields.get("files", ())),
        "export": ("model.mlir",),
        "pack": ("model.irpa",),
        "reference": ("reference.json",),
        "compile": ("model.vmfb",),
        "validate": ("verdict.json",),
        "benchmark": ("benchmark.json",),
    }[node.stage]
    return {name: f"{name} of {node.id}".encode() for name in names}


@dataclass(kw_only=True)
class Bench:
    """A graph over a real store in a folder; ``build`` records results as the engine would."""

    root: Path
    graph: Graph
    tools: dict[str, str] = field(default_factory=lambda: dict(TOOLS))
    code: dict[tuple[str, ...], str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    cache: Cache = field(init=False)

    def __post_init__(self) -> None:
        self.cache = open_cache(self.root)
        self.code = self.code or code_of(self.graph)

    def states(self, *, graph: Graph | None = None, retry_failed: bool = False) -> States:
        """Fresh states, as a new process has."""
        return States(
            graph=graph or self.graph,
            cache=open_cache(self.root),
            tools={"": self.tools},
            code=self.code,
            missing_device=self.missing.get,
            retry_failed=retry_failed,
        )

    def build(self, name: NodeId, **files: Any) -> ActionResult:
        """Record a result for one node, under the key that it has now."""
        bound = self.states().of(name).bound
        assert bound is not None, f"{name} has no key yet"
        made = files.get("files") or bytes_of(bound.node)
        result = result_of(bound, self.cache.store, files=made)
        return self.cache.record(result, replacing=False)

    def build_all(self) -> None:
        """Record results for every node that must be built."""
        for name in self.graph.nodes:
            if self.states().of(name).state == "build":
                self.build(name)

    def todo(self, *, graph: Graph | None = None) -> set[NodeId]:
        """The nodes that are not up to date."""
        states = self.states(graph=graph)
        nodes = states.graph.nodes
        return {name for name in nodes if states.of(name).state != "up-to-date"}

    def key(self, name: NodeId) -> Digest:
        """The key of a node whose inputs are up to date."""
        bound = self.states().of(name).bound
        assert bound is not None, f"{name} has no key yet"
        return bound.key
