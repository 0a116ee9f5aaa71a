"""The base of every part of a manifest."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Unknown keys are errors, nothing is coerced, nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
