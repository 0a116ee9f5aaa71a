"""Every model for every target."""

from pipelines.base import Pipeline
from tidemill.policy import Policy

PIPELINE = Pipeline(
    name="nightly",
    about="every model, every target",
    channel="nightly",
    policy=Policy(required=("*/*/*/cpu",), on_failure="carry"),
)
