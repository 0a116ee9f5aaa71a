"""Addresses of artifacts, and the globs that people type to pick some of them.

An address is ``model/component/variant/target``; what all targets of a variant share has the first
three parts only. Pure: no disk, no store.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from tidemill.errors import UsageError

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_SHAPE = "model/component/variant/target"
_CLOSEST = 4


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where an artifact belongs. ``target`` is empty for what all targets of a variant share.

    ``variant`` is empty, too, for what all variants of a component share, as its sources are.
    """

    model: str
    component: str
    variant: str
    target: str = ""

    @staticmethod
    def parse(text: str) -> "Address":
        """The address that ``text`` spells, in two to four parts. Raises UsageError."""
        parts = text.split("/")
        if len(parts) not in (2, 3, 4) or not all(_PART.fullmatch(part) for part in parts):
            raise UsageError(f"{text!r} is not an address", hint=f"write {_SHAPE}")
        model, component, variant, target = (*parts, "", "")[:4]
        return Address(model, component, variant, target)

    @property
    def shared(self) -> "Address":
        """The address of what this variant's targets share."""
        return Address(self.model, self.component, self.variant)

    def __str__(self) -> str:
        return "/".join(filter(None, (self.model, self.component, self.variant, self.target)))


def split_pattern(pattern: str) -> tuple[str, ...]:
    """The segments of an address glob. Raises UsageError on an empty segment or more than four."""
    segments = tuple(pattern.split("/"))
    if not all(segments):
        raise UsageError(
            f"{pattern!r} has an empty part", hint=f"write {_SHAPE}; * stands for any one part"
        )
    if len(segments) > 4:  # noqa: PLR2004 - model, component, variant, target
        raise UsageError(f"{pattern!r} has more than four parts", hint=f"write {_SHAPE}")
    return segments


def matches(pattern: str, address: str) -> bool:
    """Whether the glob ``pattern`` picks ``address``.

    Segment by segment: ``*``, ``?`` and ``[…]`` never cross a slash, case counts. A pattern with
    fewer segments than the address picks all below it; one with more picks nothing. Raises
    UsageError on a malformed pattern.
    """
    segments, parts = split_pattern(pattern), address.split("/")
    return len(segments) <= len(parts) and all(
        fnmatchcase(part, segment) for part, segment in zip(parts, segments, strict=False)
    )


def closest(text: str, known: Iterable[str], *, noun: str = "addresses") -> str:
    """A hint for who typed what is not there: the few of ``known`` that look most like it."""
    names = sorted(set(known))
    close = ", ".join(get_close_matches(text, names, n=_CLOSEST, cutoff=0)) or "none"
    few = len(names) <= _CLOSEST
    return f"its {noun}: {close}" if few else f"the closest of its {len(names)} {noun}: {close}"
