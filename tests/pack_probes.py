"""How much memory pack takes for a model of ``argv[1]`` million parameters from ``argv[2]``.

Run like exporter_probes.py. The source is ``synthetic``, or ``safetensors``: a sparse file.
"""

import json
import os
import resource
import struct
import sys
from pathlib import Path

from tidemill.steps.work import pack
from tidemill.steps.work.protocol import Request

WIDTH = 1024


def write_sparse(path: Path, shapes: dict[str, list[int]]) -> None:
    """A safetensors file whose values take no room on disk."""
    header, place = {}, 0
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + place)


def main(millions: int, source: str) -> None:
    """Pack a one-layer Llama whose embedding holds nearly all parameters."""
    vocabulary = millions * 1_000_000 // WIDTH
    config = {"model_type": "llama", "hidden_size": WIDTH, "intermediate_size": 8}
    config |= {"num_hidden_layers": 1, "num_attention_heads": 8, "vocab_size": vocabulary}
    Path("config.json").write_text(
        json.dumps(config | {"tie_word_embeddings": True}), encoding="utf-8"
    )
    square, layer = [WIDTH, WIDTH], "model.layers.0."
    shapes = {"model.embed_tokens.weight": [vocabulary, WIDTH], "model.norm.weight": [WIDTH]}
    shapes |= {f"{layer}self_attn.{part}_proj.weight": square for part in "qkvo"}
    shapes |= {f"{layer}mlp.{part}_proj.weight": [8, WIDTH] for part in ("gate", "up")}
    shapes |= {f"{layer}mlp.down_proj.weight": [WIDTH, 8]}
    norms = ("input_layernorm", "post_attention_layernorm")
    shapes |= {f"{layer}{name}.weight": [WIDTH] for name in norms}
    weights = {}
    if source == "safetensors":
        write_sparse(Path("model.safetensors"), shapes)
        weights = {"model.safetensors": "model.safetensors"}
    fields = {
        "exporter": "causal_lm",
        "dtype": "f32",
        "options": {},
        "inputs": [{"name": "input_ids", "dtype": "i64", "shape": [1, 8]}],
        "dynamic": {},
        "synthetic": None if weights else {"seed": 1, "scale": 0.02},
        "pickle": "",
    }
    files = {"config": {"config.json": "config.json"}, "weights": weights}
    pack.run(Request(step="pack", fields=fields, inputs=files))
    findings = {
        "irpa": os.stat("out/model.irpa").st_size,  # noqa: PTH116
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    Path("findings.json").write_text(json.dumps(findings), encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
