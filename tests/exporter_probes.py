"""Programs that tests run under the toolchain's interpreter, which has torch but no pytest.

``python tests/exporter_probes.py NAME`` in an empty folder runs one and writes ``findings.json``.
Model configurations are tiny; their weights are made here.
"""

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import iree.compiler.tools as compiler
import numpy as np
import torch
from iree import runtime
from iree.turbine import aot
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from tidemill.errors import WorkError
from tidemill.exporters.base import Dimension, InputSpec, Spec
from tidemill.exporters.causal_lm import EXPORTER as CAUSAL_LM
from tidemill.exporters.llama2c import EXPORTER as LLAMA2C
from tidemill.exporters.mlir import parameters_of
from tidemill.exporters.mobilenet_v2 import EXPORTER as MOBILENET
from tidemill.exporters.sentence_encoder import SentenceEncoder

ENCODER = SentenceEncoder()
CPU = ["--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu"]
CPU += ["--iree-llvmcpu-target-cpu=x86-64-v3"]
BERT = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
BERT |= {"intermediate_size": 48, "max_position_embeddings": 16}
IDS = np.arange(24, dtype=np.int64).reshape(3, 8) % 60
MASK = (np.arange(8) < np.array([[8], [5], [1]])).astype(np.int64)
Findings = dict[str, Any]


