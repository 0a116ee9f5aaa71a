"""More of language models with a cache: windows, and quantised weights: ``findings.json``."""

import json
import sys
from functools import partial
from pathlib import Path

import torch
from torchao.quantization import quantize_
from transformers import (
    GPT2Config,
    GPTNeoConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
)

from tests.cached_models import (
    CACHED,
    POSITIONS,
    SAMPLE,
    WORDS,
    build,
    expected,
    far,
    make,
    spec_of,
)
from tests.cached_probes import SIZES, Findings, against
from tests.exporter_probes import message
from tests.quantized_probes import SETTINGS
from tidemill.exporters.quantized_cached_lm import QuantizedCachedLm


def mistral() -> Findings:
    """Layers that see the last tokens only: all of a cache that is no longer, and no other."""
    sizes = {**SIZES, "num_key_value_heads": 2}
    model = make(MistralForCausalLM, MistralConfig(**sizes, sliding_window=POSITIONS))
    found = against(model, build())
    refused = {}
    for name, config in {
        "window": MistralConfig(**sizes, sliding_window=POSITIONS - 1),
        "some layers": Qwen2Config(
            **sizes, use_sliding_window=True, sliding_window=8, max_window_layers=1
        ),
        "local": GPTNeoConfig(
            vocab_size=WORDS,
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            attention_types=[[["global", "local"], 1]],
            window_size=16,
            max_position_embeddings=64,
        ),
        "positions": GPT2Config(
            vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4, n_positions=POSITIONS - 1
        ),
    }.items():
        Path("config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
        refused[name] = message(partial(CACHED.export, spec_of(), Path("no.mlir")))
    return {**found, "refusals": refused}


def narrowed() -> Findings:
    """Weights that torchao quantises, in both functions, against torchao's own model."""
    sizes = {**SIZES, "hidden_size": 64, "intermediate_size": 96}
    config = LlamaConfig(**sizes, num_key_value_heads=2, tie_word_embeddings=False)
    found: Findings = {}
    for kind, setting in SETTINGS.items():
        theirs = make(LlamaForCausalLM, config)
        plain = expected(theirs, SAMPLE)
        built = build(QuantizedCachedLm(), options={"positions": POSITIONS, "quantize": kind})
        quantize_(theirs, setting, filter_fn=_layers)
        found[kind] = against(theirs, built)
        found[kind]["from float"] = far(expected(theirs, SAMPLE), plain)
    return found


def _layers(module: torch.nn.Module, name: str) -> bool:
    return isinstance(module, torch.nn.Linear) and "lm_head" not in name


PROBES = {probe.__name__: probe for probe in (mistral, narrowed)}

if __name__ == "__main__":
    torch.set_num_threads(1)
    Path("findings.json").write_text(json.dumps(PROBES[sys.argv[1]]()), encoding="utf-8")
