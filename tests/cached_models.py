"""Tiny language models, their specs, and their modules with a cache, compiled and opened."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import iree.compiler.tools as compiler
import numpy as np
import torch
from transformers import GenerationConfig

from tests.exporter_probes import CPU
from tidemill.exporters.base import Array, Dimension, InputSpec, Spec
from tidemill.exporters.cached_lm import Cached, CachedLm
from tidemill.steps.work.drivers.cached_lm import CachedDriver, open_driver
from tidemill.steps.work.greedy import Plan
from tidemill.steps.work.runner import Session, Value

POSITIONS, WORDS = 24, 64
#: Rows of 7, 2 and 5 tokens; what stands behind a row's end is noise that must not count.
PROMPT = np.random.default_rng(1).integers(3, WORDS, (3, 7))
LENGTHS = np.array([7, 2, 5])
CONTINUATION = np.random.default_rng(2).integers(3, WORDS, (3, 4))
Arrays = tuple[Array, Array, Array]
SAMPLE: Arrays = (PROMPT, LENGTHS, CONTINUATION)


def conversation(**changes: Any) -> dict[str, Any]:
    """The fields of a spec of a module with a cache."""
    shapes: dict[str, tuple[int | str, ...]] = {
        "prompt": ("batch", "seq"),
        "lengths": ("batch",),
        "continuation": ("batch", "steps"),
    }
    longest = POSITIONS - 2
    fields: dict[str, Any] = {
        "dtype": "f32",
        "options": {"positions": POSITIONS},
        "inputs": tuple(InputSpec(name=n, dtype="i64", shape=s) for n, s in shapes.items()),
        "dynamic": {
            "batch": Dimension(min=1, max=8),
            "seq": Dimension(min=1, max=longest),
            "steps": Dimension(min=1, max=longest),
        },
        "config": {"config.json": Path("config.json")},
        "weights": {"model.safetensors": Path("model.safetensors")},
    }
    return fields | changes


def spec_of(**changes: Any) -> Spec:
    """The spec of the model in the current folder."""
    return Spec(**conversation(**changes))


def make(kind: Callable[[Any], Any], config: Any) -> Any:
    """A model of ``config`` from a seed, and its files in the current folder."""
    torch.manual_seed(5)
    config._attn_implementation = "eager"
    model = kind(config).eval()
    with torch.no_grad():
        # Biases and norms of a fresh model are zeros and ones, with which much can go wrong unseen.
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.4 + (parameter.ndim == 1))
    model.save_pretrained(".")
    Path("config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    return model


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An exported, packed and compiled module in the current folder."""

    vmfb: Path = Path("model.vmfb")
    irpa: Path = Path("model.irpa")
    config: Path = Path("config/config.json")

    def driver(self) -> CachedDriver:
        """The module on the CPU, driven as validation does it."""
        session = Session("local-sync", module=self.vmfb, parameters=self.irpa)
        return open_driver(session, fields={}, config={"config.json": self.config})


#: transformers' config.json and safetensors, which most tests start from.
CACHED = CachedLm()


def build(exporter: Cached = CACHED, **changes: Any) -> Built:
    """Export without weights, pack and compile."""
    built = Built()
    built.config.parent.mkdir(exist_ok=True)
    mlir = built.config.with_name("model.mlir")
    exporter.export(spec_of(**changes), mlir)
    exporter.pack(spec_of(**changes), built.irpa)
    compiler.compile_file(str(mlir), input_type="auto", output_file=str(built.vmfb), extra_args=CPU)
    return built


def values(sample: Arrays) -> list[Value]:
    """A sample as a driver takes it."""
    return [Value(array=np.ascontiguousarray(array), dtype="i64") for array in sample]


def called(driver: CachedDriver, sample: Arrays) -> list[Array]:
    """The outputs of a sample."""
    return [one.array for one in driver.call(values(sample))]


def decoded(driver: CachedDriver, sample: Arrays, *, tokens: int) -> Array:
    """What the compiled model goes on with."""
    return driver.decode(values(sample), plan=Plan(tokens=tokens))


def expected(model: Any, sample: Arrays) -> list[Array]:
    """The same by transformers: every row alone, all of it at once."""
    prompt, lengths, continuation = sample
    first = np.zeros((*prompt.shape, model.config.vocab_size), np.float32)
    then = np.zeros((*continuation.shape, model.config.vocab_size), np.float32)
    for row, length in enumerate(lengths):
        ids = np.concatenate([prompt[row, :length], continuation[row]])[None]
        with torch.no_grad():
            logits = model(torch.from_numpy(ids)).logits[0].numpy()
        first[row, :length], then[row] = logits[:length], logits[length:]
    return [first, then]


def generated(model: Any, sample: Arrays, *, tokens: int) -> list[list[int]]:
    """Greedy tokens by transformers' own search, past the end of a text."""
    model.generation_config.eos_token_id = None
    wanted = GenerationConfig(do_sample=False, max_new_tokens=tokens, pad_token_id=0)
    rows = []
    for row, length in zip(sample[0], sample[1], strict=True):
        ids = torch.from_numpy(row[None, :length])
        made = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=wanted)
        rows.append(made[0, length:].tolist())
    return rows


def far(ours: list[Array], theirs: list[Array]) -> float:
    """The largest distance between two lists of arrays, which must have the same shapes."""
    assert [one.shape for one in ours] == [one.shape for one in theirs]
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))


def edges() -> Iterator[Arrays]:
    """One row of one token; and rows that fill the cache to its last position."""
    yield PROMPT[:1, :1], np.array([1]), CONTINUATION[:1, :1]
    longest = POSITIONS - 2
    ids = np.random.default_rng(3).integers(3, WORDS, (2, longest))
    yield ids, np.array([longest, 1]), CONTINUATION[:2, :2]
    yield ids[:, :3], np.array([3, 1]), ids[:, : POSITIONS - 3]
