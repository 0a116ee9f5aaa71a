"""The inputs of one sample, drawn, listed, text or recorded; equal on every machine. numpy only.

Random values are made from the raw 64-bit words of PCG64 (a bit generator whose stream numpy
promises to keep, NEP 19) by our own conversions, which use integer arithmetic and single IEEE
operations only, so neither numpy's version nor the processor's vector units can change them:

* uniform: the upper 53 bits of a word, times 2^-53: [0, 1) → low + (high - low) × u
* integers: low + floor(u × (high - low)), ``high`` excluded
* normal: the sum of twelve such u, minus 6 (Irwin–Hall: mean 0, variance 1, within ±6). A
  logarithm or cosine, as in Box–Muller, differs in the last place between libraries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.base import Dimension, InputSpec, Spec
from tidemill.speech.rules import Rules
from tidemill.steps.work.dtypes import HOLDERS, Array, round_to
from tidemill.steps.work.greedy import Plan
from tidemill.steps.work.recorded import Recorded

TEXT_FIELDS = {"ids": "ids", "mask": "attention_mask", "type_ids": "type_ids"}
_PARAMETERS = {
    "normal": {"kind", "seed", "mean", "std"},
    "uniform": {"kind", "seed", "low", "high"},
    "integers": {"kind", "seed", "low", "high"},
    "values": {"kind", "values"},
    "text": {"kind", "field"},
    "log_mel": {"kind", "file"},
    "output": {"kind", "of"},
}
_RECORDED = {"log_mel", "output"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One input of a sample: values that ``dtype`` can hold exactly."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    array: Array
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What is there before values are made: tokens of the texts, and recorded files."""

    tokens: Mapping[str, Array]
    recorded: Recorded


def make_sample(
    spec: Spec,
    sample: Mapping[str, Any],
    *,
    tokenizers: Mapping[str, Path],
    recorded: Recorded | None = None,
) -> list[Argument]:
    """The arguments of ``sample`` in the order of ``spec.inputs``. Raises WorkError."""
    name = str(sample["name"])
    sizes = check_dims(spec.dynamic, sample.get("dims") or {}, sample=name)
    recipes = sample["inputs"]
    names = [item.name for item in spec.inputs]
    for missing in [item for item in names if item not in recipes]:
        raise _wrong(name, f"says nothing about input {missing}")
    for extra in [item for item in recipes if item not in names]:
        raise _wrong(name, f"has input {extra}, but the program has {', '.join(names)}")
    tokens = _tokens(sample.get("text"), tokenizers, sample=name)
    if sample.get("greedy") and tokens and not tokens["mask"].all():
        raise _wrong(name, "greedy decoding needs texts of exactly length tokens, without padding")
    made = _Made(tokens=tokens, recorded=recorded or Recorded())
    return [
        _argument(item, recipes[item.name], sizes=sizes, made=made, spec=spec, sample=name)
        for item in spec.inputs
    ]


def check_dims(
    dynamic: Mapping[str, Dimension], dims: Mapping[str, int], *, sample: str
) -> dict[str, int]:
    """The size of each dynamic dimension. Raises WorkError naming the one that is wrong."""
    for name in dims:
        if name not in dynamic:
            known = ", ".join(dynamic) or "none"
            raise _wrong(sample, f"sets dimension {name}, which is not declared (known: {known})")
    for name, bounds in dynamic.items():
        if name not in dims:
            raise _wrong(sample, f"gives no size for dimension {name}")
        if not bounds.min <= dims[name] <= bounds.max:
            outside = f"outside its bounds {bounds.min} to {bounds.max}"
            raise _wrong(sample, f"sets dimension {name} to {dims[name]}, {outside}")
    return dict(dims)


def plan_greedy(
    spec: Spec,
    arguments: Sequence[Argument],
    *,
    tokens: int,
    sample: str,
    rules: Rules | None = None,
) -> Plan:
    """Check that the program can decode greedily. Raises WorkError that says why not."""
    unable = f"sample {sample}: cannot decode greedily"
    first = spec.inputs[0]
    growing = first.shape[-1] if len(first.shape) == 2 else None  # noqa: PLR2004 - batch, length
    if not isinstance(growing, str) or first.dtype not in {"i64", "i32"}:
        wanted = "shape [batch, length], integer, with a dynamic length"
        raise _error(f"{unable}: input {first.name} must hold the tokens: {wanted}")
    last, allowed = arguments[0].shape[-1] + tokens - 1, spec.dynamic[growing].max
    if last > allowed:
        raise _error(f"{unable}: dimension {growing} would reach {last}, above its max {allowed}")
    masks = [i for i, item in enumerate(spec.inputs) if i and growing in item.shape]
    for index in masks:
        item = spec.inputs[index]
        at_end = item.shape.index(growing) == len(item.shape) - 1
        if not at_end or not np.all(arguments[index].array == 1):
            raise _error(f"{unable}: input {item.name} must be a mask of ones to grow with it")
    return Plan(tokens=tokens, masks=tuple(masks), rules=rules)


def random_uniform(seed: int, count: int) -> NDArray[np.float64]:
    """``count`` values in [0, 1) with 53 random bits each."""
    return _words(np.random.PCG64(seed), count).astype(np.float64) * 2.0**-53


def random_normal(seed: int, count: int) -> NDArray[np.float64]:
    """``count`` values of mean 0 and variance 1."""
    source = np.random.PCG64(seed)
    # Twelve integers below 2^53 sum to less than 2^57: exact, in any order.
    total = np.zeros(count, dtype=np.uint64)
    for _ in range(12):
        total += _words(source, count)
    return total.astype(np.float64) * 2.0**-53 - 6.0


