"""Language models with a cache against transformers, on tiny models: ``findings.json``."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tests.cached_models import (
    CACHED,
    CONTINUATION,
    LENGTHS,
    POSITIONS,
    PROMPT,
    SAMPLE,
    WORDS,
    Built,
    build,
    called,
    conversation,
    decoded,
    edges,
    expected,
    far,
    generated,
    make,
    spec_of,
)
from tests.exporter_probes import message
from tidemill.exporters.base import Dimension
from tidemill.generating import CompiledModel, read_sizes
from tidemill.images.programs import Device, Program
from tidemill.steps.work.drivers.cached_lm import open_driver
from tidemill.steps.work.greedy import Plan, decode
from tidemill.steps.work.runner import Session

TOKENS = 16
Findings = dict[str, Any]
SIZES = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_SCALED = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def llama_config() -> LlamaConfig:
    """Two queries a key, heads of another width than hidden/heads, the rotation of Llama 3.1."""
    return LlamaConfig(
        **SIZES,
        num_key_value_heads=2,
        head_dim=12,
        rope_parameters=_SCALED,
        tie_word_embeddings=False,
        bos_token_id=1,
    )


def llama() -> Findings:
    """All that is to be known of one family."""
    config = llama_config()
    model = make(LlamaForCausalLM, config)
    # An end that comes in the text, which no search may stop at.
    config.eos_token_id = [2, generated(model, SAMPLE, tokens=3)[0][2]]
    Path("config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    built = build()
    return {
        "ends": config.eos_token_id,
        **against(model, built),
        "cache": cache(model, built),
        "padding": padding(built),
        "again": again(built),
        "same": same_mlir(),
        "about": json.loads(built.config.read_text(encoding="utf-8")),
        "reference": reference(model),
        "refusals": refusals(),
        "driver": driver_refusals(built),
    }


def qwen() -> Findings:
    """Biases, one matrix for words in and out, one key for all queries; in bfloat16, too."""
    config = Qwen2Config(**SIZES, num_key_value_heads=1, tie_word_embeddings=True)
    model = make(Qwen2ForCausalLM, config)
    found = against(model, build())
    exact = CACHED.program(spec_of(), "f64")(SAMPLE)
    halves = {}
    for dtype in ("bf16", "f16"):
        ours = called(build(dtype=dtype).driver(), SAMPLE)
        torchs = CACHED.program(spec_of(dtype=dtype), dtype)(SAMPLE)
        halves[dtype] = {"ours": far(ours, exact), "torch": far(torchs, exact)}
    return {**found, "halves": halves}


def gpt2() -> Findings:
    """Learned positions, no rotation, other names for all sizes."""
    config = GPT2Config(vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    return against(make(GPT2LMHeadModel, config), build())


def against(model: Any, built: Built) -> Findings:
    """The compiled module against transformers: logits of every kind of sample, greedy tokens."""
    driver = built.driver()
    wanted = expected(model, SAMPLE)
    return {
        "error": far(called(driver, SAMPLE), wanted),
        "size": max(float(np.abs(one).max()) for one in wanted),
        "edges": [far(called(driver, one), expected(model, one)) for one in edges()],
        "ours": decoded(driver, SAMPLE, tokens=TOKENS).tolist(),
        "theirs": generated(model, SAMPLE, tokens=TOKENS),
    }


def cache(model: Any, built: Built) -> Findings:
    """What stands in the cache, as ``tidemill generate`` keeps it, against transformers' own."""
    sizes = read_sizes(built.config)
    program = Program(Device("local-sync"), vmfb=built.vmfb, irpa=built.irpa)
    talk = CompiledModel(program, sizes=sizes)
    length = len(PROMPT[0])
    with torch.no_grad():
        theirs = model(torch.from_numpy(PROMPT[:1]), use_cache=True).past_key_values
    before = _held(talk)
    talk.prefill(PROMPT[:1])
    filled = _held(talk)
    talk.decode(CONTINUATION[:1, :1], np.array([length]))
    after = _held(talk)
    keys = [torch.stack([layer.keys for layer in theirs.layers]).numpy()]
    keys.append(torch.stack([layer.values for layer in theirs.layers]).numpy())
    return {
        "empty": all(not one.any() for one in before),
        "as transformers'": far([one[..., :length, :] for one in filled], keys),
        "rest untouched": all(not one[..., length:, :].any() for one in filled),
        "next place": [bool(one[..., length, :].all()) for one in after],
        "others": far([np.delete(one, length, -2) for one in filled], _without(after, length)),
        "second starts empty": all(
            not one.any() for one in _held(CompiledModel(program, sizes=sizes))
        ),
    }


def _held(talk: CompiledModel) -> list[Any]:
    return [np.array(one.to_host()) for one in talk._cache]


