"""``quantize:`` of a manifest: what Brevitas is told, and what is refused before anything runs."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.made import TARGETS
from tidemill.errors import ManifestError
from tidemill.exporters.brevitas_arguments import arguments
from tidemill.manifest.load import load_manifests
from tidemill.manifest.quantize import QuantizePart

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "manifests/models/tiny-llama-paged.yaml"
BASE: dict[str, Any] = {
    "weights": {"format": "fp8_e4m3_fnuz", "granularity": "per_tensor"},
    "activations": {"format": "fp8_e4m3_fnuz"},
    "calibration": {"text": "text/calibration.txt", "samples": 8, "length": 128},
    "evaluation": {"text": "text/held-out.txt", "rise": 0.05},
    "tokenizer": ["tokenizer/tokenizer.json"],
}


def part(**changes: Any) -> QuantizePart:
    return QuantizePart.model_validate({**BASE, **changes})


def said(**changes: Any) -> str:
    return " ".join(arguments(part(**changes).model_dump(), model="M", prefix="P"))


def refused(**changes: Any) -> str:
    with pytest.raises(ValidationError) as raised:
        part(**changes)
    return str(raised.value)


def test_the_seeds_fp8_command_is_what_brevitas_is_told() -> None:
    """Brevitas' own instructions for shark-ai, but for --export-prefix and the model."""
    words = said()
    for wanted in (
        "--input-bit-width 8",
        "--weight-bit-width 8",
        "--input-quant-format float_fnuz_e4m3",
        "--weight-quant-format float_fnuz_e4m3",
        "--input-quant-granularity per_tensor",
        "--weight-quant-granularity per_tensor",
        "--act-calibration",
        "--input-quant-type sym",
        "--export-target shark",
        "--eval",
    ):
        assert wanted in words
    assert "--quant-sdpa" not in words


def test_quantised_attention_adds_the_two_flags_of_the_seed() -> None:
    assert "--quant-sdpa eager --attn-quant-config qkv" in said(attention="qkv")


def test_int8_is_an_integer_format_with_a_scale_for_each_row() -> None:
    words = said(
        weights={"format": "int8", "granularity": "per_channel"}, activations={"format": "int8"}
    )
    assert "--weight-quant-format int --weight-quant-type sym" in words
    assert "--weight-quant-granularity per_channel" in words
    assert "--input-quant-format int --input-quant-type sym" in words


@pytest.mark.parametrize(
    ("algorithm", "flags"),
    [
        ({"gptq": {}}, "--gptq"),
        ({"gptq": {"act_order": True}}, "--gptq --gpxq-act-order"),
        ({"gptq": {"use_quant_activations": True}}, "--gptq --gpxq-use-quant-activations"),
        ({"gpfq": {}}, "--gpfq"),
        ({"qronos": {}}, "--qronos"),
        ({"magr": {"alpha": 0.02}}, "--magr --magr-alpha 0.02"),
        (
            {"smoothquant": {"alpha": 0.7}},
            "--act-equalization layerwise --act-equalization-alpha 0.7",
        ),
        ({"awq": {}}, "--awq-scale"),
        ({"awq": {"scale": False, "clip": True}}, "--awq-clip"),
        ({"bias_correction": True}, "--bias-corr"),
        ({"rotation": "fused"}, "--rotation fused_no_fx --replace-rmsnorm"),
        (
            {"rotation": "fused", "spinquant": {"steps": 5, "samples": 3, "rate": 0.5}},
            "--rotation fused_no_fx --replace-rmsnorm --fine-tune --nsamples-rot-calibration 3"
            " --max_steps 5 --learning_rate 0.5 --per_device_train_batch_size 1"
            " --lr_scheduler_type cosine --use_cpu true --report_to none --save_strategy no",
        ),
    ],
)
def test_every_algorithm_has_its_flags(algorithm: dict[str, Any], flags: str) -> None:
    assert said(algorithms=algorithm) == said().replace("--eval", f"{flags} --eval")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"algorithms": {"svdquant": {}}}, "svdquant: its low-rank branch"),
        ({"algorithms": {"learned_round": {}}}, "learned_round: Brevitas does not export"),
        ({"algorithms": {"svd_quant": {}}}, "svd_quant: its low-rank branch"),
        ({"algorithms": {"SVDQuant": {}}}, "SVDQuant: its low-rank branch"),
        ({"algorithms": {"learned-round": {}}}, "learned-round: Brevitas does not export"),
        ({"algorithms": {"QuaRot": {}}}, "QuaRot: standalone Hadamard rotations"),
        ({"algorithms": {"quarot": {}}}, "quarot: standalone Hadamard rotations"),
        ({"algorithms": {"spinquant": {}}}, "spinquant: standalone Hadamard rotations"),
        ({"algorithms": {"rotation": "layerwise"}}, "rotation: 'layerwise' leaves standalone"),
        (
            {"activations": {"format": "fp8_e4m3_fnuz", "scale": "dynamic"}},
            "dynamic activation quantisation is not supported by sharktank",
        ),
        (
            {"weights": {"format": "int8", "granularity": "per_group"}},
            "scales per group cannot be reached",
        ),
    ],
)
def test_what_the_seed_calls_unsupported_is_refused_by_name(
    changes: dict[str, Any], reason: str
) -> None:
    assert reason in refused(**changes)


def test_all_that_is_unsupported_is_named_at_once() -> None:
    words = refused(algorithms={"svdquant": {}, "learned_round": {}})
    assert "svdquant" in words
    assert "learned_round" in words


def test_two_ways_of_rounding_exclude_each_other() -> None:
    assert "gptq and qronos both round" in refused(algorithms={"gptq": {}, "qronos": {}})


