"""What every part of a manifest is made of: names, paths, sizes, times, and the base of all parts.

Unknown keys are errors; nothing is coerced.
"""

import re
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict

from tidemill.digest import is_digest

_NAME = re.compile(r"[a-z0-9][a-z0-9._]*(-[a-z0-9._]+)*")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)(MiB|GiB)")
_TIME = re.compile(r"(\d+)(s|m|h)")
_UNITS = {"MiB": 1 << 20, "GiB": 1 << 30, "s": 1, "m": 60, "h": 3600}
_REASON_WORDS = 3

Dtype = Literal["f32", "f16", "bf16"]
InputDtype = Literal["float", "f64", "f32", "f16", "bf16", "i64", "i32", "bool"]


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"'{text}' is not a name: lower-case letters, digits and . _ - between them"
        )
    return text


def _digest(text: str) -> str:
    if not is_digest(text):
        raise ValueError("expected a sha256 of 64 lower-case hexadecimal digits")
    return text


def _inside(text: str) -> str:
    parts = text.split("/")
    if text.startswith("/") or ".." in parts or "\\" in text:
        raise ValueError(f"'{text}' leaves its folder: give a plain relative path")
    if {"", "."} & set(parts) or not text.isprintable():
        raise ValueError(f"{text!r} is not a plain relative path")
    return text


def _reason(text: str) -> str:
    if len(text.split()) < _REASON_WORDS:
        raise ValueError("a reason is a sentence that somebody else can judge")
    return text


Name = Annotated[str, AfterValidator(_name)]
Sha256 = Annotated[str, AfterValidator(_digest)]
InsidePath = Annotated[str, AfterValidator(_inside)]
Reason = Annotated[str, AfterValidator(_reason)]
_Item = TypeVar("_Item")
#: A YAML list, kept as a tuple.
Many = Annotated[tuple[_Item, ...], Strict(False)]
Sizes = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Strict(False), Field(min_length=1)]


def parse_size(text: str) -> int:
    """``4GiB`` or ``512MiB`` in bytes. Raises ValueError."""
    if not (match := _SIZE.fullmatch(text)):
        raise ValueError(f"'{text}' is not a size: write it as 512MiB or 4GiB")
    return int(float(match[1]) * _UNITS[match[2]])


def parse_time(text: str) -> int:
    """``90s``, ``10m`` or ``2h`` in seconds. Raises ValueError."""
    if not (match := _TIME.fullmatch(text)):
        raise ValueError(f"'{text}' is not a time: write it as 90s, 10m or 2h")
    return int(match[1]) * _UNITS[match[2]]


class Part(BaseModel):
    """Base of every part of a manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
