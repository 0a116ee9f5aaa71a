"""How one input of a sample is made: a seed, listed values, text, sound, another's output."""

from typing import Any, Literal

from pydantic import Field, model_validator

from tidemill.manifest.part import Part

#: What each kind of value needs, and what it may have besides.
_RECIPES = {
    "normal": ({"seed"}, {"mean", "std"}),
    "uniform": ({"seed"}, {"low", "high"}),
    "integers": ({"seed", "low", "high"}, set[str]()),
    "values": ({"values"}, set[str]()),
    "text": ({"field"}, set[str]()),
    "log_mel": ({"file"}, set[str]()),
    "output": ({"of"}, set[str]()),
}


class ValuePart(Part):
    """One input of a sample; what it is made from is the same everywhere.

    ``of`` is COMPONENT/SAMPLE/OUTPUT: what the reference of another component gives.
    """

    kind: Literal["normal", "uniform", "integers", "values", "text", "log_mel", "output"]
    seed: int | None = None
    mean: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    values: list[Any] | None = None
    text_field: Literal["ids", "mask", "type_ids"] | None = Field(default=None, alias="field")
    file: str | None = None
    of: str | None = None

    @model_validator(mode="after")
    def _recipe(self) -> "ValuePart":
        needs, may = _RECIPES[self.kind]
        given = self.model_dump(by_alias=True, exclude_none=True, exclude={"kind"}).keys()
        if missing := sorted(needs - given):
            raise ValueError(f"kind {self.kind} needs {', '.join(missing)}")
        if extra := sorted(given - needs - may):
            raise ValueError(f"kind {self.kind} takes no {', '.join(extra)}")
        return self
