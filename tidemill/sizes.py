"""Sizes that a manifest writes as products: ``bs * 128 * config.num_key_value_heads``.

A factor is a number, a name (a matrix axis, or a dimension that a benchmark sets), or a place in
the model's own configuration file, where numbers in a path count the entries of a list from 0:
``config.paged_kv_cache.paged_kv_block_size_elements_per_device.0``. Pure; standard library only.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

#: How a factor begins that stands in the configuration.
CONFIG = "config."
_NAME = re.compile(r"[A-Za-z_][\w-]*(\.\w+)*")
_PLACE = re.compile(r"\{([^{}]*)\}")


def factors(text: str) -> tuple[str, ...]:
    """The factors of a product, numbers and names as they are written. Raises ValueError."""
    found = tuple(part.strip() for part in text.split("*"))
    for one in found:
        if not one.isdecimal() and not _NAME.fullmatch(one):
            raise ValueError(f"'{text}' is no size: write numbers and names with * between them")
    return found


def places(text: str) -> Iterator[str]:
    """What stands in the braces of a text such as ``{bs}x128xi64=1``."""
    return (match[1] for match in _PLACE.finditer(text))


def filled(text: str, value: Callable[[str], str]) -> str:
    """``text`` with ``value`` of what stands in braces in their place."""
    return _PLACE.sub(lambda match: value(match[1]), text)


def resolve(text: str, names: Mapping[str, int]) -> int | str:
    """The product, or the product with ``names`` put in where the configuration has the rest.

    Raises ValueError for a name that is none of ``names``.
    """
    known, rest = 1, []
    for one in factors(text):
        if one.startswith(CONFIG):
            rest.append(one)
        elif one.isdecimal():
            known *= int(one)
        elif one in names:
            known *= names[one]
        else:
            there = ", ".join(sorted(names)) or "none"
            raise ValueError(f"'{one}' is no matrix axis and no dimension here (known: {there})")
    return " * ".join([str(known), *rest]) if rest else known


def product(text: str, config: Mapping[str, Any]) -> int:
    """The product with what ``config`` says. Raises ValueError for a place without a number."""
    value = 1
    for one in factors(text):
        value *= int(one) if one.isdecimal() else _number(one, config)
    return value


def _number(place: str, config: Mapping[str, Any]) -> int:
    found: Any = config
    for part in place.removeprefix(CONFIG).split("."):
        found = _entry(found, part)
    if type(found) is not int or found < 1:
        raise ValueError(f"the configuration has no number at {place.removeprefix(CONFIG)}")
    return found


def _entry(found: Any, part: str) -> Any:
    if isinstance(found, Mapping):
        return found.get(part)
    if isinstance(found, list) and part.isdecimal() and int(part) < len(found):
        return found[int(part)]
    return None
