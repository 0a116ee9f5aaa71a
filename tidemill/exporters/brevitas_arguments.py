"""``quantize:`` of a manifest as the command line of brevitas_ptq_llm, version 0.13. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

#: Our names of formats → bit width and Brevitas' name.
FORMATS = {"int8": (8, "int"), "fp8_e4m3_fnuz": (8, "float_fnuz_e4m3")}


def arguments(chosen: Mapping[str, Any], *, model: str, prefix: str) -> list[str]:
    """The arguments for ``chosen``, which manifest.quantize has checked, into folder ``prefix``."""
    weights, inputs = chosen["weights"], chosen["activations"]
    calibration = chosen["calibration"]
    weight_bits, weight_format = FORMATS[weights["format"]]
    input_bits, input_format = FORMATS[inputs["format"]]
    return [
        *("--model", model, "--dtype", "float32"),
        *("--seed", str(calibration["seed"])),
        *("--nsamples", str(calibration["samples"]), "--seqlen", str(calibration["length"])),
        *("--weight-bit-width", str(weight_bits), "--weight-quant-format", weight_format),
        *("--weight-quant-type", "sym", "--weight-quant-granularity", weights["granularity"]),
        *("--input-bit-width", str(input_bits), "--input-quant-format", input_format),
        *("--input-quant-type", "sym", "--input-quant-granularity", "per_tensor"),
        *("--input-scale-type", inputs["scale"], "--act-calibration"),
        *_attention(chosen["attention"]),
        *(["--quantize-last-layer"] if chosen["last_layer"] else []),
        *_algorithms(chosen["algorithms"]),
        *("--eval", "--export-target", "shark", "--export-prefix", prefix),
    ]


def _attention(parts: str | None) -> list[str]:
    return ["--quant-sdpa", "eager", "--attn-quant-config", parts] if parts else []


def _algorithms(chosen: Mapping[str, Any]) -> Iterator[str]:
    if chosen["rotation"]:
        # Fused rotations go through norms, whose factors move into the next layers for it.
        yield from ("--rotation", "fused_no_fx", "--replace-rmsnorm")
    if spin := chosen["spinquant"]:
        yield from ("--fine-tune", "--nsamples-rot-calibration", str(spin["samples"]))
        # Of the trainer of transformers, which Brevitas hands them to.
        yield from ("--max_steps", str(spin["steps"]), "--learning_rate", str(spin["rate"]))
        yield from ("--per_device_train_batch_size", "1", "--lr_scheduler_type", "cosine")
        yield from ("--use_cpu", "true", "--report_to", "none", "--save_strategy", "no")
    if smooth := chosen["smoothquant"]:
        yield from ("--act-equalization", "layerwise")
        yield from ("--act-equalization-alpha", str(smooth["alpha"]))
    if awq := chosen["awq"]:
        yield from (f"--awq-{flag}" for flag in ("scale", "clip") if awq[flag])
    if magr := chosen["magr"]:
        yield from ("--magr", "--magr-alpha", str(magr["alpha"]))
    for name in ("gptq", "gpfq", "qronos"):
        if rounding := chosen[name]:
            yield f"--{name}"
            yield from ["--gpxq-act-order"] if rounding["act_order"] else []
            yield from (
                ["--gpxq-use-quant-activations"] if rounding.get("use_quant_activations") else []
            )
    if chosen["bias_correction"]:
        yield "--bias-corr"
