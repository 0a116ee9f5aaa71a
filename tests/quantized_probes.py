"""Quantised language models against torchao's own; ``findings.json`` is what was found."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from iree import runtime
from safetensors.torch import save_file
from torchao import quantization
from torchao.quantization.granularity import PerGroup
from transformers import GPT2Config, LlamaConfig, LlamaForCausalLM, MixtralConfig

from tests.exporter_probes import run_on_cpu
from tidemill.errors import WorkError
from tidemill.exporters.base import Dimension, InputSpec, Spec
from tidemill.exporters.quantized_lm import QuantizedLm

EXPORTER = QuantizedLm()
CONFIG = {"vocab_size": 60, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIG |= {"num_key_value_heads": 2, "intermediate_size": 96, "max_position_embeddings": 32}
IDS = np.arange(24, dtype=np.int64).reshape(3, 8) * 7 % 60
#: torchao's own settings, as a user of it would write them.
SETTINGS = {
    "int8": quantization.Int8WeightOnlyConfig(set_inductor_config=False),
    "int4": quantization.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32)),
    "fp8": quantization.Float8WeightOnlyConfig(),
}
Findings = dict[str, Any]


def model(**changes: int) -> LlamaForCausalLM:
    """A tiny Llama, and its files in the current folder."""
    torch.manual_seed(0)
    config = LlamaConfig(
        **(CONFIG | changes), initializer_range=0.2, tie_word_embeddings=False,
        attn_implementation="eager",
    )  # fmt: skip
    made: LlamaForCausalLM = LlamaForCausalLM(config).eval()
    Path("config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    save_file(made.state_dict(), "model.safetensors")
    return made


def spec_of(kind: str, dtype: str = "f32") -> Spec:
    """The spec of the model in the current folder."""
    return Spec(
        dtype=dtype,
        options={"quantize": kind},
        inputs=(InputSpec(name="input_ids", dtype="i64", shape=("batch", "seq")),),
        dynamic={"batch": Dimension(min=1, max=8), "seq": Dimension(min=2, max=31)},
        config={"config.json": Path("config.json")},
        weights={"model.safetensors": Path("model.safetensors")},
    )


def far(one: Any, other: Any) -> float:
    """The relative distance."""
    wide, wanted = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return float(np.linalg.norm(wide - wanted) / np.linalg.norm(wanted))


def kind(name: str) -> Findings:
    """One way to quantise: torchao's model, our eager program, the compiled one."""
    theirs, plain = model(), model()
    inner = torch.nn.Linear
    quantization.quantize_(
        theirs,
        SETTINGS[name],
        filter_fn=lambda module, label: isinstance(module, inner) and "lm_head" not in label,
    )
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(IDS), use_cache=False).logits.numpy()
        float_logits = plain(torch.from_numpy(IDS), use_cache=False).logits.numpy()
    found: Findings = {"from float": far(wanted, float_logits)}
    for precision in ("f32", "f64"):
        ours = EXPORTER.program(spec_of(name), precision)([IDS])[0]
        found[precision] = far(ours, wanted)
    for dtype in ("f32", "f16"):
        mlir, irpa = Path(f"{name}.{dtype}.mlir"), Path(f"{name}.{dtype}.irpa")
        EXPORTER.export(spec_of(name, dtype), mlir)
        facts = EXPORTER.pack(spec_of(name, dtype), irpa)
        found[f"compiled {dtype}"] = far(run_on_cpu(mlir, irpa, IDS), wanted)
    found["weights"] = facts["weights_rel_l2"]
    EXPORTER.lower(spec_of(name), Path("loaded.mlir"), with_weights=True)
    found["same"] = Path("loaded.mlir").read_bytes() == Path(f"{name}.f32.mlir").read_bytes()
    index = runtime.ParameterIndex()
    index.load(f"{name}.f32.irpa")
    stored = {key: bytes(entry.file_view) for key, entry in index.items()}
    layer = "model.layers.1.mlp.up_proj"
    weight = theirs.model.layers[1].mlp.up_proj.weight
    found["bits"] = stored[f"{layer}.qdata"] == raw(weight.qdata)
    found["scales"] = stored[f"{layer}.scale"] == raw(weight.scale.float())
    found["float layers"] = sorted(key for key in stored if key.endswith(".weight"))[:1]
    return found


def raw(tensor: torch.Tensor) -> bytes:
    """The bytes of a tensor."""
    held: bytes = tensor.contiguous().view(torch.uint8).numpy().tobytes()
    return held


def refusals() -> Findings:
    """What each wrong request is answered."""
    said = {}
    model(intermediate_size=80)
    for name in ("int5", "int4"):
        try:
            EXPORTER.export(spec_of(name), Path("never.mlir"))
        except WorkError as error:
            said[name] = error.message
    others = {
        "no linear layer": GPT2Config(
            vocab_size=60, n_embd=32, n_layer=2, n_head=4, n_positions=32
        ),
        "experts": MixtralConfig(**CONFIG | {"num_hidden_layers": 1}, num_local_experts=2),
    }
    for name, other in others.items():
        Path("config.json").write_text(json.dumps(other.to_dict()), encoding="utf-8")
        try:
            EXPORTER.export(spec_of("int8"), Path("never.mlir"))
        except WorkError as error:
            said[name] = error.message
    return said


def main() -> None:
    """Write the findings."""
    torch.set_num_threads(1)
    found: Findings = {name: kind(name) for name in SETTINGS}
    found["refusals"] = refusals()
    Path("findings.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
