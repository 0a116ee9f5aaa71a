"""A shop whose records and verdicts say how its modules were made: what an export reads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tests.unit.shop import Shop
from tests.unit.test_pytest_plugin import npy
from tidemill.client.torch_models import Export, export
from tidemill.client.trusting import open_trust
from tidemill.digest import digest_json
from tidemill.records import ActionResult, Artifact, Output, encode
from tidemill.store import open_store
from tidemill.store.layout import action_name

VARIANT = "tiny/net/f16"
CPU, GPU = f"{VARIANT}/cpu", f"{VARIANT}/gfx942"
FLAGS = ["--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu"]
GPU_FLAGS = ["--iree-hal-target-device=hip", "--iree-rocm-target=gfx942"]
STORED = {"float64": "f64", "float32": "f32", "int64": "i64"}
FORWARD = {"function": "forward"}
LOG = Output(name="log.txt", kind="log", digest="0" * 64, size=0)


@dataclass(frozen=True, kw_only=True)
class Out:
    """An output of the program: what is expected, what type comes, and its limit."""

    name: str
    expected: np.ndarray[Any, Any]
    dtype: str
    limit: float

    @property
    def stored(self) -> str:
        return STORED[str(self.expected.dtype)]


OUT = Out(name="y", expected=np.array([[0.5, -1.1, 2.0]]), dtype="f16", limit=0.01)


def record(shop: Shop, step: str, *, fields: Mapping[str, Any], made: Output, **more: Any) -> str:
    """Put the record of an action that made ``made``; its key."""
    inputs = more.pop("inputs", {})
    parts = {"step": step, "fields": dict(fields), "inputs": inputs, "address": more["address"]}
    done = ActionResult(
        key=digest_json(parts), step=step, outputs=(made,), log=LOG, parts=parts, seconds=1.0,
        peak_memory_bytes=1, host="mill", finished_at="2026-11-20T00:00:00Z",
        **{"facts": {}, **more},
    )  # fmt: skip
    shop.store.create(action_name(step, done.key), encode(done))
    return str(done.key)


def add_module(shop: Shop, address: str, flags: list[str], **fields: Any) -> Artifact:
    """A VMFB of that address with the record of its compile."""
    one = shop.add(address, "vmfb")
    facts = fields.pop("facts", {"dispatch_count": 7, "executable_count": 3})
    made = Output(name="model.vmfb", kind="vmfb", digest=one.digest, size=one.size)
    key = record(shop, "compile", address=address, fields={"flags": flags}, made=made, facts=facts)
    shop.artifacts[-1] = msgspec.structs.replace(one, key=key, **fields)
    return shop.artifacts[-1]


def add_variant(
    shop: Shop, address: str, outs: tuple[Out, ...], *, samples: tuple[str, ...] = ("noise",)
) -> dict[str, str]:
    """MLIR, parameters and a reference, whose samples are the same; its digests."""
    for kind in ("mlir", "irpa"):
        shop.add(address, kind)
    given = {"name": "x", "file": "noise.input0.npy", "dtype": "f16", "shape": [1, 2]}
    files = {"noise.input0.npy": npy(np.ones((1, 2), np.float16))}
    expected = []
    for number, out in enumerate(outs):
        file = f"noise.expected{number}.npy"
        files[file] = npy(out.expected)
        shape = list(out.expected.shape)
        expected.append({"name": out.name, "file": file, "stored": out.stored, "shape": shape})
    sample = {"inputs": [given], "outputs": expected, "greedy": None}
    index = {"format": 1, "samples": [{"name": name, **sample} for name in samples]}
    files["reference.json"] = json.dumps(index).encode()
    return {name: _reference(shop, address, name, data) for name, data in files.items()}


def _reference(shop: Shop, address: str, name: str, data: bytes) -> str:
    digest = shop.store.put_bytes(data)
    file = f"{address}/reference/{name}"
    shop.add(address, "reference", file=file, digest=digest, size=len(data))
    return digest


def add_verdict(
    shop: Shop,
    address: str,
    outs: tuple[Out, ...],
    *,
    reference: dict[str, str],
    samples: tuple[str, ...] = ("noise",),
    called: Mapping[str, str] = FORWARD,
) -> Artifact:
    """What validation said of a target, and the record of that; ``called`` says how it called."""
    judged = [
        {
            "name": out.name,
            "dtype": out.dtype,
            "limits": {"max_abs": out.limit},
            "scale": float(np.abs(out.expected[np.isfinite(out.expected)]).max()),
        }
        for out in outs
    ]
    verdict = {"samples": [{"name": name, "outputs": judged} for name in samples]}
    data = json.dumps(verdict).encode()
    digest = shop.store.put_bytes(data)
    made = Output(name="verdict.json", kind="verdict", digest=digest, size=len(data))
    fields = {"device": "local-task", **called}
    key = record(
        shop, "validate", address=address, fields=fields, made=made, inputs={"reference": reference}
    )
    file = f"{address}/verdict.json"
    return shop.add(address, "verdict", file=file, digest=digest, size=len(data), key=key)


def open_exports(folder: Path, *outs: Out, compiler: str = "3.13.0") -> Shop:
    """tiny/net/f16 for a processor, validated, and for gfx942, for which there is no host."""
    shop = Shop(open_store(str(folder / "store")), folder / "store")
    shop.tools = {"iree-base-compiler": compiler}
    reference = add_variant(shop, VARIANT, outs or (OUT,))
    add_module(shop, CPU, FLAGS)
    add_verdict(shop, CPU, outs or (OUT,), reference=reference)
    add_module(shop, GPU, GPU_FLAGS, status="unvalidated", reason="no such host")
    shop.publish()
    return shop


def written(shop: Shop, *patterns: str, to: Path, **options: Any) -> Export:
    """What a client exports."""
    options.setdefault("channel", "smoke")
    options.setdefault("any_runtime", True)
    trust = None if options.get("locked") else open_trust(lambda _: None)
    return export(shop.store, patterns, to=to, trust=trust, **options)
