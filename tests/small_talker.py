"""A workspace with a tiny language model that talks: with a cache, without one, without words."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.workbench import PIPELINE_MODULES, REPO, Workbench, toolchain
from tests.workbench_models import TARGETS

PIPELINE = """\
from pipelines.base import Pipeline
from tidemill.policy import Policy

PIPELINE = Pipeline(
    name="talk",
    about="for a test",
    channel="talk",
    policy=Policy(required=("*/*/*/cpu",), on_failure="block"),
)
"""
#: tokenizers and IREE's runtime lie in the toolchain's environment; an installed
#: `tidemill[run]` has its own.
COMMAND = """\
import sys
sys.path.append(sys.argv.pop(1))
from tidemill.cli import main
try:
    main()
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""
WORDS = [" ", "t", "h", "e", "m", "i", "l", "d", "th", "the", " the", "mi", "ll", "mill"]
#: Letters are tokens of their own, all else is bytes.
MAKE_TOKENIZER = """
import json, sys
from pathlib import Path
from tidemill.exporters.llama2c_tokenizer import tokenizer_of
from tokenizers import Tokenizer
words, prompts = json.load(sys.stdin)
tokens = [(0.0, f"<0x{one:02X}>") for one in range(256)]
tokens += [(-float(at), word.replace(" ", "\\u2581")) for at, word in enumerate(words)]
text = tokenizer_of([(0.0, "<unk>"), (0.0, "<s>"), (0.0, "</s>"), *tokens])
Path(sys.argv[1]).write_text(text)
print(json.dumps([Tokenizer.from_str(text).encode(prompt).ids for prompt in prompts]))
"""
VOCABULARY = 3 + 256 + len(WORDS)
POSITIONS, TOKENS = 40, 24
PROMPTS = ("the mill", "tide", "hill")
CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def component(rows: list[list[int]]) -> dict[str, Any]:
    """A component with a cache; its prompts are ``rows``."""
    longest = max(map(len, rows))
    sample = {
        "name": "rows",
        "dims": {"batch": len(rows), "seq": longest, "steps": 5},
        "inputs": {
            "prompt": {
                "kind": "values",
                "values": [row + [0] * (longest - len(row)) for row in rows],
            },
            "lengths": {"kind": "values", "values": [len(row) for row in rows]},
            "continuation": {"kind": "integers", "seed": 3, "low": 3, "high": VOCABULARY},
        },
        "greedy": {"tokens": TOKENS},
    }
    return {
        "exporter": "cached_lm",
        "config": ["here/config.json", "here/tokenizer.json"],
        "weights": ["values"],
        "options": {"positions": POSITIONS},
        "inputs": {
            "prompt": {"dtype": "i64", "shape": ["batch", "seq"]},
            "lengths": {"dtype": "i64", "shape": ["batch"]},
            "continuation": {"dtype": "i64", "shape": ["batch", "steps"]},
        },
        "outputs": ["prompt_logits", "logits"],
        "dimensions": {
            "batch": {"min": 1, "max": 4},
            "seq": {"min": 1, "max": POSITIONS - 2},
            "steps": {"min": 1, "max": POSITIONS - 2},
        },
        "dtypes": ["f32"],
        "targets": ["cpu"],
        "samples": [sample],
        "numerics": {"logits": ["prompt_logits", "logits"]},
    }


def without_a_cache(ids: list[int]) -> dict[str, Any]:
    """The same model as a single function."""
    sample = {
        "name": "words",
        "dims": {"seq": len(ids)},
        "inputs": {"input_ids": {"kind": "values", "values": [ids]}},
    }
    return {
        "exporter": "causal_lm",
        "config": ["here/config.json"],
        "weights": ["values"],
        "inputs": {"input_ids": {"dtype": "i64", "shape": [1, "seq"]}},
        "dimensions": {"seq": {"min": 2, "max": 31}},
        "dtypes": ["f32"],
        "targets": ["cpu"],
        "samples": [sample],
    }


def make_talker(root: Path) -> Workbench:
    """The workspace; nothing is built yet."""
    bench = Workbench(root=root, store=root / ".tidemill/store")
    for folder in ("manifests/models/talker", "toolchains", "pipelines"):
        (root / folder).mkdir(parents=True)
    for name in PIPELINE_MODULES:
        (root / f"pipelines/{name}.py").symlink_to(REPO / f"pipelines/{name}.py")
    for name in ("tasks", "luigi.cfg"):
        (root / name).symlink_to(REPO / name)
    shutil.copy(REPO / "toolchains/default.lock", root / "toolchains")
    bench.write("pipelines/talk.py", PIPELINE)
    bench.write("manifests/targets.yaml", TARGETS)
    bench.write("manifests/models/talker/config.json", json.dumps(CONFIG))
    rows = tokenizer(root / "manifests/models/talker/tokenizer.json")
    cached = component(rows)
    mute = {**cached, "config": ["here/config.json"]}
    files = {
        name: {"path": name, "sha256": bench.sha(f"talker/{name}")}
        for name in ("config.json", "tokenizer.json")
    }
    manifest = {
        "name": "talker",
        "title": "A language model of a few thousand synthetic weights",
        "license": "CC0-1.0",
        "sources": {
            "here": {"from": "file:talker", "files": files},
            "values": {"from": "synthetic:seed=12", "scale": 0.6},
        },
        "components": {"cached": cached, "mute": mute, "logits": without_a_cache(rows[0])},
    }
    bench.write("manifests/models/talker.yaml", yaml.safe_dump(manifest, sort_keys=False))
    return bench


def tokenizer(path: Path) -> list[list[int]]:
    """Write a tokenizer.json; the tokens of ``PROMPTS``."""
    done = subprocess.run(
        [str(toolchain().python), "-c", MAKE_TOKENIZER, str(path)],
        input=json.dumps([WORDS, PROMPTS]),
        cwd=REPO,
        check=True,
        capture_output=True,
        text=True,
    )
    ids: list[list[int]] = json.loads(done.stdout)
    return ids
