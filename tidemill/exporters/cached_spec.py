"""What a manifest says of a language model with a cache: its inputs, its sizes, its cache."""

from collections.abc import Sequence, Set
from typing import Any

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.base import Array, Dimension, Spec

#: torch.export takes a prompt for one that fills the cache unless it is at least this much shorter.
SPARE = 2
_WHOLE = "full_attention"
#: Kinds of layers that see some tokens only → the field that says how many.
_WINDOWS = {
    "sliding_attention": "sliding_window",
    "chunked_attention": "attention_chunk_size",
    "local": "window_size",
}


def cache_of(model: Any, spec: Spec) -> dict[str, Any]:
    """The cache: keys and values are each [layers, batch, heads, positions, width] of ``dtype``."""
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return {
        "layers": config.num_hidden_layers,
        "heads": heads,
        "positions": positions_of(spec),
        "width": width,
        "dtype": spec.dtype,
    }


def ends_of(model: Any) -> list[int]:
    """The tokens with which a text ends: the model's end, and the start of another text."""
    config = model.config
    told = [config.eos_token_id, config.bos_token_id]
    flat = [one for each in told for one in (each if isinstance(each, list) else [each])]
    return sorted({one for one in flat if one is not None})


def positions_of(spec: Spec) -> int:
    """How many tokens a row of the cache holds. Raises WorkError when nobody says it."""
    positions = spec.options.get("positions")
    if not isinstance(positions, int) or positions <= SPARE:
        raise _fault(f"options.positions is {positions!r}, not a number of tokens")
    return positions


def require_inputs(spec: Spec) -> None:
    """Raises WorkError unless inputs and dimensions are those of a conversation."""
    shapes = {item.name: (item.dtype, item.shape) for item in spec.inputs}
    prompt = shapes.get("prompt", ("", ()))[1]
    steps = shapes.get("continuation", ("", ()))[1]
    if len(prompt) != 2 or len(steps) != 2:  # noqa: PLR2004 - batch and length
        raise _fault(f"the inputs are {', '.join(shapes)}")
    batch, length = prompt
    wanted = {
        "prompt": ("i64", (batch, length)),
        "lengths": ("i64", (batch,)),
        "continuation": ("i64", (batch, steps[1])),
    }
    if shapes != wanted or not {batch, length} <= spec.dynamic.keys():
        raise _fault("batch or length is not dynamic, or an input has another type or shape")
    longest, positions = spec.dynamic[str(length)].max, positions_of(spec)
    if longest > positions - SPARE:
        raise _fault(
            f"prompts of up to {longest} tokens leave no room in a cache of {positions}",
            hint=f"set the maximum of {length} to {positions - SPARE} or less",
        )


def require_whole_attention(model: Any, spec: Spec) -> None:
    """Raises WorkError when some token of the cache is not to be attended to, or has no position.

    The masks of both functions let a row see all of its tokens (``cached_program``), and tables of
    learned positions are read beyond their end without a word.
    """
    config, positions = model.config, positions_of(spec)
    kinds = {*(getattr(config, "layer_types", None) or ()), *_local(config)}
    if others := sorted(kinds - {_WHOLE, *_WINDOWS}):
        raise _fault(
            f"layers of {', '.join(others)} keep something else than keys and values of all tokens",
            hint="choose another model; such layers have no cache of this form",
        )
    for name in _windows(config, kinds):
        window = getattr(config, name, None) or 0
        if window < positions:
            raise _fault(
                f"layers see {window} tokens at most ({name}), and the cache has {positions}: both"
                " functions would show them all",
                hint=f"set options.positions to {window} or less" if window > SPARE else "",
            )
    most = getattr(config, "max_position_embeddings", None)
    rotary = any(name.endswith("inv_freq") for name, _ in model.named_buffers())
    if most is not None and positions > most and not rotary:
        raise _fault(
            f"the model has a table of {most} learned positions, the cache {positions}",
            hint=f"set options.positions to {most} or less",
        )


def _windows(config: Any, kinds: Set[str]) -> list[str]:
    """The fields of ``config`` that say how many tokens some layers see."""
    if not kinds:
        return ["sliding_window"] if getattr(config, "sliding_window", None) is not None else []
    return [field for kind, field in _WINDOWS.items() if kind in kinds]


def _local(config: Any) -> set[str]:
    """GPT-Neo's own name for the kinds of its layers."""
    return {"local"} if "local" in (getattr(config, "attention_layers", None) or ()) else set()


def require_lengths(arrays: Sequence[Array]) -> None:
    """Raises WorkError unless every row of a sample has a token, and as many as it says."""
    longest, lengths = arrays[0].shape[1], arrays[1].tolist()
    if wrong := [one for one in lengths if not 1 <= one <= longest]:
        raise _fault(
            f"a row of the sample has {wrong[0]} tokens, not 1 to {longest}",
            hint="correct `lengths` of the sample",
        )


def dimensions(spec: Spec) -> tuple[Dimension, Dimension]:
    """The bounds of batch and length."""
    batch, length = spec.inputs[0].shape
    return spec.dynamic[str(batch)], spec.dynamic[str(length)]


def _fault(message: str, *, hint: str = "") -> WorkError:
    wanted = "prompt [batch, length], lengths [batch], continuation [batch, steps], all i64"
    text = hint or f"a cached language model takes {wanted}, and options.positions"
    return WorkError(FailureClass.EXPORT, message, hint=text)
