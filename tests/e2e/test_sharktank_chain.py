"""Checkpoint → Brevitas → sharktank → cpu and gfx942 by one command each, and what must not pass.

Behind TIDEMILL_TEST_SHARKTANK_TOOLCHAIN, which `make test-long` sets: the environment takes 2 GB.
"""

import json
import os
from pathlib import Path

import pytest
import yaml

from tests.paged_chain import FILE, KNOWN, MODEL, agreement, run, verdict, workspace
from tests.workbench import REPO, Workbench

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("TIDEMILL_TEST_SHARKTANK_TOOLCHAIN"),
        reason="the sharktank toolchain is not synced (make test-long does it)",
    ),
]

NARROWED = ("int8", "int8_rows", "int8_smooth", "int8_tuned", "fp8", "fp8_attention")
#: What manifests/expectations.yaml has reasons for.
LOST = {
    "compile:fp8_attention/gfx942": "expected-failure",
    "validate:fp8_attention/gfx942": "blocked",
    "validate:fp8_fused/cpu": "expected-failure",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """Everything built once."""
    bench = workspace(tmp_path_factory.mktemp("chain") / "work")
    outcomes = run(bench)
    # fp8_attention and fp8_fused are narrowed in one way: once.
    fine = ("built", "reused", "unvalidated")
    assert {name: word for name, word in outcomes.items() if word not in fine} == LOST
    return bench


def test_every_intermediate_is_in_the_store(built: Workbench) -> None:
    at = f"{MODEL}/fp8/f32-bs4"
    made = {
        (stage, output["name"])
        for stage in ("quantize", "pack", "export")
        for output in built.record(stage, at)["outputs"]
    }
    assert made == {
        ("quantize", "dataset.irpa"),
        ("quantize", "quantization.json"),
        ("pack", "model.irpa"),
        ("export", "model.mlir"),
        ("export", "config.json"),
    }
    for target in ("cpu", "gfx942"):
        (vmfb,) = built.record("compile", f"{at}/{target}")["outputs"]
        assert vmfb["kind"] == "vmfb"


def test_the_float_model_is_transformers_own_in_every_token(built: Workbench) -> None:
    told = verdict(built, "float")
    assert told["holds"]
    assert agreement(told) == {"prompt_logits": 1.0, "logits": 1.0}
    assert told["summary"]["rel_l2"] < 1e-5


@pytest.mark.parametrize("component", NARROWED)
def test_narrowed_models_are_what_their_datasets_say(built: Workbench, component: str) -> None:
    told = verdict(built, component)
    assert told["holds"], told["reasons"]
    assert min(agreement(told).values()) >= told["contract"]["top1"] >= 0.9


@pytest.mark.parametrize("component", NARROWED)
def test_perplexity_before_and_after_is_in_the_verdict(built: Workbench, component: str) -> None:
    part = verdict(built, component)["quantisation"]
    before, after = part["perplexity"]["float"], part["perplexity"]["narrowed"]
    assert before != after
    assert abs(after / before - 1) < part["limit"]


def test_a_second_run_has_nothing_to_do(built: Workbench) -> None:
    outcomes = run(built)
    assert "built" not in outcomes.values()


def test_another_kernel_and_another_name_of_the_base_quantise_nothing_again(
    built: Workbench, tmp_path: Path
) -> None:
    bench = built.copy(tmp_path / "work")
    bench.edit(
        FILE, ("  fp8:\n    exporter: sharktank_llm", "  fp8:\n    options: {attention_kernel: "
               "decomposed}\n    exporter: sharktank_llm")
    )  # fmt: skip
    outcomes = run(bench, "--component", "fp8", "--target", "cpu")
    assert outcomes["quantize:fp8"] == "reused"
    assert outcomes["export:fp8"] == "built"
    assert outcomes["validate:fp8/cpu"] == "built"


def test_kernel_sharktank_holds_for_rows_of_one_length(built: Workbench, tmp_path: Path) -> None:
    """Its float16 inside is allowed for. For others it is refused (tests of manifests)."""
    bench = built.copy(tmp_path / "work")
    raw = yaml.safe_load((bench.root / FILE).read_text(encoding="utf-8"))
    alone = raw["components"]["float"]
    alone["options"] = {"attention_kernel": "sharktank", "equal_lengths": True}
    alone["samples"][0]["inputs"]["lengths"]["values"] = [60, 60, 60, 60]
    wide = {"max_abs": 0.03, "reason": "the kernel computes in float16"}
    alone["numerics"] = {"logits": alone["outputs"], "absolute": wide}
    # The others have the same sample and promise nothing of it.
    raw["components"] = {"float": alone}
    bench.write(FILE, yaml.safe_dump(raw, sort_keys=False))
    (bench.root / KNOWN).unlink()
    outcomes = run(bench, "--target", "cpu")
    assert outcomes["compile:float/cpu"] == "built"
    assert outcomes["validate:float/cpu"] == "built"


@pytest.mark.parametrize("component", ["float", "fp8", "fp8_fused"])
def test_both_functions_are_measured_with_the_cache_of_config_json(
    built: Workbench, component: str
) -> None:
    """What Brevitas' instructions measure; the last with a cache of fp8, as theirs."""
    record = built.record("benchmark", f"{MODEL}/{component}/f32-bs4/cpu")
    prefill, decode = record["facts"]["benchmark"]["functions"]
    assert (prefill["function"], prefill["tokens"]) == ("prefill_bs4", 4 * 128)
    assert (decode["function"], decode["tokens"]) == ("decode_bs4", 4)
    assert min(one["tokens_per_second"] for one in (prefill, decode)) > 0


def test_a_configuration_of_transformers_4_makes_the_same_program(
    built: Workbench, tmp_path: Path
) -> None:
    bench = built.copy(tmp_path / "work")
    path = bench.root / f"manifests/models/{MODEL}/config.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    base, kind = raw.pop("rope_parameters")["rope_theta"], raw.pop("dtype")
    path.write_text(json.dumps({**raw, "rope_theta": base, "torch_dtype": kind}), encoding="utf-8")
    old = (REPO / f"manifests/models/{MODEL}/config.json").read_bytes()
    assert path.read_bytes() != old
    bench.edit(FILE, (committed_sha(), bench.sha(f"{MODEL}/config.json")))
    outcomes = run(bench, "--component", "float", "--target", "cpu")
    assert outcomes["pack:float"] == "built"
    address = f"{MODEL}/float/f32-bs4"
    for stage in ("pack", "export"):
        made = [
            r["outputs"] for r in bench.records if (r["step"], r["address"]) == (stage, address)
        ]
        assert made == [made[0]] * len(made)


def committed_sha() -> str:
    """The digest of the committed configuration, as the manifest pins it."""
    return Workbench(root=REPO, store=REPO).sha(f"{MODEL}/config.json")
