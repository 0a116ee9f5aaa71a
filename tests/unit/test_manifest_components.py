"""Components and samples of a manifest: one edit gives exactly the problems expected."""

from pathlib import Path

import pytest

from tests.unit.edits import (
    COMPONENT,
    SAMPLE_LINE,
    WEIGHTS,
    Case,
    after_dtypes,
    edited,
    kind,
    problems_of,
)
from tests.unit.made import SHA
from tidemill.exporters import EXPORTERS

SAMPLE = "components.encoder.samples[0]"
IDS = f"{SAMPLE}.inputs.ids"
TEXT = """\
        text: {tokenizer: package/tokenizer.json, texts: [Ebb], length: 64}
        inputs:
"""
CASES: dict[str, Case] = {
    "unknown exporter": (
        [("exporter: sentence_encoder", "exporter: magic")],
        [f"14: {COMPONENT}.exporter: unknown exporter 'magic' (known:"
         f" {', '.join(sorted(EXPORTERS))})"],
    ),
    "a type that the exporter cannot make": (
        [
            ("exporter: sentence_encoder", "exporter: onnx"),
            ("options: {pooling: mean}", "options: {}"),
        ],
        [f"22: {COMPONENT}.dtypes[1]: exporter 'onnx' cannot make 'f16' (it makes: f32)"],
    ),
    "a type twice": (
        [("dtypes: [f32, f16]", "dtypes: [f32, f32]")],
        [f"22: {COMPONENT}.dtypes[1]: duplicate name 'f32'"],
    ),
    "a size twice": (
        [after_dtypes("matrix: {bs: [1, 2, 1]}")],
        [f"23: {COMPONENT}.matrix.bs[2]: duplicate name '1'"],
    ),
    "an axis without sizes": (
        [after_dtypes("matrix: {bs: []}")],
        [f"23: {COMPONENT}.matrix.bs: must not be empty"],
    ),
    "an axis with size zero": (
        [after_dtypes("matrix: {bs: [0]}")],
        [f"23: {COMPONENT}.matrix.bs[0]: must be greater than or equal to 1, got int 0"],
    ),
    "an axis that is a dimension": (
        [after_dtypes("matrix: {batch: [1]}")],
        [f"21: {COMPONENT}.dimensions.batch: 'batch' is a matrix axis too: it cannot be both"],
    ),
    "unknown target": (
        [after_dtypes("targets: [cpu, tpu]")],
        [f"23: {COMPONENT}.targets[1]: unknown target 'tpu' (known: cpu, gfx942)"],
    ),
    "a target twice": (
        [after_dtypes("targets: [cpu, cpu]")],
        [f"23: {COMPONENT}.targets[1]: duplicate name 'cpu'"],
    ),
    "flags of an unknown target": (
        [after_dtypes("flags: {tpu: [--fast]}")],
        [f"23: {COMPONENT}.flags.tpu: unknown target 'tpu' (known: all, cpu, gfx942)"],
    ),
    "a limit of an unknown stage": (
        [after_dtypes("limits: {link: {timeout: 1m}}")],
        [f"23: {COMPONENT}.limits: unknown stage 'link' (known: benchmark, compile, export,"
         " fetch, pack, quantize, reference, validate)"],
    ),
    "limits in unknown units": (
        [after_dtypes("limits: {compile: {timeout: 10 minutes, memory: 4GB}}")],
        [f"23: {COMPONENT}.limits.compile.memory: '4GB' is not a size: write it as 512MiB or 4GiB",
         f"23: {COMPONENT}.limits.compile.timeout: '10 minutes' is not a time: write it as 90s,"
         f" 10m or 2h"],
    ),
    "an undeclared name in a shape": (
        [("[batch, 64]", "[batch, seq]")],
        [f"19: {COMPONENT}.inputs.ids.shape[1]: 'seq' is neither a dimension nor a matrix axis of"
         f" this"
         " component"],
    ),
    "a negative size": (
        [("[batch, 64]", "[batch, -1]")],
        [f"19: {COMPONENT}.inputs.ids.shape[1]: -1 is no size: it must be at least 1"],
    ),
    "bounds the wrong way round": (
        [("{min: 1, max: 8}", "{min: 9, max: 8}")],
        [f"21: {COMPONENT}.dimensions.batch: min 9 is above max 8"],
    ),
    "an unknown source": (
        [("config: [package/config.json]", "config: [parcel/config.json]")],
        [f"15: {COMPONENT}.config[0]: no source 'parcel' (known: package)"],
    ),
    "the same file name from two sources": (
        [("components:", f"  more:\n    from: file:more\n    files:\n      model.safetensors:"
         f" {{path: m,"
          f" sha256: {SHA}}}\ncomponents:"),
         (WEIGHTS, "weights: [package/model.safetensors, more/model.safetensors]")],
        [f"20: {COMPONENT}.weights[1]: 'model.safetensors' comes from 'package' already: give one"
         f" of them"
         " another name"],
    ),
    "synthetic values beside files": (
        [("components:", "  made:\n    from: synthetic:seed=7\ncomponents:"),
         (WEIGHTS, "weights: [made, package/model.safetensors]")],
        [f"18: {COMPONENT}.weights: a synthetic source makes all values: name it alone"],
    ),
    "no weights for a model that has parameters": (
        [(WEIGHTS, "weights: []")],
        [f"13: {COMPONENT}: names no weights, and exporter 'sentence_encoder' has parameters"],
    ),
    "weights for a sampler": (
        [
            ("exporter: sentence_encoder", "exporter: diffusers_scheduler"),
            ("options: {pooling: mean}", "options: {steps: 20}"),
        ],
        [f"16: {COMPONENT}.weights: exporter 'diffusers_scheduler' has no parameters"],
    ),
    "configuration from a synthetic source": (
        [("components:", "  made:\n    from: synthetic:seed=7\ncomponents:"),
         ("config: [package/config.json]", "config: [made]")],
        [f"17: {COMPONENT}.config[0]: source 'made' is synthetic: it has no files"],
    ),
    "an absolute tolerance without a reason": (
        [after_dtypes("numerics: {absolute: {max_abs: 1.0e-5}}")],
        [f"23: {COMPONENT}.numerics.absolute.reason: is missing"],
    ),
    "a factor that asks for more than torch can": (
        [after_dtypes("numerics: {factor: 0.5}")],
        [f"23: {COMPONENT}.numerics.factor: must be greater than 1, got float 0.5"],
    ),
    "a sample without an input": (
        [(f"        inputs:\n{SAMPLE_LINE}", "        inputs: {}")],
        [f"24: {SAMPLE}: says nothing about input 'ids'"],
    ),
    "a sample with an unknown input": (
        [(SAMPLE_LINE, f"{SAMPLE_LINE}\n          mask: {{kind: values, values: [1]}}")],
        [f"28: {SAMPLE}.inputs.mask: is no input of this component"],
    ),
    "a sample without a size": (
        [("        dims: {batch: 2}\n", "")],
        [f"24: {SAMPLE}: gives no size for dimension 'batch'"],
    ),
    "a sample with an unknown dimension": (
        [("dims: {batch: 2}", "dims: {batch: 2, seq: 3}")],
        [f"25: {SAMPLE}.dims.seq: is no dimension of this component"],
    ),
    "a sample outside the bounds": (
        [("dims: {batch: 2}", "dims: {batch: 9}")],
        [f"25: {SAMPLE}.dims.batch: 9 is not within 1 to 8"],
    ),
    "random values without a seed": (
        [kind("{kind: integers, low: 0, high: 9}")],
        [f"27: {IDS}: kind integers needs seed"],
    ),
    "values with a seed": (
        [kind("{kind: values, seed: 1, values: [1]}")],
        [f"27: {IDS}: kind values takes no seed",
         f"27: {IDS}.values: has shape [1], but the input is [batch: 2, 64]"],
    ),
    "unknown kind": (
        [kind("{kind: gaussian, seed: 1}")],
        [f"27: {IDS}.kind: unknown value 'gaussian' (known: 'normal', 'uniform', 'integers',"
         f" 'values',"
         " 'text', 'log_mel' or 'output')"],
    ),
    "text without text": (
        [kind("{kind: text, field: ids}")],
        [f"27: {IDS}: is made from text, but the sample has none"],
    ),
    "a tokenizer that is no file": (
        [("        inputs:\n", TEXT.replace("tokenizer.json", "tokens.json"))],
        [f"26: {SAMPLE}.text.tokenizer: source 'package' has no file 'tokens.json' (did you"
         " mean 'tokenizer.json'? known: config.json, model.safetensors, tokenizer.json)"],
    ),
    "text": ([("        inputs:\n", TEXT), kind("{kind: text, field: ids}")], []),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_rule_says_where_it_hurts(tmp_path: Path, case: str) -> None:
    edits, expected = CASES[case]
    assert problems_of(tmp_path, model=edited(*edits)) == expected
