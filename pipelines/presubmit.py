"""What a pull request builds: one small model on the host's own processor. Publishes nothing."""

from pipelines.base import Pipeline

PIPELINE = Pipeline(
    name="presubmit",
    about="one small model for cpu; nothing is published",
    models=("magika",),
    targets=("cpu",),
)
