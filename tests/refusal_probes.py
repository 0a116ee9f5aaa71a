"""What the torch exporters answer to wrong weights, options and bounds."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from tests.exporter_probes import BERT, ENCODER, Findings, bert_spec, message
from tidemill.exporters.base import Dimension
from tidemill.exporters.trace import example_sizes


def refusals() -> Findings:
    """What wrong weights, options and bounds are answered with."""
    spec = bert_spec()
    good = {
        name: value.clone() for name, value in BertModel(BertConfig(**BERT)).state_dict().items()
    }
    bad = dict(good)
    del bad["embeddings.LayerNorm.bias"]
    bad["embeddings.LayerNorm.weight"] = torch.ones(7)
    bad["surprise"] = torch.ones(2)
    save_file(bad, "bad.safetensors")
    huge = dict(good)
    huge["embeddings.LayerNorm.bias"] = torch.full((32,), 1e6)
    save_file(huge, "huge.safetensors")
    data = Path("model.safetensors").read_bytes()
    Path("short.safetensors").write_bytes(data[:-100])
    torch.save(good, "weights.pth")
    out = Path("out.irpa")

    def packed(name: str, **changes: Any) -> dict[str, str]:
        files = {"weights": {name: Path(name)}}
        return message(lambda: ENCODER.pack(bert_spec(**(files | changes)), out))

    allowed = bert_spec(weights={"weights.pth": Path("weights.pth")}, pickle_allowed=True)
    narrow = bert_spec(dynamic={"batch": Dimension(min=0, max=1)})
    return {
        "fit": packed("bad.safetensors"),
        "overflow": packed("huge.safetensors", dtype="f16"),
        "truncated": packed("short.safetensors"),
        "pickle": packed("weights.pth"),
        "pickle allowed": ENCODER.pack(allowed, out)["entries"],
        "narrow": message(lambda: example_sizes(narrow)),
        "pooling": message(
            lambda: ENCODER.export(bert_spec(options={"pooling": "max"}), Path("x.mlir"))
        ),
        "unused": message(
            lambda: ENCODER.lower(
                bert_spec(options={"unused": ["embeddings.LayerNorm.bias"]}),
                Path("x.mlir"),
                with_weights=False,
            )
        ),
        "sizes": example_sizes(spec),
    }


if __name__ == "__main__":
    findings = {"refusals": refusals}[sys.argv[1]]()
    Path("findings.json").write_text(json.dumps(findings), encoding="utf-8")
