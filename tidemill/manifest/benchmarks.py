"""What a manifest asks to be measured of a component: functions, with what, how often, beside what.

Names that other parts of the manifest define are checked in ``benchmark_checks``.
"""

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from tidemill.manifest.part import Dtype, Many, Name, Part
from tidemill.sizes import factors, filled, places

#: Other ways to do the same work, measured beside it on request.
Peer = Literal["torch_eager", "torch_inductor", "onnxruntime"]

#: What stands for the variant's own element type.
FLOAT = "float"
_ARGUMENT = re.compile(r"(\d+x)*[a-zA-Z]+\w*(=(?!@).*)?")


class FunctionPart(Part):
    """One function of the compiled module, and what it is called with.

    Exactly one of ``sample`` (its inputs), ``dims`` (the declared inputs at these sizes, filled
    with ones) and ``inputs`` (as ``iree-benchmark-module`` takes them, in their order; zeros where
    no value is given). ``function`` may have matrix axes in braces, as ``prefill_bs{bs}``.
    ``tokens`` is how many tokens one call is about.
    """

    name: Name
    function: str = Field(default="", pattern=r"^(\w|\{\w+\})*$")
    sample: str | None = None
    dims: dict[str, int] | None = None
    inputs: Many[str] | None = None
    tokens: int | str | None = None

    @field_validator("inputs")
    @classmethod
    def _inputs(cls, inputs: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for text in inputs or ():
            for place in places(text):
                factors(place)
            if not _ARGUMENT.fullmatch(filled(text, lambda place: "f" if place == FLOAT else "1")):
                raise ValueError(f"'{text}' is no input: write it as 4x128xi64=1 or {{bs}}x64xf32")
        return inputs

    @field_validator("tokens")
    @classmethod
    def _tokens(cls, tokens: int | str | None) -> int | str | None:
        if isinstance(tokens, str):
            factors(tokens)
        elif tokens is not None and tokens < 1:
            raise ValueError("a call is about at least one token")
        return tokens

    @model_validator(mode="after")
    def _one_way(self) -> "FunctionPart":
        ways = ("sample", "dims", "inputs")
        if sum(getattr(self, way) is not None for way in ways) != 1:
            raise ValueError(f"say with one of {', '.join(ways)} what '{self.name}' is called with")
        return self


class BenchmarkPart(Part):
    """How the modules of a component are measured, on the targets and in the types named here.

    ``repetitions`` each take ``seconds`` at least. ``flags`` go to ``iree-benchmark-module``.
    """

    functions: Many[FunctionPart] = Field(min_length=1)
    targets: Many[str] = ()
    dtypes: Many[Dtype] = ()
    repetitions: int = Field(default=5, ge=3, le=1000)
    seconds: float = Field(default=0.5, gt=0, le=600)
    flags: Many[str] = ()
    peers: Many[Peer] = ()
