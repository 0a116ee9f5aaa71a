"""The exporters that exist, as data: importing this loads none of them.

``packages`` are the toolchain packages whose version is part of an export's key, beside those that
every export uses. ``options`` are what a manifest may set under ``options:``, and to what; the
exporters check again what they are given. ``weightless`` says
that MLIR needs the configuration only. ``driver`` is how its program is called, see
steps/work/drivers: one other than ``main`` needs what export writes to config.json. ``parameters``
says that there are weights at all, ``reads_parameters`` that export reads the packed ones,
``quantizes`` that packing takes what step ``quantize`` makes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

#: The only function of most modules, and the driver that calls it.
MAIN = "main"


#: What a value can be, in the words of messages.
Kind = Literal[
    "text",
    "a whole number",
    "a number",
    "true or false",
    "a list of texts",
    "a list of whole numbers",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What one option may be set to: one of ``choices`` if there are any, at least ``least``.

    ``needed`` says that the exporter has no value of its own for it.
    """

    kind: Kind
    choices: tuple[str, ...] = ()
    least: int | None = None
    needed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterInfo:
    """Where an exporter lives and what its output depends on."""

    module: str
    packages: tuple[str, ...]
    options: Mapping[str, Option] = field(default_factory=dict)
    weightless: bool = True
    driver: str = MAIN
    parameters: bool = True
    reads_parameters: bool = False
    quantizes: bool = False
    dtypes: frozenset[str] = frozenset({"f32", "f16", "bf16"})


_FLAG = Option(kind="true or false")
_SIZE = Option(kind="a whole number", least=1)
_NEEDED_SIZE = Option(kind="a whole number", least=1, needed=True)
#: What every torch exporter takes: patterns of tensors without use, and of unused parameters.
_TORCH = {"ignore": Option(kind="a list of texts"), "unused": Option(kind="a list of texts")}
_DIFFUSERS = ("diffusers", "torch", "transformers")
#: Types with the range of float32, which T5's sums need.
_WIDE = frozenset({"f32", "bf16"})
_GUIDANCE = {"guidance": _FLAG}
_LLAMA2C = {
    **dict.fromkeys(
        ("dim", "heads", "hidden_dim", "kv_heads", "layers", "max_seq", "vocab"), _NEEDED_SIZE
    ),
    "shared_classifier": _FLAG,
}
#: How many tokens a cache holds; of a prompt and an answer, so one or two are none.
_POSITIONS = {"positions": Option(kind="a whole number", least=3, needed=True)}
_QUANTIZE = {"quantize": Option(kind="text", choices=("int8", "int4", "fp8"), needed=True)}
_ELEMENT_TYPE = Option(kind="text", choices=("f32", "f16", "bf16", "f8E4M3FNUZ", "f8E4M3FN"))

