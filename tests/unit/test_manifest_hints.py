"""What a message about a manifest says beside what is wrong: near names, and each mistake once."""

from pathlib import Path

import pytest

from tests.unit.edits import COMPONENT, FILE, WEIGHTS, Case, after_dtypes, edited, problems_of
from tests.unit.made import MODEL, write_workspace
from tidemill.errors import ManifestError
from tidemill.manifest.load import load_manifests

SLIPS: dict[str, Case] = {
    "a key far down": (
        [after_dtypes("quantize: {algorithms: {awqq: {}, magr: {alhpa: 1.0}}}")],
        [f"23: {COMPONENT}.quantize.activations: is missing",
         f"23: {COMPONENT}.quantize.algorithms.awqq: unknown key (did you mean 'awq'? known: awq,"
         " bias_correction, gpfq, gptq, magr, qronos, rotation, smoothquant, spinquant)",
         f"23: {COMPONENT}.quantize.algorithms.magr.alhpa: unknown key (did you mean 'alpha'?"
         " known: alpha)"],
    ),
    "a key of an item of a list": (
        [("      - name: noise\n", "      - name: noise\n        dim: {}\n")],
        [f"25: {COMPONENT}.samples[0].dim: unknown key (did you mean 'dims'? known: dims, greedy,"
         " inputs, name, text)"],
    ),
    "a key that is like none": (
        [("license: MIT", "license: MIT\nxyz: 1")],
        ["4: xyz: unknown key (known: components, fails_like, homepage, license, name, sources,"
         " title)"],
    ),
    "an exporter": (
        [("exporter: sentence_encoder", "exporter: sentence_encodr")],
        [f"14: {COMPONENT}.exporter: unknown exporter 'sentence_encodr' (did you mean"
         " 'sentence_encoder'?"],
    ),
    "a target": (
        [after_dtypes("targets: [gfx943]")],
        [f"23: {COMPONENT}.targets[0]: unknown target 'gfx943' (did you mean 'gfx942'? known: cpu,"
         " gfx942)"],
    ),
    "a target of flags": (
        [after_dtypes("flags: {gfx943: [--x]}")],
        [f"23: {COMPONENT}.flags.gfx943: unknown target 'gfx943' (did you mean 'gfx942'? known:"
         " all, cpu, gfx942)"],
    ),
    "a file": (
        [(WEIGHTS, "weights: [package/model.safetensor]")],
        [f"16: {COMPONENT}.weights[0]: source 'package' has no file 'model.safetensor' (did you"
         " mean 'model.safetensors'? known: config.json, model.safetensors, tokenizer.json)"],
    ),
    "a source": (
        [(WEIGHTS, "weights: [packages/model.safetensors]")],
        [f"16: {COMPONENT}.weights[0]: no source 'packages' (did you mean 'package'? known:"
         " package)"],
    ),
}  # fmt: skip
#: Three components that share samples and targets by alias, and one with lists of its own.
SHARED = MODEL.replace("    dtypes:", "    targets: &where [cpu, gfx942]\n    dtypes:") + "".join(
    f"""\
  {name}:
    exporter: sentence_encoder
    config: [package/config.json]
    weights: [package/model.safetensors]
    inputs: {{ids: {{dtype: i64, shape: [1, 64]}}}}
    dtypes: [f32]
    targets: {targets}
    samples: [{{name: x, inputs: {{ids: {{kind: integers, seed: 1, low: 0, high: 9}}}}}}]
"""
    for name, targets in (("a", "*where"), ("b", "*where"), ("own", "[cpu]"))
)


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_in_a_name_is_answered_with_the_nearest(tmp_path: Path, slip: str) -> None:
    edits, expected = SLIPS[slip]
    found = problems_of(tmp_path, model=edited(*edits))
    for line in expected:
        assert any(one.startswith(line) for one in found), found


def message_of(root: Path, *, model: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load_manifests(write_workspace(root, model=model))
    return caught.value.message.splitlines()


def test_a_mistake_at_an_anchor_is_told_once_with_how_many_use_it(tmp_path: Path) -> None:
    assert SHARED.count("gfx942") == 1
    assert message_of(tmp_path, model=SHARED.replace("gfx942", "gfx943")) == [
        f"{FILE}:22: {COMPONENT}.targets[1]: unknown target 'gfx943' (did you mean 'gfx942'?"
        " known: cpu, gfx942), and 2 more places that use it",
        "1 problem in the manifests",
    ]


def test_one_more_place_is_one(tmp_path: Path) -> None:
    model = SHARED.replace("gfx942", "7").replace("*where", "[cpu]", 1)
    assert message_of(tmp_path, model=model)[0].endswith(
        f"{COMPONENT}.targets[1]: expected text, got int 7, and 1 more place that uses it"
    )


def test_what_yaml_itself_refuses_at_an_anchor_is_told_once(tmp_path: Path) -> None:
    assert message_of(tmp_path, model=SHARED.replace("gfx942", "!!binary x")) == [
        f"{FILE}:22: {COMPONENT}.targets[1]: tag tag:yaml.org,2002:binary is not read, and 2 more"
        " places that use it",
        "1 problem in the manifests",
    ]


def test_the_same_mistake_twice_in_one_line_is_two(tmp_path: Path) -> None:
    model = SHARED.replace("[cpu, gfx942]", "[gfx943, [gfx943], gfx943]").replace("*where", "[cpu]")
    told = message_of(tmp_path, model=model)
    assert [line.split(": ")[1] for line in told[:-1]] == [
        f"{COMPONENT}.targets[{index}]" for index in range(3)
    ] + [f"{COMPONENT}.targets[2]"]
