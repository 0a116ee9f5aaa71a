"""The exporters that exist, as data: importing this loads none of them.

``packages`` are the toolchain packages whose version is part of an export's key, beside those that
every export uses. ``options`` are what a manifest may set under ``options:``. ``weightless`` says
that MLIR needs the configuration only. ``driver`` is how its program is called, see
steps/work/drivers: one other than ``main`` needs what export writes to config.json. ``parameters``
says that there are weights at all, ``reads_parameters`` that export reads the packed ones,
``quantizes`` that packing takes what step ``quantize`` makes.
"""

from dataclasses import dataclass

#: The only function of most modules, and the driver that calls it.
MAIN = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterInfo:
    """Where an exporter lives and what its output depends on."""

    module: str
    packages: tuple[str, ...]
    options: frozenset[str] = frozenset()
    weightless: bool = True
    driver: str = MAIN
    parameters: bool = True
    reads_parameters: bool = False
    quantizes: bool = False
    dtypes: frozenset[str] = frozenset({"f32", "f16", "bf16"})


#: What every torch exporter takes: patterns of tensors without use, and of unused parameters.
_TORCH = frozenset({"ignore", "unused"})
_DIFFUSERS = ("diffusers", "torch", "transformers")
#: Types with the range of float32, which T5's sums need.
_WIDE = frozenset({"f32", "bf16"})
_LLAMA2C = frozenset(
    {
        "dim",
        "heads",
        "hidden_dim",
        "kv_heads",
        "layers",
        "max_seq",
        "shared_classifier",
        "vocab",
    }
)

EXPORTERS = {
    "sentence_encoder": ExporterInfo(
        module="tidemill.exporters.sentence_encoder",
        packages=("torch", "transformers"),
        options=_TORCH | {"pooling", "normalize"},
    ),
    "llama2c": ExporterInfo(
        module="tidemill.exporters.llama2c",
        packages=("torch", "transformers"),
        options=_TORCH | _LLAMA2C,
    ),
    "quantized_llama2c": ExporterInfo(
        module="tidemill.exporters.quantized_llama2c",
        packages=("torch", "torchao", "transformers"),
        options=_TORCH | _LLAMA2C | {"quantize"},
        dtypes=frozenset({"f32", "f16"}),
    ),
    "quantized_lm": ExporterInfo(
        module="tidemill.exporters.quantized_lm",
        packages=("torch", "torchao", "transformers"),
        options=_TORCH | {"quantize"},
        dtypes=frozenset({"f32", "f16"}),
    ),
    "mobilenet_v2": ExporterInfo(
        module="tidemill.exporters.mobilenet_v2",
        packages=("torch",),
        options=_TORCH | {"classes", "width"},
    ),
    "causal_lm": ExporterInfo(
        module="tidemill.exporters.causal_lm",
        packages=("torch", "transformers"),
        options=_TORCH,
    ),
    "cached_lm": ExporterInfo(
        module="tidemill.exporters.cached_lm",
        packages=("torch", "transformers"),
        options=_TORCH | {"positions"},
        driver="cached_lm",
    ),
    "cached_gguf": ExporterInfo(
        module="tidemill.exporters.cached_gguf",
        packages=("gguf", "tokenizers", "torch", "transformers"),
        options=_TORCH | {"positions"},
        driver="cached_lm",
    ),
    "cached_llama2c": ExporterInfo(
        module="tidemill.exporters.cached_llama2c",
        packages=("tokenizers", "torch", "transformers"),
        options=_TORCH | _LLAMA2C | {"positions"},
        driver="cached_lm",
    ),
    "clip_text": ExporterInfo(
        module="tidemill.exporters.clip_text",
        packages=("torch", "transformers"),
        options=_TORCH | {"outputs", "projection"},
    ),
    "diffusers_unet": ExporterInfo(
        module="tidemill.exporters.diffusers_unet",
        packages=_DIFFUSERS,
        options=_TORCH | {"guidance"},
    ),
    "diffusers_vae": ExporterInfo(
        module="tidemill.exporters.diffusers_vae",
        packages=_DIFFUSERS,
        options=_TORCH | {"direction"},
    ),
    "score_unet": ExporterInfo(
        module="tidemill.exporters.score_unet",
        packages=("torch",),
        options=_TORCH | {"first", "multiples", "width"},
    ),
    "diffusers_scheduler": ExporterInfo(
        module="tidemill.exporters.diffusers_scheduler",
        packages=("diffusers", "torch"),
        options=frozenset({"image_tokens", "role", "steps", "timestep"}),
        parameters=False,
    ),
    "scheduled_unet": ExporterInfo(
        module="tidemill.exporters.scheduled_unet",
        packages=_DIFFUSERS,
        options=_TORCH | {"guidance"},
    ),
    "sdxl_prompt_encoder": ExporterInfo(
        module="tidemill.exporters.sdxl_prompt_encoder",
        packages=("torch", "transformers"),
        options=_TORCH | {"guidance"},
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
        options=_TORCH | {"guidance"},
        dtypes=_WIDE,
    ),
    "sd3_transformer": ExporterInfo(
        module="tidemill.exporters.sd3_transformer",
        packages=_DIFFUSERS,
        options=_TORCH | {"guidance"},
    ),
    "flux_transformer": ExporterInfo(
        module="tidemill.exporters.flux_transformer",
        packages=_DIFFUSERS,
        options=_TORCH,
    ),
    "sharktank_llm": ExporterInfo(
        module="tidemill.exporters.sharktank_llm",
        packages=("brevitas", "sharktank", "torch", "transformers", "wave-lang"),
        options=frozenset(
            {
                "attention_dtype",
                "attention_kernel",
                "block_seq_stride",
                "device_block_count",
                "equal_lengths",
                "kv_cache_dtype",
            }
        ),
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
        options=frozenset({"opset", "external_elements"}),
        weightless=False,
        dtypes=frozenset({"f32"}),
    ),
}