def _without(held: list[Any], place: int) -> list[Any]:
    return [np.delete(one, place, -2) for one in held]


def padding(built: Built) -> Findings:
    """Other tokens behind the ends of rows, and more of them."""
    driver = built.driver()
    behind = np.arange(PROMPT.shape[1])[None, :] >= LENGTHS[:, None]
    other = np.where(behind, (PROMPT + 7) % WORDS, PROMPT)
    longer = np.pad(other, ((0, 0), (0, 6)), constant_values=5)
    plain = called(driver, SAMPLE)
    wide = called(driver, (longer, LENGTHS, CONTINUATION))
    return {
        "changed": int((other != PROMPT).sum()),
        "equal": _equal(called(driver, (other, LENGTHS, CONTINUATION)), plain),
        "wider": far([wide[0][:, : PROMPT.shape[1]], wide[1]], plain),
        "zero": not plain[0][behind].any(),
    }


def again(built: Built) -> bool:
    """A sample gives the same bits after a longer one was asked with the same driver."""
    used, fresh = built.driver(), built.driver()
    for one in edges():
        called(used, one)
    decoded(used, SAMPLE, tokens=TOKENS)
    return _equal(called(used, SAMPLE), called(fresh, SAMPLE))


def _equal(ours: list[Any], theirs: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def same_mlir() -> bool:
    """Weights change nothing in the MLIR."""
    loaded = Path("loaded/model.mlir")
    loaded.parent.mkdir()
    CACHED.lower(spec_of(), loaded, with_weights=True)
    return loaded.read_bytes() == Path("config/model.mlir").read_bytes()


def reference(model: Any) -> Findings:
    """The eager program: outputs and greedy tokens of transformers, in float32 and float64."""
    program, exact = (CACHED.program(spec_of(), precision) for precision in ("f32", "f64"))
    return {
        "error": far(program(SAMPLE), expected(model, SAMPLE)),
        "exact": str(exact(SAMPLE)[0].dtype),
        "tokens": decode(program, SAMPLE, plan=Plan(tokens=TOKENS)).tolist(),
    }


def _changed(field: str, **to: Any) -> tuple[Any, ...]:
    inputs = conversation()["inputs"]
    return tuple(replace(one, **to) if one.name == field else one for one in inputs)


def refusals() -> Findings:
    """What each wrong manifest is answered."""
    fields = conversation()
    bounds = fields["dynamic"]
    cases: Mapping[str, dict[str, Any]] = {
        "one input": {"inputs": fields["inputs"][:1]},
        "misnamed": {"inputs": _changed("lengths", name="length")},
        "another type": {"inputs": _changed("lengths", dtype="i32")},
        "fixed batch": {"dynamic": {name: bounds[name] for name in ("seq", "steps")}},
        "other batches": {"inputs": _changed("lengths", shape=("rows",))},
        "no positions": {"options": {}},
        "few positions": {"options": {"positions": 2}},
        "too long": {"dynamic": {**bounds, "seq": Dimension(min=1, max=POSITIONS - 1)}},
    }
    return {
        name: message(partial(CACHED.export, spec_of(**change), Path("no.mlir")))
        for name, change in cases.items()
    }


def driver_refusals(built: Built) -> Findings:
    """What a driver answers to wrong files and samples, and the reference to wrong lengths."""
    session = Session("local-sync", module=built.vmfb, parameters=built.irpa)
    Path("odd.json").write_text('{"cache": {"layers": 2}}', encoding="utf-8")
    Path("none.json").write_text("{}", encoding="utf-8")
    files = {name: {"config.json": Path(f"{name}.json")} for name in ("odd", "none")}
    driver, program = built.driver(), CACHED.program(spec_of(), "f32")
    long = np.repeat(CONTINUATION, 5, axis=1)
    calls: Mapping[str, Callable[[], object]] = {
        "no file": lambda: open_driver(session, fields={}, config={}),
        **{
            name: partial(open_driver, session, fields={}, config=config)
            for name, config in files.items()
        },
        "too long": lambda: called(driver, (PROMPT, LENGTHS, long)),
        "too many tokens": lambda: decoded(driver, SAMPLE, tokens=POSITIONS - 6),
        "no token": lambda: program([PROMPT, np.array([7, 0, 5]), CONTINUATION]),
        "more than there are": lambda: program([PROMPT, np.array([7, 8, 5]), CONTINUATION]),
        "nothing to go on with": lambda: program.generate(
            [PROMPT, np.array([7, 0, 5]), CONTINUATION], tokens=2
        ),
    }
    return {name: message(call) for name, call in calls.items()}


PROBES = {probe.__name__: probe for probe in (llama, qwen, gpt2)}

if __name__ == "__main__":
    torch.set_num_threads(1)
    Path("findings.json").write_text(json.dumps(PROBES[sys.argv[1]]()), encoding="utf-8")
