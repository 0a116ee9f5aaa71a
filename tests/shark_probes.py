"""Datasets of sharktank read and computed without it, for tests/unit/test_shark_dataset.py."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from tests.paged_paper import driven, said
from tidemill.exporters.architecture import Architecture
from tidemill.exporters.irpa import Entry, write_archive
from tidemill.exporters.llama_config import normalised
from tidemill.exporters.quantised_llama import narrow
from tidemill.exporters.shark_dataset import PROPERTIES, TENSORS, Quantiser, read_dataset
from tidemill.exporters.sharktank_llm import DRAWS, Answers, Narrowed

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "manifests/models/tiny-llama-paged/config.json"
LAYERS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
FP8 = torch.float8_e4m3fnuz


def tiny() -> Any:
    """A Llama of one layer, 8 wide."""
    raw = json.loads(CONFIG.read_text(encoding="utf-8"))
    raw |= {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "head_dim": 4}
    raw |= {"vocab_size": 11, "max_position_embeddings": 64}
    config = CONFIG_MAPPING["llama"].from_dict(normalised(raw))
    torch.manual_seed(5)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def stored(model: Any) -> dict[str, torch.Tensor]:
    """The tensors of ``model`` under a dataset's names."""
    state = model.state_dict()
    names = {f"blk.0.{ours}.weight": f"model.layers.0.{hf}.weight" for ours, hf in LAYERS.items()}
    names |= {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    return {ours: state[hf] for ours, hf in names.items()}


def write(path: Path, raw: Mapping[str, torch.Tensor], described: Mapping[str, Any]) -> Path:
    """A dataset of ``raw`` entries with ``described`` inference tensors."""
    texts = {PROPERTIES: {"general.architecture": "llama"}, TENSORS: described}
    contents: dict[str, tuple[bytes, str]] = {
        name: (
            bytes(tensor.contiguous().reshape(-1).view(torch.uint8).numpy()),
            "PYTORCH:"
            + json.dumps(
                {
                    "type": "Tensor",
                    "dtype": str(tensor.dtype).removeprefix("torch."),
                    "shape": list(tensor.shape),
                }
            ),
        )
        for name, tensor in raw.items()
    }
    contents |= {name: (json.dumps(text).encode(), "") for name, text in texts.items()}
    entries = [
        Entry(name=name, size=len(data), metadata=about) for name, (data, about) in contents.items()
    ]
    write_archive(path, entries, contents=lambda entry: [memoryview(contents[entry.name][0])])
    return path


def plain(tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Raw entries and descriptions of tensors that are stored as they are."""
    described = {
        name: {"type_name": "PrimitiveTensor", "raw_tensors": {"": name}} for name in tensors
    }
    return dict(tensors), described


def narrowed(name: str, tensor: torch.Tensor, *, step: torch.Tensor) -> tuple[Any, Any]:
    """One weight as int8 with ``step``."""
    raw = {f"{name}:qs": (tensor / step).round().clamp(-128, 127).to(torch.int8), f"{name}:d": step}
    about = {
        "type_name": "PlanarQuantizedTensor",
        "layout_type": "TensorScaledLayout",
        "raw_tensors": {part: f"{name}:{part}" for part in ("qs", "d")},
    }
    return raw, {name: about}


def scaled(name: str, *, scale: float, dtype: str) -> tuple[Any, Any]:
    """One quantiser."""
    raw = {f"{name}:scale": torch.tensor(scale), f"{name}:rscale": torch.tensor(1 / scale)}
    parts = {part: f"{name}:{part}" for part in ("scale", "rscale")}
    about = {"type_name": "StaticScaledQuantizer", "dtype": dtype, "raw_tensors": parts}
    return raw, {name: about}


def numbers() -> dict[str, Any]:
    """Values through quantisers, by hand and by ours."""
    values = torch.tensor([0.0, 0.26, 0.74, -0.76, 1e9, -1e9])

    def fake(dtype: torch.dtype, *, offset: float | None = None) -> list[float]:
        quantiser = Quantiser(
            scale=torch.tensor(2.0),
            step=torch.tensor(0.5),
            offset=None if offset is None else torch.tensor(offset),
            dtype=dtype,
        )
        found: list[float] = quantiser.fake(values).tolist()
        return found

    return {"int8": fake(torch.int8), "shifted": fake(torch.int8, offset=8.0), "fp8": fake(FP8)}


def models(folder: Path) -> dict[str, Any]:
    """Logits of narrowed models against sums done by hand."""
    ids = torch.tensor([[1, 7, 3, 9, 2]])
    with torch.no_grad():
        return {
            "plain": _plain(folder, ids),
            "weight": _weight(folder, ids),
            "input": _input(folder, ids),
            "attention": _attention(folder, ids),
        }


def _plain(folder: Path, ids: torch.Tensor) -> float:
    model, other = tiny(), tiny()
    torch.nn.init.normal_(other.lm_head.weight)  # must come from the dataset
    raw, about = plain(stored(model))
    narrow(other, read_dataset(write(folder / "plain.irpa", raw, about)), dtype=torch.float32)
    return float((model(ids).logits - other(ids).logits).abs().max())


def _weight(folder: Path, ids: torch.Tensor) -> dict[str, float]:
    name = "blk.0.ffn_up.weight"
    found = {}
    for label, shape in (("tensor", ()), ("rows", (24, 1))):
        model, other = tiny(), tiny()
        tensors = stored(model)
        step = torch.full(shape, 0.01)
        raw, about = plain({k: v for k, v in tensors.items() if k != name})
        more, described = narrowed(name, tensors[name], step=step)
        path = write(folder / f"{label}.irpa", raw | more, about | described)
        narrow(other, read_dataset(path), dtype=torch.float32)
        before = model(ids).logits
        up = model.model.layers[0].mlp.up_proj
        up.weight.data = (up.weight / 0.01).round().clamp(-128, 127) * 0.01
        found[label] = float((model(ids).logits - other(ids).logits).abs().max())
        found[f"{label} moved"] = float((before - other(ids).logits).abs().max())
    return found


def _input(folder: Path, ids: torch.Tensor) -> dict[str, float]:
    model, other = tiny(), tiny()
    raw, about = plain(stored(model))
    more, described = scaled("blk.0.attn_output.q_input", scale=40.0, dtype="int8")
    path = write(folder / "input.irpa", raw | more, about | described)
    narrow(other, read_dataset(path), dtype=torch.float32)
    before = model(ids).logits

    def by_hand(_: Any, given: Any) -> Any:
        return ((given[0] * 40).round().clamp(-128, 127) / 40,)

    model.model.layers[0].self_attn.o_proj.register_forward_pre_hook(by_hand)
    return _far(model(ids).logits, before, other(ids).logits)


def _attention(folder: Path, ids: torch.Tensor) -> dict[str, float]:
    """Values only: they can be narrowed by hand before heads share them."""
    model, other = tiny(), tiny()
    raw, about = plain(stored(model))
    more, described = scaled("blk.0.attn_v.q_output", scale=100.0, dtype="float8_e4m3fnuz")
    path = write(folder / "attention.irpa", raw | more, about | described)
    narrow(other, read_dataset(path), dtype=torch.float32)
    before = model(ids).logits

    def by_hand(_: Any, __: Any, made: torch.Tensor) -> torch.Tensor:
        return (made * 100).clamp(-240, 240).to(FP8).float() / 100

    model.model.layers[0].self_attn.v_proj.register_forward_hook(by_hand)
    return _far(model(ids).logits, before, other(ids).logits)


def _far(same: torch.Tensor, before: torch.Tensor, found: torch.Tensor) -> dict[str, float]:
    far = {"same": same - found, "moved": before - found}
    return {name: float(each.abs().max()) for name, each in far.items()}


def draws(folder: Path) -> dict[str, Any]:
    """Runs of a narrowed model with other roundings, and what they leave behind."""
    model = tiny()
    sample = [np.array([[1, 7, 3]]), np.array([3]), np.array([[9, 2]])]
    raw, about = plain(stored(model))
    more, described = scaled(
        "blk.0.attn_output.q_input", scale=_beside_the_middle(model, sample), dtype="int8"
    )
    path = write(folder / "drawn.irpa", raw | more, about | described)
    bare = Narrowed(Architecture(program=Answers(tiny()), named=tiny()), precision="f32")(sample)
    narrow(model, read_dataset(path), dtype=torch.float32)
    before = model.model.embed_tokens.weight.clone()
    program = Narrowed(Architecture(program=Answers(model), named=model), precision="f32")
    first, second = ([one[0] for one in program.draws(sample)] for _ in range(2))
    for _ in program.draws(sample):
        break
    (wide, _), (plainly, _) = program.unnarrowed(sample), program(sample)
    far = sorted(float(np.abs(one - plainly).max()) for one in first)
    return {
        "count": [len(first), DRAWS],
        "again": all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)),
        "nearest": far[0],
        "farthest": far[-1],
        "unnarrowed": float(np.abs(wide - bare[0]).max()),
        "narrowed": float(np.abs(plainly - bare[0]).max()),
        "untouched": bool(torch.equal(before, model.model.embed_tokens.weight)),
    }


def _beside_the_middle(model: Any, sample: Any) -> float:
    """A scale with which a value that is narrowed lies between two steps, as near as can be."""
    seen: list[torch.Tensor] = []
    layer = model.model.layers[0].self_attn.o_proj
    hook = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        model(torch.tensor(np.concatenate([sample[0], sample[2]], axis=1)))
    hook.remove()
    return 10.5 / float(seen[0][0, 2].abs().max())


def refusals(folder: Path) -> dict[str, str]:
    """What damaged or unfitting datasets are answered with."""
    model = tiny()
    raw, about = plain(stored(model))
    lost = {name: one for name, one in about.items() if name != "output.weight"}
    strange = about | {"output.weight": {**about["output.weight"], "type_name": "BlockScaled"}}
    extra_raw, extra = plain({"blk.0.router.weight": torch.zeros(1)})
    cache_raw, cache = scaled("blk.0.kv_cache.quantizer", scale=1.0, dtype="int8")
    cases = {
        "a tensor is missing": (raw, lost),
        "an unknown kind": (raw, strange),
        "a tensor without a place": (raw | extra_raw, about | extra),
        "an unknown quantiser": (raw | cache_raw, about | cache),
    }
    found = {}
    for name, (entries, described) in cases.items():
        path = write(folder / f"{name}.irpa", entries, described)
        found[name] = said(lambda path=path: _narrow(tiny(), path))
    text = folder / "text.irpa"
    text.write_bytes(b"nothing")
    found["no archive"] = said(lambda: read_dataset(text))
    empty = folder / "empty.irpa"
    write_archive(empty, [Entry(name="x", size=1)], contents=lambda _: [memoryview(b"x")])
    found["no dataset"] = said(lambda: read_dataset(empty))
    return found


def _narrow(model: Any, path: Path) -> None:
    narrow(model, read_dataset(path), dtype=torch.float32)


def main() -> None:
    """Write findings.json."""
    folder = Path.cwd()
    findings = {
        "numbers": numbers(),
        "models": models(folder),
        "draws": draws(folder),
        "refusals": refusals(folder),
        "driver": driven(folder),
    }
    (folder / "findings.json").write_text(json.dumps(findings), encoding="utf-8")


if __name__ == "__main__":
    main()
