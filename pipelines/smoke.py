"""The main job: a few real models of different kinds, in minutes on two cores."""

from pipelines.base import Pipeline
from tidemill.policy import Policy

PIPELINE = Pipeline(
    name="smoke",
    about="real weights, cpu and two GPU targets, a few minutes",
    models=("magika", "minilm", "mobilenet", "stories15m"),
    targets=("cpu", "gfx942", "gfx1100"),
    channel="smoke",
    policy=Policy(required=("*/*/*/cpu",), on_failure="block"),
)
