"""Keys stand still: fixed nodes and a fixed manifest give the keys in keys.json, everywhere.

A key that moves makes every artifact of every store be built again. When it must move, raise
``KEY_FORMAT`` in tidemill/keys.py, write an ADR, and run

    python -m tests.golden.test_golden_keys

which writes keys.json anew; commit both together. It refuses while KEY_FORMAT is the old one.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tidemill.address import Address
from tidemill.digest import digest_bytes
from tidemill.graph import Input, Limits, Node
from tidemill.graph_build import build_graph
from tidemill.keys import KEY_FORMAT, Bound, bind
from tidemill.manifest.load import load_manifests

FILE = Path(__file__).with_name("keys.json")
LIMITS = Limits(seconds=60, memory_bytes=1 << 30)
TOOLS = {
    "iree-base-compiler": "3.13.0",
    "iree-base-runtime": "3.13.0",
    "iree-turbine": "3.9.0",
    "numpy": "2.4.0",
    "tokenizers": "0.23.3",
    "torch": "2.13",
    "transformers": "5.23",
}
CODE = "c0de" * 16
PROGRAM = {
    "exporter": "sentence_encoder",
    "dtype": "f16",
    "options": {"pooling": "mean", "normalize": True, "scale": 0.5, "layers": [1, 2]},
    "inputs": [{"name": "ids", "dtype": "i64", "shape": ["batch", 64]}],
    "dynamic": {"batch": {"min": 1, "max": 8}},
    "synthetic": None,
    "pickle": False,
}


def _node(stage: Any, fields: dict[str, Any], *, tools: tuple[str, ...] = ()) -> Node:
    at = Address("tiny", "encoder", "f16", "cpu" if stage == "compile" else "")
    edge = Input(role="config", node="fetch:tiny/package")
    return Node(stage=stage, address=at, fields=fields, inputs=(edge,), tools=tools, limits=LIMITS)


def golden() -> dict[str, Bound]:
    """Fixed nodes, bound to fixed digests. Adding one is fine; changing one is not."""
    fetch = {"from": "pypi:tiny==1.0", "sha256": "a" * 64, "files": {}, "pickle": ""}
    nodes = {
        "fetch": (_node("fetch", fetch), {}),
        "export": (
            _node("export", PROGRAM, tools=("iree-base-compiler", "iree-turbine", "torch")),
            {"config": {"config.json": "b" * 64}},
        ),
        "pack": (
            _node("pack", {**PROGRAM, "synthetic": {"seed": 7, "scale": 0.02}}, tools=("numpy",)),
            {"config": {"config.json": "b" * 64}, "weights": {"é.safetensors": "d" * 64}},
        ),
        "compile": (
            _node("compile", {"flags": ["--a=1", "--b"]}, tools=("iree-base-compiler",)),
            {"mlir": {"model.mlir": "e" * 64}},
        ),
    }
    bound = {
        name: bind(node, inputs=inputs, tools=TOOLS, code=CODE)
        for name, (node, inputs) in nodes.items()
    }
    node, inputs = nodes["compile"]
    bound["compile, salted"] = bind(node, inputs=inputs, tools=TOOLS, code=CODE, salt="spring")
    return {**bound, **_of_manifest()}


def _of_manifest() -> dict[str, Bound]:
    """Every node of the manifest in workspace/, its inputs bound to made-up digests."""
    manifests = load_manifests(Path(__file__).with_name("workspace"))
    graph = build_graph(
        manifests.models.values(), targets=manifests.targets.targets, compiler="3.13.0"
    )
    return {
        name: bind(
            node,
            inputs={
                edge.role: {file: digest_bytes(file.encode()) for file, _ in edge.files}
                for edge in node.inputs
            },
            tools=TOOLS,
            code=CODE,
        )
        for name, node in graph.nodes.items()
    }


def written() -> dict[str, Any]:
    """What keys.json should hold."""
    return {"format": KEY_FORMAT, "keys": {name: bound.key for name, bound in golden().items()}}


@pytest.mark.parametrize("name", golden())
def test_the_key_of_a_fixed_node_never_moves(name: str) -> None:
    frozen = json.loads(FILE.read_text(encoding="utf-8"))
    assert golden()[name].key == frozen["keys"][name], __doc__


def test_the_golden_file_is_of_this_format_and_lists_every_node() -> None:
    frozen = json.loads(FILE.read_text(encoding="utf-8"))
    assert frozen["format"] == KEY_FORMAT
    assert list(frozen["keys"]) == list(golden())
    assert len(set(frozen["keys"].values())) == len(golden())


def _regenerate() -> str:
    before = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else None
    now = written()
    if before and before["format"] == KEY_FORMAT:
        moved = [name for name, key in before["keys"].items() if now["keys"].get(name) != key]
        if moved:
            return f"{', '.join(moved)} would move within KEY_FORMAT {KEY_FORMAT}: raise it first"
    FILE.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return ""


if __name__ == "__main__":
    sys.exit(_regenerate())
