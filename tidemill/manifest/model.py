"""The manifest of one model, as pydantic reads it. Unknown keys are errors; nothing is coerced.

What other files define (targets, exporters) comes in as validation context, so that every
field-level mistake of a file is found in one pass.
"""

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    Strict,
    ValidationInfo,
    field_validator,
)

from tidemill.digest import is_digest
from tidemill.manifest.part import Part
from tidemill.manifest.values import ValuePart
from tidemill.records import STAGES, SUITE_STAGES
from tidemill.sources import parse_source

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


class FilePart(Part):
    """One file of a source: where it lies inside, and its digest."""

    path: InsidePath
    sha256: Sha256


class LimitPart(Part):
    """What one step may use: wall time and resident memory of its process tree."""

    timeout: str = "30m"
    memory: str = "8GiB"

    @field_validator("timeout")
    @classmethod
    def _timeout(cls, text: str) -> str:
        parse_time(text)
        return text

    @field_validator("memory")
    @classmethod
    def _memory(cls, text: str) -> str:
        parse_size(text)
        return text


class HubPart(Part):
    """The real weights of a synthetic source, for who has a token: files by name → path inside."""

    origin: str = Field(alias="from")
    files: dict[InsidePath, InsidePath] = Field(min_length=1)

    @field_validator("origin")
    @classmethod
    def _origin(cls, text: str) -> str:
        if parse_source(text).scheme != "hf":
            raise ValueError(f"'{text}' is not on the hub: give hf:org/name@<commit sha>")
        return text


class SourcePart(Part):
    """Where files come from. ``sha256`` pins the archive of a registry package."""

    origin: str = Field(alias="from")
    sha256: Sha256 | None = None
    files: dict[InsidePath, FilePart] = Field(default_factory=dict)
    pickle: Reason | None = None
    scale: float = Field(default=0.02, gt=0)
    hub: HubPart | None = None
    limits: LimitPart | None = None

    @field_validator("origin")
    @classmethod
    def _origin(cls, text: str) -> str:
        parse_source(text)
        return text


class DimensionPart(Part):
    """Bounds of a dynamic dimension, both included."""

    min: int = Field(ge=1)
    max: int = Field(ge=1)


class InputPart(Part):
    """One argument: element type and shape; names in the shape are axes or dynamic dimensions."""

    dtype: InputDtype
    shape: Many[int | str]


class TextPart(Part):
    """Real sentences, tokenised with the model's own tokenizer to ``length`` tokens."""

    tokenizer: str
    texts: Many[str] = Field(min_length=1)
    length: int = Field(ge=1)


class GreedyPart(Part):
    """Greedy decoding of ``tokens`` tokens, compared token by token, for these dtypes.

    With a Whisper ``vocabulary``, by Whisper's rules and to the end of the text.
    """

    tokens: int = Field(ge=1)
    dtypes: Many[Dtype] = ("f32",)
    vocabulary: str | None = None


class SamplePart(Part):
    """One set of inputs that every target is validated with."""

    name: Name
    dims: dict[str, int] = Field(default_factory=dict)
    text: TextPart | None = None
    inputs: dict[str, ValuePart]
    greedy: GreedyPart | None = None


class AbsolutePart(Part):
    """An absolute tolerance, which needs a written reason."""

    max_abs: float = Field(gt=0)
    reason: Reason
    dtypes: Many[Dtype] = ("f32",)


class NumericsPart(Part):
    """The contract: errors at most ``factor`` times the noise of torch in the artifact's dtype."""

    factor: float = Field(default=8.0, gt=1)
    absolute: AbsolutePart | None = None
    logits: Many[str] = ()
    top1: float | None = Field(default=None, gt=0, le=1)


def _known(name: str, known: Any, what: str) -> str:
    if name not in known:
        raise ValueError(f"unknown {what} '{name}' (known: {', '.join(sorted(known))})")
    return name


class ComponentPart(Part):
    """One exported program of a model and its matrix."""

    exporter: str
    config: Many[str] = ()
    weights: Many[str] = ()
    options: dict[str, str | int | float | bool | list[int] | list[str]] = Field(
        default_factory=dict
    )
    inputs: dict[str, InputPart] = Field(min_length=1)
    outputs: Many[str] = ()
    dimensions: dict[str, DimensionPart] = Field(default_factory=dict)
    dtypes: Many[Dtype] = Field(min_length=1)
    matrix: dict[Name, Sizes] = Field(default_factory=dict)
    targets: Many[str] = ()
    toolchain: Name | None = None
    samples: Many[SamplePart] = ()
    proxy: Name | None = None
    proxied: Many[Dtype] = ()
    reference: Literal["f64", "f32"] = "f64"
    numerics: NumericsPart = NumericsPart()
    flags: dict[str, Many[str]] = Field(default_factory=dict)
    limits: dict[str, LimitPart] = Field(default_factory=dict)

    def proxy_of(self, dtype: str) -> str:
        """The component that is validated in place of this one in ``dtype``; "" for itself."""
        return self.proxy or "" if dtype in (self.proxied or self.dtypes) else ""

    @field_validator("exporter")
    @classmethod
    def _exporter(cls, name: str, info: ValidationInfo) -> str:
        return _known(name, (info.context or {})["exporters"], "exporter")

    @field_validator("toolchain")
    @classmethod
    def _toolchain(cls, name: str | None, info: ValidationInfo) -> str | None:
        return name and _known(name, (info.context or {})["toolchains"], "toolchain")

    @field_validator("limits")
    @classmethod
    def _stages(cls, limits: dict[str, LimitPart]) -> dict[str, LimitPart]:
        for stage in limits:
            _known(stage, set(STAGES) - set(SUITE_STAGES), "stage")
        if "fetch" in limits:
            raise ValueError("the limits of a fetch stand with its source: sources.<name>.limits")
        return limits


class ManifestPart(Part):
    """A whole file under manifests/models/."""

    name: Name
    title: str
    license: str
    homepage: str = ""
    sources: dict[Name, SourcePart] = Field(min_length=1)
    components: dict[Name, ComponentPart] = Field(min_length=1)
