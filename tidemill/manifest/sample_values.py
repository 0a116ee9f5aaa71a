"""Whether what a sample is made from can fill its inputs, by their types and shapes; pure.

On raw data. What only the exporter or the tokenizer knows is not asked here.
"""

from collections.abc import Iterator
from typing import Any

from tidemill.manifest.problems import Location, mapping

_Finding = tuple[Location, str]
_DRAWN = ("normal", "uniform", "integers")
#: The least and the greatest number of each type that holds no fractions.
_WHOLE = {"i64": (-(2**63), 2**63 - 1), "i32": (-(2**31), 2**31 - 1), "bool": (0, 1)}


def filled(component: dict[str, Any], sample: dict[str, Any], at: Location) -> Iterator[_Finding]:
    """Problems of the values of one sample, ``at`` its place."""
    inputs, axes = mapping(component.get("inputs")), mapping(component.get("matrix"))
    sizes = {**axes, **{name: [size] for name, size in mapping(sample.get("dims")).items()}}
    for name, raw in mapping(sample.get("inputs")).items():
        recipe, where = mapping(raw), (*at, "inputs", name)
        part = mapping(inputs.get(name))
        dtype = str(part.get("dtype"))
        match recipe.get("kind"):
            case "values" if isinstance(values := recipe.get("values"), list):
                yield from _listed(values, dtype, (*where, "values"))
                yield from _shape(_shape_of(values), part, (*where, "values"), sizes=sizes)
            case kind if kind in _DRAWN:
                yield from _drawn(recipe, dtype, where)


def _listed(values: list[Any], dtype: str, at: Location) -> Iterator[_Finding]:
    wrong = [(here, words) for here, one in _leaves(values, at) if (words := _unfit(one, dtype))]
    if wrong:
        (here, words), more = wrong[0], len(wrong) - 1
        yield (
            here,
            f"{words}, and the input is {dtype}" + (f" ({more} more are so)" if more else ""),
        )


def _unfit(value: object, dtype: str) -> str:
    """Why an input of a type cannot hold a value; "" if it can."""
    if not isinstance(value, int | float):
        return f"{value!r} is no number"
    if dtype not in _WHOLE:
        return ""
    low, high = _WHOLE[dtype]
    if isinstance(value, float) and not value.is_integer():
        return f"{value} is no whole number"
    return "" if low <= value <= high else f"{value} is not within {low} to {high}"


def _drawn(recipe: dict[str, Any], dtype: str, at: Location) -> Iterator[_Finding]:
    kind, low, high = recipe["kind"], recipe.get("low"), recipe.get("high")
    if type(seed := recipe.get("seed")) is int and seed < 0:
        yield (*at, "seed"), f"{seed} is no seed: it must be at least 0"
    if kind != "integers":
        if dtype in _WHOLE and not _constant(recipe):
            yield (*at, "kind"), f"{kind} values are fractions, and the input is {dtype}"
        return
    for field, bound in (("low", low), ("high", high)):
        if isinstance(bound, float) and not bound.is_integer():
            yield (*at, field), f"{bound} is no whole number"
    if not (isinstance(low, int | float) and isinstance(high, int | float)):
        return
    if low >= high:
        yield at, f"low {low} is not below high {high}, which is excluded"
    elif words := _unfit(low, dtype) or _unfit(high - 1, dtype):
        yield at, f"{words}, and the input is {dtype}"


def _constant(recipe: dict[str, Any]) -> bool:
    """Whether one value is all that is drawn."""
    if recipe["kind"] == "normal":
        return recipe.get("std") == 0
    return bool(recipe.get("low", 0.0) == recipe.get("high", 1.0))


def _shape(
    given: list[int] | None, part: dict[str, Any], at: Location, *, sizes: dict[str, Any]
) -> Iterator[_Finding]:
    """What has the shape ``given`` has to fill the input in every variant."""
    wanted = part.get("shape")
    if given is None:
        yield at, "is ragged: lists beside each other must be of one length"
        return
    if not isinstance(wanted, list):
        return
    names: list[Any] = wanted
    rows = [sizes.get(one) if isinstance(one, str) else [one] for one in names]
    if not all(_sizes(row) for row in rows):
        return
    every = [[int(size) for size in row or ()] for row in rows]
    if len(every) != len(given) or any(
        size != there for row, there in zip(every, given, strict=True) for size in row
    ):
        shape = [
            f"{one}: {' or '.join(map(str, row))}" if isinstance(one, str) else str(one)
            for one, row in zip(names, every, strict=True)
        ]
        yield at, f"has shape {given}, but the input is [{', '.join(shape)}]"


def _sizes(row: object) -> bool:
    return isinstance(row, list) and bool(row) and all(type(one) is int for one in row)


def _shape_of(value: object) -> list[int] | None:
    """The shape of nested lists; None where lists beside each other have different ones."""
    if not isinstance(value, list):
        return []
    below = [_shape_of(one) for one in value]
    if any(one is None or one != below[0] for one in below):
        return None
    return [len(value), *(below[0] or [] if below else [])]


def _leaves(values: list[Any], at: Location) -> Iterator[tuple[Location, object]]:
    for index, one in enumerate(values):
        if isinstance(one, list):
            yield from _leaves(one, (*at, index))
        else:
            yield (*at, index), one
