"""Modules with a cache from GGUF files and llama2.c's checkpoints: ``findings.json``.

The files are made here, of models that transformers has made.
"""

import json
import struct
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import dequantize, quantize
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from tests.cached_models import (
    CACHED,
    SAMPLE,
    WORDS,
    build,
    called,
    conversation,
    decoded,
    expected,
    far,
    generated,
    make,
    spec_of,
)
from tests.exporter_probes import entries, message
from tidemill.exporters.cached_gguf import CachedGguf
from tidemill.exporters.cached_llama2c import CachedLlama2c
from tidemill.exporters.cached_lm import Cached

GGUF, LLAMA2C = CachedGguf(), CachedLlama2c()
TOKENS = 16
HEADS, KEYS, WIDTH, LAYERS = 4, 2, 8, 2
Findings = dict[str, Any]
#: Names of llama.cpp, by those of transformers.
NAMES = [
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("model.layers.", "blk."),
    ("lm_head", "output"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LETTERS = [*"abcdefghijklmnopqrstuvwxyz", "Ġ"]
MERGED = ["th", "the", "Ġt", "in"]


def model(**changes: Any) -> Any:
    """A tiny Llama with untied words and grouped queries; its files are in the current folder."""
    sizes: dict[str, Any] = {
        "vocab_size": WORDS,
        "hidden_size": HEADS * WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEYS,
        "max_position_embeddings": 64,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
    }
    return make(LlamaForCausalLM, LlamaConfig(**(sizes | changes)))


def write_gguf(theirs: Any, path: str, kind: Any, **more: Any) -> None:
    """What llama.cpp would make of it: its names, its order of rows, matrices in ``kind``."""
    config = theirs.config
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(more.get("layers", config.num_hidden_layers))
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(WIDTH)
    writer.add_rope_freq_base(more.get("theta", 10000.0))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(WORDS)
    _write_tokenizer(writer)
    for name, tensor in theirs.state_dict().items():
        array = _in_their_order(name, tensor.numpy())
        for ours, theirs_name in NAMES:
            name = name.replace(ours, theirs_name)  # noqa: PLW2901 - one step after the other
        used = kind if array.ndim > 1 else GGMLQuantizationType.F32
        writer.add_tensor(name, quantize(array, used), raw_dtype=used)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_tokenizer(writer: GGUFWriter) -> None:
    tokens = [*SPECIAL, *LETTERS, *MERGED]
    tokens += [f"unused{index}" for index in range(WORDS - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    kinds = [TokenType.CONTROL] * len(SPECIAL) + [TokenType.NORMAL] * (WORDS - len(SPECIAL))
    writer.add_token_types(kinds)
    writer.add_token_merges(["t h", "th e", "Ġ t", "i n"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def _in_their_order(name: str, array: Any) -> Any:
    """Rows of queries and keys as neighbours, not as halves."""
    heads = {"q_proj": HEADS, "k_proj": KEYS}.get(name.split(".")[-2], 0)
    if not heads:
        return array
    rows = array.reshape(heads, 2, len(array) // heads // 2, -1).swapaxes(1, 2)
    return np.ascontiguousarray(rows.reshape(array.shape))


def gguf() -> Findings:
    """A float32 file is the model itself; a quantised one is what its blocks say."""
    theirs = model()
    write_gguf(theirs, "plain.gguf", GGMLQuantizationType.F32)
    write_gguf(theirs, "q8.gguf", GGMLQuantizationType.Q8_0)
    plain = {"weights": {"model.gguf": Path("plain.gguf")}}
    CACHED.pack(spec_of(), Path("wanted.irpa"))
    GGUF.pack(spec_of(**plain), Path("plain.irpa"))
    written = Tokenizer.from_file("tokenizer.json")
    same = entries(Path("plain.irpa")) == entries(Path("wanted.irpa"))
    built = build(GGUF, weights={"model.gguf": Path("q8.gguf")})
    rounded(theirs)
    driver = built.driver()
    return {
        "same bits": same,
        "ids": written.encode("the tin", add_special_tokens=False).ids,
        "error": far(called(driver, SAMPLE), expected(theirs, SAMPLE)),
        "ours": decoded(driver, SAMPLE, tokens=TOKENS).tolist(),
        "theirs": generated(theirs, SAMPLE, tokens=TOKENS),
        "refusals": gguf_refusals(theirs),
        "synthetic": synthetic(GGUF),
    }


def synthetic(exporter: Cached, **changes: Any) -> Findings:
    """Values from a seed: what is written beside them, without a declared tokenizer and with it."""
    Path("declared.json").write_text("{}", encoding="utf-8")
    found = {}
    fields = {"weights": {}, "synthetic": {"seed": 3, "scale": 0.1}, **changes}
    config = {"config.json": Path("config.json")}
    for name, more in (("without", {}), ("with", {"tokenizer.json": Path("declared.json")})):
        Path("tokenizer.json").unlink(missing_ok=True)
        exporter.pack(spec_of(**fields, config=config | more), Path("synthetic.irpa"))
        beside = Path("tokenizer.json")
        found[name] = beside.read_text(encoding="utf-8") if beside.exists() else None
    return found


def rounded(theirs: Any) -> None:
    """Give the model the values that Q8_0 leaves of its own."""
    kind = GGMLQuantizationType.Q8_0
    with torch.no_grad():
        for name, tensor in theirs.state_dict().items():
            if tensor.ndim > 1:
                kept = dequantize(quantize(tensor.numpy(), kind), kind).reshape(tensor.shape)
                assert not np.array_equal(kept, tensor.numpy()), name
                tensor.copy_(torch.from_numpy(np.array(kept)))


def gguf_refusals(theirs: Any) -> Findings:
    """What each wrong file is answered."""
    kind = GGMLQuantizationType.F32
    write_gguf(theirs, "turned.gguf", kind, theta=500000.0)
    write_gguf(theirs, "deep.gguf", kind, layers=LAYERS + 1)
    data = Path("plain.gguf").read_bytes()
    Path("torn.gguf").write_bytes(data[: len(data) // 2])
    Path("short.gguf").write_bytes(data[:30])
    Path("empty.gguf").touch()
    Path("words.gguf").write_text("no weights, but words that go on for a while", encoding="utf-8")
    names = ("turned", "deep", "torn", "short", "empty", "words")
    cases = {name: {"model.gguf": Path(f"{name}.gguf")} for name in names}
    cases["two"] = {name: Path("plain.gguf") for name in ("a.gguf", "b.gguf")}
    return {
        name: message(partial(GGUF.pack, spec_of(weights=files), Path("never.irpa")))
        for name, files in cases.items()
    }


def write_llama2c(theirs: Any, path: Path, *, tail: bytes) -> dict[str, Any]:
    """llama2.c's file of a tied model, with ``tail`` behind it; the options that fit."""
    config = theirs.config
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    numbers = (config.hidden_size, config.intermediate_size, LAYERS, HEADS, KEYS, WORDS, 64)

    def stacked(name: str) -> list[Any]:
        names = (f"model.layers.{layer}.{name}.weight" for layer in range(LAYERS))
        return [_in_their_order(one, state[one]) for one in names]

    parts = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    parts = ["input_layernorm", *parts, "post_attention_layernorm"]
    parts += ["mlp.gate_proj", "mlp.down_proj", "mlp.up_proj"]
    arrays = [state["model.embed_tokens.weight"]]
    arrays += [array for part in parts for array in stacked(part)]
    arrays += [state["model.norm.weight"], np.zeros((2, 64, WIDTH // 2), np.float32)]
    data = b"".join(np.ascontiguousarray(array, np.float32).tobytes() for array in arrays)
    path.write_bytes(struct.pack("<7i", *numbers) + data + tail)
    names = ("dim", "hidden_dim", "layers", "heads", "kv_heads", "vocab", "max_seq")
    return dict(zip(names, numbers, strict=True))


def llama2c() -> Findings:
    """The checkpoint computes what the model does; its tail becomes tokenizer.json."""
    theirs = model(tie_word_embeddings=True)
    tokens = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % one for one in range(256))][:WORDS]
    tail = struct.pack("<i", 9)
    tail += b"".join(struct.pack("<fi", 0.0, len(one)) + one for one in tokens)
    raw = Path("raw.bin")
    options = write_llama2c(theirs, raw, tail=tail)
    positions = conversation()["options"]["positions"]
    fields: dict[str, Any] = {
        "options": {**options, "positions": positions},
        "config": {},
        "weights": {"raw.bin": raw},
    }
    driver = build(LLAMA2C, **fields).driver()
    found: Findings = {
        "error": far(called(driver, SAMPLE), expected(theirs, SAMPLE)),
        "ours": decoded(driver, SAMPLE, tokens=TOKENS).tolist(),
        "theirs": generated(theirs, SAMPLE, tokens=TOKENS),
        "vocabulary": Tokenizer.from_file("tokenizer.json").get_vocab_size(),
    }
    Path("tokenizer.json").unlink()
    write_llama2c(theirs, raw, tail=b"")
    LLAMA2C.pack(spec_of(**fields), Path("bare.irpa"))
    found["without a tail"] = Path("tokenizer.json").exists()
    found["synthetic"] = synthetic(LLAMA2C, options=fields["options"])
    write_llama2c(theirs, raw, tail=tail[:-3])
    found["torn"] = message(lambda: LLAMA2C.pack(spec_of(**fields), Path("never.irpa")))
    return found


PROBES = {probe.__name__: probe for probe in (gguf, llama2c)}

if __name__ == "__main__":
    torch.set_num_threads(1)
    Path("findings.json").write_text(json.dumps(PROBES[sys.argv[1]]()), encoding="utf-8")
