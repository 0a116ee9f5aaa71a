"""The models that draw: a whole text-to-image family on a proxy size, and two with real weights."""

from pipelines.base import Pipeline
from tidemill.policy import Policy

PIPELINE = Pipeline(
    name="pictures",
    about="small models that draw, for docs/images.md",
    models=("power-spectra", "sd-small", "terrain"),
    targets=("cpu",),
    channel="pictures",
    policy=Policy(required=("*/*/*/cpu",), on_failure="block"),
)
