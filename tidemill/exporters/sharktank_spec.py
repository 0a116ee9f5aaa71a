"""What a manifest says of a paged language model, and how sharktank's exporter is told. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.base import Spec

KERNELS = ("torch", "decomposed", "sharktank")
#: Our name of an element type → sharktank's.
DTYPES = {
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "f8E4M3FNUZ": "float8_e4m3fnuz",
    "f8E4M3FN": "float8_e4m3fn",
}
_BLOCKS, _STRIDE = 512, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Paged:
    """Sizes of the program: ``batch`` rows, pages of ``stride`` tokens, ``blocks`` pages in all."""

    batch: int
    stride: int
    blocks: int
    kernel: str
    equal_lengths: bool


def paged_of(spec: Spec) -> Paged:
    """The sizes of ``spec``. Raises WorkError on inputs or options that no such program has."""
    shapes = [(item.name, item.dtype, item.shape) for item in spec.inputs]
    batch = spec.inputs[0].shape[0] if spec.inputs and spec.inputs[0].shape else None
    wanted = [
        ("prompt", "i64", (batch, "seq")),
        ("lengths", "i64", (batch,)),
        ("continuation", "i64", (batch, "steps")),
    ]
    if shapes != wanted or not isinstance(batch, int):
        raise _fault(
            f"the inputs are {', '.join(item.name for item in spec.inputs) or 'none'}",
            "a paged language model takes prompt [batch, seq], lengths [batch] and continuation"
            " [batch, steps] in this order, all i64; batch is a number, or an axis of the matrix",
        )
    stride = _positive(spec, "block_seq_stride", _STRIDE)
    blocks = _positive(spec, "device_block_count", _BLOCKS)
    kernel = spec.options.get("attention_kernel", KERNELS[0])
    if kernel not in KERNELS:
        raise _fault(f"options.attention_kernel is {kernel!r}", f"it is {' or '.join(KERNELS)}")
    return Paged(
        batch=batch,
        stride=stride,
        blocks=blocks,
        kernel=str(kernel),
        equal_lengths=spec.options.get("equal_lengths") is True,
    )


def element_types(spec: Spec, *, narrowed: str) -> dict[str, str]:
    """Sharktank's names of the types of activations, attention and cache.

    ``narrowed`` is the type to which the dataset narrows keys and values, "" if it does not. Raises
    WorkError where the manifest asks for another, for which the dataset has no scales.
    """
    chosen = {"activation": DTYPES[spec.dtype]}
    for name in ("attention", "kv_cache"):
        asked = spec.options.get(f"{name}_dtype")
        if asked is not None and asked not in DTYPES:
            raise _fault(f"options.{name}_dtype is {asked!r}", f"it is {' or '.join(DTYPES)}")
        given = DTYPES[str(asked)] if asked else narrowed or DTYPES[spec.dtype]
        if (narrowed or given.startswith("float8")) and given != narrowed:
            raise _fault(
                f"options.{name}_dtype is {given}, but attention of this dataset is"
                f" {'quantised to ' + narrowed if narrowed else 'not quantised'}",
                "leave the option out: it follows from quantize.attention",
            )
        chosen[name] = given
    return chosen


def export_arguments(paged: Paged, types: Mapping[str, str], files: Mapping[str, Any]) -> list[str]:
    """The command line of sharktank.examples.export_paged_llm_v1, version 3.8.

    ``--use-hf`` says that the rotary embedding is that of transformers' checkpoints. The seed's
    ``--use-attention-mask`` went in 3.7: masks are always used.
    """
    return [
        f"--irpa-file={files['irpa']}",
        f"--output-mlir={files['mlir']}",
        f"--output-config={files['config']}",
        f"--bs-prefill={paged.batch}",
        f"--bs-decode={paged.batch}",
        f"--activation-dtype={types['activation']}",
        f"--attention-dtype={types['attention']}",
        f"--kv-cache-dtype={types['kv_cache']}",
        f"--attention-kernel={paged.kernel}",
        f"--block-seq-stride={paged.stride}",
        f"--device-block-count={paged.blocks}",
        "--use-hf",
    ]


def _positive(spec: Spec, name: str, default: int) -> int:
    value = spec.options.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _fault(f"options.{name} is {value!r}", "it is a positive number")
    return value


def _fault(message: str, hint: str) -> WorkError:
    return WorkError(FailureClass.EXPORT, message, hint=hint)