def test_awq_that_does_neither_of_its_two_things_is_refused() -> None:
    assert "awq: neither scale nor clip" in refused(algorithms={"awq": {"scale": False}})


def test_attention_is_narrowed_to_fp8_only() -> None:
    int8 = {"format": "int8"}
    words = refused(weights=int8, activations=int8, attention="qkv")
    assert "a cache of int8, which the compiler refuses" in words


def test_weights_and_activations_have_one_format() -> None:
    assert "values of one format" in refused(weights={"format": "int8"})


def test_an_unknown_field_is_no_silent_wish() -> None:
    assert "Extra inputs are not permitted" in refused(sparsity=0.5)


def problems(root: Path, *edits: tuple[str, str]) -> str:
    """What loading the paged manifest says after ``edits``."""
    text = MODEL.read_text(encoding="utf-8")
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    models = root / "manifests/models"
    models.mkdir(parents=True)
    (models / MODEL.name).write_text(text, encoding="utf-8")
    shutil.copytree(MODEL.with_suffix(""), models / MODEL.stem)
    (root / "manifests/targets.yaml").write_text(TARGETS, encoding="utf-8")
    (root / "toolchains").mkdir()
    shutil.copy(ROOT / "toolchains/sharktank.lock", root / "toolchains")
    try:
        load_manifests(root)
    except ManifestError as error:
        return error.message
    return ""


def test_the_manifest_as_it_is_has_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path) == ""


def test_a_refusal_says_the_line_and_the_path(tmp_path: Path) -> None:
    edit = (
        "      activations: {format: int8}",
        "      activations: {format: int8, scale: dynamic}",
    )
    words = problems(tmp_path, edit)
    assert "components.int8.quantize.activations: " in words
    assert "dynamic activation quantisation" in words


def test_batches_without_different_lengths_hide_a_wrong_mask(tmp_path: Path) -> None:
    words = problems(tmp_path, ("[68, 64, 55, 49]", "[64, 64, 64, 64]"))
    assert "no sample has rows of different lengths" in words


def test_a_kernel_with_a_wrong_mask_is_refused_where_rows_differ(tmp_path: Path) -> None:
    """A target without a device has no verdict that could say so."""
    kernel = (
        "    dtypes: [f32]\n",
        "    dtypes: [f32]\n    options: {attention_kernel: sharktank}\n",
    )
    words = problems(tmp_path, kernel)
    assert "components.float.options.attention_kernel: attention_kernel 'sharktank' masks" in words


def test_a_row_is_no_longer_than_its_sample(tmp_path: Path) -> None:
    words = problems(tmp_path, ("[68, 64, 55, 49]", "[80, 64, 55, 0]"))
    assert "80 is not within 1 to 79, the sample's seq" in words
    assert "0 is not within 1 to 79" in words


def test_a_narrowed_model_has_to_say_how_often_its_best_tokens_agree(tmp_path: Path) -> None:
    words = problems(tmp_path, ("      factor: 1.25\n      top1: 0.95\n", "      factor: 1.25\n"))
    assert "components.int8.numerics: has no top1: limits of a model that rounds in steps" in words
    assert "components.float" not in words


def test_what_scales_are_found_on_says_nothing_of_the_perplexity(tmp_path: Path) -> None:
    words = problems(tmp_path, ("text: text/held-out.txt", "text: text/calibration.txt"))
    assert "quantize.evaluation.text: is the text that scales are found on" in words


def test_the_same_text_under_another_name_is_the_same_text(tmp_path: Path) -> None:
    held_out = "074544cee02d9ecb3f54d249ed4eefb50bba92652302e8e86acff3ff3e766aaf"
    calibration = "9f36753e8aede32f9ff82bbb43e9373f016ee07a646816b69005cdb58e11bc8f"
    words = problems(tmp_path, (held_out, calibration))
    assert (
        "quantize.evaluation.text: is the text that scales are found on, 'text/calibration.txt'"
        in words
    )


def test_the_same_text_is_told_though_no_source_has_it(tmp_path: Path) -> None:
    calibration = ("calibration: {text: text/calibration.txt", "calibration: {text: text/lost.txt")
    evaluation = ("text: text/held-out.txt", "text: text/lost.txt")
    words = problems(tmp_path, calibration, evaluation)
    assert "source 'text' has no file 'lost.txt'" in words
    assert "quantize.evaluation.text: is the text that scales are found on" in words


def test_a_promise_of_equal_lengths_is_kept_by_the_samples(tmp_path: Path) -> None:
    promise = ("    dtypes: [f32]\n", "    dtypes: [f32]\n    options: {equal_lengths: true}\n")
    assert "are not all equal" in problems(tmp_path, promise)
    kept = (promise, ("[68, 64, 55, 49]", "[64, 64, 64, 64]"))
    assert "components.float" not in problems(tmp_path / "kept", *kept)


def test_lengths_are_to_be_seen_in_the_manifest(tmp_path: Path) -> None:
    drawn = (
        "{kind: values, values: [68, 64, 55, 49]}",
        "{kind: integers, seed: 1, low: 1, high: 9}",
    )
    assert "needs them as listed values" in problems(tmp_path, drawn)


def test_a_text_that_no_source_has_is_named(tmp_path: Path) -> None:
    words = problems(tmp_path, ("text: text/held-out.txt", "text: text/other.txt"))
    assert "source 'text' has no file 'other.txt'" in words


def test_an_exporter_that_takes_no_dataset_cannot_be_quantised(tmp_path: Path) -> None:
    start = "  int8:\n    exporter: "
    words = problems(tmp_path, (f"{start}sharktank_llm", f"{start}causal_lm"))
    assert "exporter 'causal_lm' takes no quantised dataset (those that do: sharktank_llm)" in words