def bert_spec(dtype: str = "f32", **changes: Any) -> Spec:
    """A tiny sentence encoder whose real weights were made by ``torch.manual_seed(0)``."""
    torch.manual_seed(0)
    config = BertConfig(**BERT)
    model = BertModel(config)
    Path("config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    save_file(model.state_dict(), "model.safetensors")
    shape = ("batch", 8)
    fields: dict[str, Any] = {
        "dtype": dtype,
        "options": {},
        "inputs": tuple(
            InputSpec(name=name, dtype="i64", shape=shape)
            for name in ("input_ids", "attention_mask")
        ),
        "dynamic": {"batch": Dimension(min=1, max=16)},
        "config": {"config.json": Path("config.json")},
        "weights": {"model.safetensors": Path("model.safetensors")},
    }
    return Spec(**(fields | changes))


def message(call: Callable[[], object]) -> dict[str, str]:
    """What ``call`` complains about."""
    try:
        call()
    except WorkError as error:
        return {"failure": str(error.failure), "message": error.message, "hint": error.hint}
    return {"message": "nothing was raised"}


def entries(path: Path) -> dict[str, bytes]:
    """Every entry of an archive, as IREE reads it."""
    index = runtime.ParameterIndex()
    index.load(str(path))
    return {name: bytes(entry.file_view) for name, entry in index.items()}


def run_on_cpu(mlir: Path, irpa: Path, *arrays: Any) -> Any:
    """Compile for the portable cpu target and call ``main``; several results as a list."""
    flat = compiler.compile_file(str(mlir), input_type="auto", extra_args=CPU)
    config = runtime.Config("local-sync")
    index = runtime.ParameterIndex()
    index.load(str(irpa))
    provider = index.create_provider(scope="model")
    module = runtime.load_vm_modules(
        runtime.create_io_parameters_module(config.vm_instance, provider),
        runtime.VmModule.copy_buffer(config.vm_instance, flat),
        config=config,
    )[-1]
    result = module.main(*arrays)
    return [one.to_host() for one in result] if isinstance(result, tuple) else result.to_host()


def encoder() -> Findings:
    """MLIR with and without weights, the archive against iree-turbine's, the compiled program."""
    spec = bert_spec()
    found: Findings = {}
    found["facts"] = ENCODER.export(spec, Path("plain.mlir"))
    ENCODER.lower(spec, Path("loaded.mlir"), with_weights=True)
    found["same"] = Path("plain.mlir").read_bytes() == Path("loaded.mlir").read_bytes()
    ENCODER.pack(spec, Path("model.irpa"))
    model = BertModel(BertConfig(**BERT), add_pooling_layer=False)
    torch.manual_seed(0)
    model.load_state_dict(_without_pooler(BertModel(BertConfig(**BERT))))
    aot.save_module_parameters("turbine.irpa", model)
    ours = entries(Path("model.irpa"))
    found["bits equal turbine's"] = ours == entries(Path("turbine.irpa"))
    found["asked"] = parameters_of(Path("plain.mlir")) == set(ours)
    halves = {}
    for dtype, kind in (("f16", torch.float16), ("bf16", torch.bfloat16)):
        ENCODER.pack(bert_spec(dtype), Path("half.irpa"))
        halves[dtype] = entries(Path("half.irpa")) == {
            name: value.to(kind).view(torch.uint8).numpy().tobytes()
            for name, value in model.state_dict().items()
        }
    found["halves"] = halves
    exact = ENCODER.program(spec, "f64")([IDS, MASK])[0]
    result = run_on_cpu(Path("plain.mlir"), Path("model.irpa"), IDS, MASK)
    single = run_on_cpu(Path("plain.mlir"), Path("model.irpa"), IDS[:1], MASK[:1])
    found["error"] = float(np.abs(result - exact).max())
    found["batch of one"] = [list(single.shape), float(np.abs(single - exact[:1]).max())]
    return found


def _without_pooler(model: Any) -> dict[str, torch.Tensor]:
    state = model.state_dict()
    return {name: value for name, value in state.items() if not name.startswith("pooler.")}


class NoFloat32(TorchDispatchMode):  # type: ignore[misc]
    """Notes every operation that gives a float32 tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and look at its result."""
        result = func(*args, **(kwargs or {}))
        self.count += 1
        if isinstance(result, torch.Tensor) and result.dtype == torch.float32:
            self.seen.append(str(func))
        return result


def llama() -> Findings:
    """A raw llama2.c file that was made from a transformers model must give that model again."""
    torch.manual_seed(1)
    sizes = {"dim": 32, "hidden_dim": 48, "layers": 2, "heads": 4, "kv_heads": 2, "vocab": 64}
    sizes["max_seq"] = 32
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
        max_position_embeddings=32,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    model = LlamaForCausalLM._from_config(config, attn_implementation="eager").eval()
    Path("config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    Path("raw.bin").write_bytes(_llama2c_file(model, tuple(sizes.values())))
    ids = np.arange(7, dtype=np.int64).reshape(1, 7)
    spec = Spec(
        dtype="f32",
        options=sizes,
        inputs=(InputSpec(name="input_ids", dtype="i64", shape=(1, "seq")),),
        dynamic={"seq": Dimension(min=2, max=31)},
        config={"config.json": Path("config.json")},
        weights={"raw.bin": Path("raw.bin")},
    )
    with torch.no_grad():
        expected = model(torch.from_numpy(ids)).logits.numpy()
    LLAMA2C.export(spec, Path("llama.mlir"))
    facts = CAUSAL_LM.export(spec, Path("causal.mlir"))
    LLAMA2C.pack(spec, Path("llama.irpa"))
    watch = NoFloat32()
    exact_program = LLAMA2C.program(spec, "f64")
    with watch:
        exact = exact_program([ids])[0]
    wrong = Spec(**{**_fields(spec), "options": {**sizes, "kv_heads": 4}})
    result = run_on_cpu(Path("llama.mlir"), Path("llama.irpa"), ids)
    return {
        "logits equal": bool(np.array_equal(LLAMA2C.program(spec, "f32")([ids])[0], expected)),
        "same mlir": Path("llama.mlir").read_bytes() == Path("causal.mlir").read_bytes(),
        "tied once": sorted(entries(Path("llama.irpa"))) == sorted(dict(model.named_parameters())),
        "parameters": facts["parameters"],
        "exact dtype": str(exact.dtype),
        "float32 operations": watch.seen,
        "operations": watch.count,
        "error": float(np.abs(result - exact).max()),
        "rounding": float(np.abs(expected - exact).max()),
        "wrong header": message(lambda: LLAMA2C.pack(wrong, Path("x.irpa"))),
    }


def _fields(spec: Spec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in Spec.__dataclass_fields__}


def _llama2c_file(model: Any, numbers: tuple[int, ...]) -> bytes:
    """The inverse of the exporter's reading: rows of q and k from halves to neighbours."""
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    layers = range(numbers[2])

    def stack(name: str) -> bytes:
        return b"".join(state[f"model.layers.{layer}.{name}.weight"].tobytes() for layer in layers)

    def woven(name: str, heads: int) -> bytes:
        parts = [state[f"model.layers.{layer}.self_attn.{name}.weight"] for layer in layers]
        return b"".join(
            np.ascontiguousarray(part.reshape(heads, 2, 4, 32).transpose(0, 2, 1, 3)).tobytes()
            for part in parts
        )

    return b"".join(
        [
            struct.pack("<7i", *numbers),
            state["model.embed_tokens.weight"].tobytes(),
            stack("input_layernorm"),
            woven("q_proj", 4),
            woven("k_proj", 2),
            stack("self_attn.v_proj"),
            stack("self_attn.o_proj"),
            stack("post_attention_layernorm"),
            stack("mlp.gate_proj"),
            stack("mlp.down_proj"),
            stack("mlp.up_proj"),
            state["model.norm.weight"].tobytes(),
            bytes(4 * 2 * 32 * 4),
            b"a tokenizer may follow",
        ]
    )


def mobilenet() -> Findings:
    """The running statistics are parameters, under torchvision's names."""
    spec = Spec(
        dtype="f32",
        options={"classes": 10},
        inputs=(InputSpec(name="image", dtype="float", shape=(1, 3, 64, 64)),),
        dynamic={},
        config={},
        synthetic={"seed": 3, "scale": 0.05},
    )
    facts = MOBILENET.export(spec, Path("m.mlir"))
    MOBILENET.pack(spec, Path("m.irpa"))
    image = np.linspace(-1, 1, 3 * 64 * 64, dtype=np.float32).reshape(1, 3, 64, 64)
    exact = MOBILENET.program(spec, "f64")([image])[0]
    result = run_on_cpu(Path("m.mlir"), Path("m.irpa"), image)
    names = parameters_of(Path("m.mlir"))
    return {
        "parameters": facts["parameters"],
        "statistics": sum(name.endswith(("running_mean", "running_var")) for name in names),
        "first": sorted(names)[:5],
        "error": float(np.linalg.norm(result - exact) / np.linalg.norm(exact)),
    }


PROBES = {probe.__name__: probe for probe in (encoder, llama, mobilenet)}

if __name__ == "__main__":
    Path("findings.json").write_text(json.dumps(PROBES[sys.argv[1]]()), encoding="utf-8")