EXPORTERS = {
    "sentence_encoder": ExporterInfo(
        module="tidemill.exporters.sentence_encoder",
        packages=("torch", "transformers"),
        options=_TORCH
        | {"pooling": Option(kind="text", choices=("mean", "cls")), "normalize": _FLAG},
    ),
    "llama2c": ExporterInfo(
        module="tidemill.exporters.llama2c",
        packages=("torch", "transformers"),
        options=_TORCH | _LLAMA2C,
    ),
    "quantized_llama2c": ExporterInfo(
        module="tidemill.exporters.quantized_llama2c",
        packages=("torch", "torchao", "transformers"),
        options=_TORCH | _LLAMA2C | _QUANTIZE,
        dtypes=frozenset({"f32", "f16"}),
    ),
    "quantized_lm": ExporterInfo(
        module="tidemill.exporters.quantized_lm",
        packages=("torch", "torchao", "transformers"),
        options=_TORCH | _QUANTIZE,
        dtypes=frozenset({"f32", "f16"}),
    ),
    "mobilenet_v2": ExporterInfo(
        module="tidemill.exporters.mobilenet_v2",
        packages=("torch",),
        options=_TORCH | {"classes": _SIZE, "width": Option(kind="a number", least=0)},
    ),
    "causal_lm": ExporterInfo(
        module="tidemill.exporters.causal_lm",
        packages=("torch", "transformers"),
        options=_TORCH,
    ),
    "cached_lm": ExporterInfo(
        module="tidemill.exporters.cached_lm",
        packages=("torch", "transformers"),
        options=_TORCH | _POSITIONS,
        driver="cached_lm",
    ),
    "cached_gguf": ExporterInfo(
        module="tidemill.exporters.cached_gguf",
        packages=("gguf", "tokenizers", "torch", "transformers"),
        options=_TORCH | _POSITIONS,
        driver="cached_lm",
    ),
    "cached_llama2c": ExporterInfo(
        module="tidemill.exporters.cached_llama2c",
        packages=("tokenizers", "torch", "transformers"),
        options=_TORCH | _LLAMA2C | _POSITIONS,
        driver="cached_lm",
    ),
    "quantized_cached_lm": ExporterInfo(
        module="tidemill.exporters.quantized_cached_lm",
        packages=("torch", "torchao", "transformers"),
        options=_TORCH | _POSITIONS | _QUANTIZE,
        driver="cached_lm",
        dtypes=frozenset({"f32", "f16"}),
    ),
    "quantized_cached_llama2c": ExporterInfo(
        module="tidemill.exporters.quantized_cached_llama2c",
        packages=("tokenizers", "torch", "torchao", "transformers"),
        options=_TORCH | _LLAMA2C | _POSITIONS | _QUANTIZE,
        driver="cached_lm",
        dtypes=frozenset({"f32", "f16"}),
    ),
    "clip_text": ExporterInfo(
        module="tidemill.exporters.clip_text",
        packages=("torch", "transformers"),
        options=_TORCH
        | {
            "outputs": Option(kind="text", choices=("hidden", "pooled", "both")),
            "projection": _FLAG,
        },
    ),
    "diffusers_unet": ExporterInfo(
        module="tidemill.exporters.diffusers_unet",
        packages=_DIFFUSERS,
        options=_TORCH | _GUIDANCE,
    ),
    "diffusers_vae": ExporterInfo(
        module="tidemill.exporters.diffusers_vae",
        packages=_DIFFUSERS,
        options=_TORCH | {"direction": Option(kind="text", choices=("decode", "encode"))},
    ),
    "score_unet": ExporterInfo(
        module="tidemill.exporters.score_unet",
        packages=("torch",),
        options=_TORCH
        | {
            "first": _SIZE,
            "multiples": Option(kind="a list of whole numbers", least=1),
            "width": _SIZE,
        },
    ),
    "diffusers_scheduler": ExporterInfo(
        module="tidemill.exporters.diffusers_scheduler",
        packages=("diffusers", "torch"),
        options={
            "image_tokens": _SIZE,
            "role": Option(kind="text", choices=("step", "start")),
            "steps": _NEEDED_SIZE,
            "timestep": Option(kind="text", choices=("train", "fraction")),
        },
        parameters=False,
    ),
    "scheduled_unet": ExporterInfo(
        module="tidemill.exporters.scheduled_unet",
        packages=_DIFFUSERS,
        options=_TORCH | _GUIDANCE,
    ),
    "sdxl_prompt_encoder": ExporterInfo(
        module="tidemill.exporters.sdxl_prompt_encoder",
        packages=("torch", "transformers"),
        options=_TORCH | _GUIDANCE,
    ),
    "t5_encoder": ExporterInfo(
        module="tidemill.exporters.t5_encoder",
        packages=("torch", "transformers"),
        options=_TORCH,
        dtypes=_WIDE,
    ),
    "sd3_prompt_encoder": ExporterInfo(
        module="tidemill.exporters.sd3_prompt_encoder",
        packages=("torch", "transformers"),
        options=_TORCH | _GUIDANCE,
        dtypes=_WIDE,
    ),
    "sd3_transformer": ExporterInfo(
        module="tidemill.exporters.sd3_transformer",
        packages=_DIFFUSERS,
        options=_TORCH | _GUIDANCE,
    ),
    "flux_transformer": ExporterInfo(
        module="tidemill.exporters.flux_transformer",
        packages=_DIFFUSERS,
        options=_TORCH,
    ),
    "sharktank_llm": ExporterInfo(
        module="tidemill.exporters.sharktank_llm",
        packages=("brevitas", "sharktank", "torch", "transformers", "wave-lang"),
        options={
            "attention_dtype": _ELEMENT_TYPE,
            "attention_kernel": Option(kind="text", choices=("torch", "decomposed", "sharktank")),
            "block_seq_stride": _SIZE,
            "device_block_count": _SIZE,
            "equal_lengths": _FLAG,
            "kv_cache_dtype": _ELEMENT_TYPE,
        },
        driver="paged_lm",
        reads_parameters=True,
        quantizes=True,
        # Brevitas and sharktank's import keep weights in float32.
        dtypes=frozenset({"f32"}),
    ),
    "whisper_encoder": ExporterInfo(
        module="tidemill.exporters.whisper_encoder",
        packages=("torch", "transformers"),
        options=_TORCH,
    ),
    "whisper_decoder": ExporterInfo(
        module="tidemill.exporters.whisper_decoder",
        packages=("torch", "transformers"),
        options=_TORCH,
    ),
    "onnx": ExporterInfo(
        module="tidemill.exporters.onnx",
        packages=("onnx",),
        options={
            "opset": _SIZE,
            "external_elements": Option(kind="a whole number", least=0),
        },
        weightless=False,
        dtypes=frozenset({"f32"}),
    ),
}