def random_integers(seed: int, count: int, *, low: int, high: int) -> NDArray[np.int64]:
    """``count`` integers from ``low`` to ``high`` - 1."""
    offsets = np.floor(random_uniform(seed, count) * (high - low))
    return low + offsets.astype(np.int64)


def _words(source: np.random.PCG64, count: int) -> NDArray[np.uint64]:
    raw: NDArray[np.uint64] = np.atleast_1d(source.random_raw(count))
    return raw >> np.uint64(11)


def _argument(
    item: InputSpec,
    recipe: Mapping[str, Any],
    *,
    sizes: Mapping[str, int],
    made: _Made,
    spec: Spec,
    sample: str,
) -> Argument:
    shape = _shape(item, sizes, sample=sample)
    dtype = spec.dtype if item.dtype == "float" else item.dtype
    kind = str(recipe.get("kind"))
    allowed = _PARAMETERS.get(kind)
    if allowed is None:
        raise _wrong(sample, f"input {item.name}: unknown kind {kind!r}")
    for extra in sorted(set(recipe) - allowed):
        raise _wrong(sample, f"input {item.name}: {kind} takes no {extra!r}")
    where = f"input {item.name}"
    values = _values(recipe, shape, made=made, where=where, sample=sample)
    if values.shape != shape:
        raise _wrong(sample, f"{where} has shape {values.shape}, but the program takes {shape}")
    array = _fit(values, dtype, where=where, sample=sample)
    return Argument(name=item.name, dtype=dtype, shape=shape, array=array, kind=kind)


def _shape(item: InputSpec, sizes: Mapping[str, int], *, sample: str) -> tuple[int, ...]:
    for size in item.shape:
        if isinstance(size, str) and size not in sizes:
            raise _wrong(sample, f"input {item.name} uses dimension {size}, which is not declared")
    return tuple(sizes[size] if isinstance(size, str) else size for size in item.shape)


def _values(
    recipe: Mapping[str, Any],
    shape: tuple[int, ...],
    *,
    made: _Made,
    where: str,
    sample: str,
) -> Array:
    kind, count = recipe["kind"], int(np.prod(shape, dtype=np.int64))
    try:
        if kind == "text":
            return made.tokens[recipe["field"]]
        if kind in _RECORDED:
            return made.recorded.values(recipe, shape)
        if kind == "values":
            return np.array(recipe["values"])
        seed = int(recipe["seed"])
        if kind == "normal":
            drawn = random_normal(seed, count)
            spread = float(recipe.get("std", 1.0))
            return (float(recipe.get("mean", 0.0)) + spread * drawn).reshape(shape)
        if kind == "uniform":
            low, high = float(recipe.get("low", 0.0)), float(recipe.get("high", 1.0))
            return (low + (high - low) * random_uniform(seed, count)).reshape(shape)
        low, high = int(recipe["low"]), int(recipe["high"])
        if low >= high:
            raise _wrong(sample, f"{where}: low {low} is not below high {high}")
        return random_integers(seed, count, low=low, high=high).reshape(shape)
    except KeyError as error:
        raise _wrong(sample, f"{where}: kind {kind} needs {error}") from error
    except ValueError as error:
        raise _wrong(sample, f"{where}: {error}") from error


def _fit(values: Array, dtype: str, *, where: str, sample: str) -> Array:
    """``values`` in the type that holds ``dtype``; floats are rounded, integers must be exact."""
    if not (np.issubdtype(values.dtype, np.number) or values.dtype == np.bool_):
        raise _wrong(sample, f"{where} is not made of numbers")
    fitted = round_to(values, dtype)
    exact = not np.issubdtype(HOLDERS[dtype], np.floating)
    if exact and not np.array_equal(fitted, values):
        raise _wrong(sample, f"{where} has values that {dtype} cannot hold")
    if not exact and not np.array_equal(np.isfinite(fitted), np.isfinite(values)):
        raise _wrong(sample, f"{where} has values beyond the range of {dtype}")
    return fitted


def _tokens(
    text: Mapping[str, Any] | None, tokenizers: Mapping[str, Path], *, sample: str
) -> dict[str, Array]:
    if text is None:
        return {}
    path = tokenizers.get(text["tokenizer"])
    if path is None:
        raise _wrong(sample, f"its tokenizer {text['tokenizer']} is not among the inputs")
    return tokenize(path, text["texts"], length=int(text["length"]), sample=sample)


def tokenize(path: Path, texts: Sequence[str], *, length: int, sample: str) -> dict[str, Array]:
    """Token ids, attention mask and type ids of shape (texts, ``length``), padded on the right."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - only samples of text need the library

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise _wrong(sample, f"{path.name} is not a tokenizer: {error}") from error
    padding = tokenizer.padding
    tokenizer.no_padding()
    tokenizer.no_truncation()
    encoded = tokenizer.encode_batch(list(texts))
    for text, one in zip(texts, encoded, strict=True):
        if len(one.ids) > length:
            raise _wrong(sample, f"{text!r} has {len(one.ids)} tokens, more than length {length}")
    if any(len(one.ids) < length for one in encoded):
        if padding is None:
            raise _wrong(sample, f"{path.name} says no padding; give texts of {length} tokens each")
        for one in encoded:
            one.pad(length, pad_id=padding["pad_id"], pad_token=padding["pad_token"])
    return {
        field: np.array([getattr(one, attribute) for one in encoded], dtype=np.int64)
        for field, attribute in TEXT_FIELDS.items()
    }


def _wrong(sample: str, message: str) -> WorkError:
    return _error(f"sample {sample}: {message}")


def _error(message: str) -> WorkError:
    return WorkError(FailureClass.EXPORT, message, hint="correct the sample in the manifest")
