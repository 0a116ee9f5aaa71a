"""A Llama configuration as sharktank and Brevitas read it, or why they would misread it. Pure.

sharktank 3.8 knows the names of transformers 4 only: it takes a base of 10000 for the rotary
embedding when ``rope_theta`` is absent, and transformers 5 writes ``rope_parameters``. What it
ignores without a word (scaled rotary embeddings) or cannot hold (tied embeddings, biases) is
refused here.
"""

from collections.abc import Mapping
from typing import Any

from tidemill.errors import FailureClass, WorkError

ARCHITECTURE, MODEL_TYPE = "LlamaForCausalLM", "llama"
#: What transformers takes where a configuration says nothing.
_THETA = 10000.0
_NEEDED = (
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "vocab_size",
)
_EPSILON = "rms_norm_eps"
_OPTIONAL = ("num_key_value_heads", "head_dim")


def normalised(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with the names that both generations of transformers and sharktank understand.

    Raises WorkError that names everything which cannot be imported, and what to do about it.
    """
    problems = [*_family(config), *_missing(config), *_unsupported(config)]
    theta, wrong = _rope(config)
    problems += wrong
    if problems:
        raise WorkError(
            FailureClass.EXPORT,
            "sharktank cannot import this config.json:\n" + "\n".join(problems),
            hint="export this model with exporter cached_lm, or change the checkpoint as said",
        )
    heads = config["num_attention_heads"]
    dropped = {"rope_parameters", "rope_scaling", "dtype", "auto_map", "quantization_config"}
    return {
        **{name: value for name, value in config.items() if name not in dropped},
        "rope_theta": theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "torch_dtype": "float32",
        "num_key_value_heads": config.get("num_key_value_heads") or heads,
        "head_dim": config.get("head_dim") or config["hidden_size"] // heads,
        "tie_word_embeddings": False,
    }


def properties(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a sharktank dataset of a normalised ``config`` has to say beside its tensors.

    Brevitas leaves the first and the second out, and sharktank then assumes a base of 500000.
    """
    return {
        "llama.rope.freq_base": float(config["rope_theta"]),
        "llama.vocab_size": int(config["vocab_size"]),
        "llama.rope.dimension_count": int(config["head_dim"]),
        "general.architecture": "llama",
    }


def _family(config: Mapping[str, Any]) -> list[str]:
    kind, names = config.get("model_type"), config.get("architectures")
    if kind == MODEL_TYPE and names == [ARCHITECTURE]:
        return []
    return [f"- it is a {kind} ({names}); only {ARCHITECTURE} is imported by this exporter"]


def _missing(config: Mapping[str, Any]) -> list[str]:
    lost = [name for name in _NEEDED if not _whole(config.get(name))]
    lost += [
        name for name in _OPTIONAL if config.get(name) is not None and not _whole(config[name])
    ]
    problems = [f"- {name} is missing or no whole number above zero" for name in lost]
    if not _positive(config.get(_EPSILON)):
        problems.append(f"- {_EPSILON} is missing or no number above zero")
    return problems


def _whole(value: object) -> bool:
    return isinstance(value, int) and _positive(value)


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _unsupported(config: Mapping[str, Any]) -> list[str]:
    problems = []
    if config.get("tie_word_embeddings", False):
        problems.append(
            "- tie_word_embeddings: sharktank looks for a tensor of its own; write a copy of"
            " model.embed_tokens.weight as lm_head.weight and set it to false"
        )
    problems += [
        f"- {name}: sharktank's Llama has no biases"
        for name in ("attention_bias", "mlp_bias")
        if config.get(name)
    ]
    if config.get("hidden_act", "silu") != "silu":
        problems.append(f"- hidden_act: {config['hidden_act']}; sharktank's Llama uses silu")
    if config.get("quantization_config"):
        problems.append(
            "- quantization_config: the checkpoint is quantised already; take the float one, and"
            " say under `quantize:` how it is to be narrowed"
        )
    return problems


def _rope(config: Mapping[str, Any]) -> tuple[float, list[str]]:
    """The base of the rotary embedding, and what is wrong with how it is given."""
    parts: list[tuple[str, Mapping[str, Any]]] = [("", config)]
    problems = []
    for name in ("rope_parameters", "rope_scaling"):
        part = {} if config.get(name) is None else config[name]
        if not isinstance(part, Mapping) or any(isinstance(one, Mapping) for one in part.values()):
            problems.append(f"- {name}: {part!r} is not one mapping of numbers for all layers")
            continue
        parts.append((name, part))
        kind = part.get("rope_type", part.get("type", "default"))
        if kind != "default":
            problems.append(
                f"- {name}: {kind} scaling, which sharktank ignores: it would compute another model"
            )
        if part.get("partial_rotary_factor", 1.0) != 1.0:
            problems.append(f"- {name}: partial_rotary_factor; sharktank rotates whole heads")
    given = {one["rope_theta"] for _, one in parts if _positive(one.get("rope_theta"))}
    for name, one in parts:
        if one.get("rope_theta") is not None and not _positive(one["rope_theta"]):
            place = f"{name}.rope_theta" if name else "rope_theta"
            problems.append(f"- {place}: {one['rope_theta']!r} is no number above zero")
    if len(given) > 1:
        values = " and ".join(f"{value:g}" for value in sorted(given))
        problems.append(f"- rope_theta is given as {values}: keep the one that was trained with")
    return float(min(given, default=_THETA)), problems
