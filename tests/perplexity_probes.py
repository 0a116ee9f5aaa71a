"""What our own reader finds in datasets, for tests/e2e/test_brevitas_algorithms.py.

Called with ``name=path`` for each: its perplexity, and which layers have narrowed weights and which
of those a bias. The text is drawn as Brevitas draws it, the rest is ours.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
os.environ["HF_HOME"] = str(Path("hf").resolve())

import torch
from brevitas_examples.llm.llm_quant.data_utils import get_dataset_for_model
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoTokenizer

from tidemill.exporters.brevitas_llm import write_texts
from tidemill.exporters.llama_config import normalised
from tidemill.exporters.quantised_llama import narrow
from tidemill.exporters.shark_dataset import Dataset, read_dataset

MODEL = Path(__file__).parent.parent / "manifests/models/tiny-llama-paged"
#: Of the manifest: samples, and tokens in each.
SAMPLES, LENGTH = 8, 128


def texts() -> list[torch.Tensor]:
    """Samples [1, LENGTH] of the held-out text."""
    files = {"calibration": "calibration.txt", "evaluation": "held-out.txt"}
    write_texts(Path(), {role: {name: MODEL / name} for role, name in files.items()})
    Path("tokenizer").mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(MODEL / name, "tokenizer")
    drawn = get_dataset_for_model(
        "wikitext2",
        tokenizer=AutoTokenizer.from_pretrained("tokenizer"),
        nsamples=SAMPLES,
        seqlen=LENGTH,
        split="validation",
    )
    return [torch.tensor(one["input_ids"]).reshape(1, -1) for one in drawn]


def perplexity(model: Any, samples: list[torch.Tensor]) -> float:
    """Of the second half of each sample, as Brevitas does it."""
    losses = []
    for ids in samples:
        with torch.no_grad():
            logits = model(ids).logits[0, LENGTH // 2 - 1 : -1]
        losses.append(torch.nn.functional.cross_entropy(logits, ids[0, LENGTH // 2 :]))
    return float(torch.stack(losses).mean().exp())


def model_of(dataset: Dataset) -> Any:
    """transformers' Llama that computes what a dataset says."""
    raw = json.loads((MODEL / "config.json").read_text(encoding="utf-8"))
    config = CONFIG_MAPPING["llama"].from_dict(normalised(raw))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    narrow(model, dataset, dtype=torch.float32)
    return model


def layers(dataset: Dataset) -> dict[str, list[str]]:
    """Those with narrowed weights, and those of them with a bias that is not zero."""
    narrowed = sorted(name.removesuffix(".weight") for name in dataset.narrowed)
    biases = {name: dataset.tensors.get(f"{name}.bias") for name in narrowed}
    biased = [name for name, bias in biases.items() if bias is not None and bool(bias.any())]
    return {"narrowed": narrowed, "biased": biased}


def main() -> None:
    """Write findings.json."""
    samples = texts()
    findings: dict[str, Any] = {}
    for word in sys.argv[1:]:
        name, path = word.split("=", 1)
        dataset = read_dataset(Path(path))
        found = perplexity(model_of(dataset), samples)
        findings[name] = {"perplexity": found, **layers(dataset)}
    Path("findings.json").write_text(json.dumps(findings), encoding="utf-8")


if __name__ == "__main__":
    main()
