"""Which nodes, which channel, which policy. One module a pipeline; ``runner`` executes any."""

import importlib
import pkgutil

from pipelines.base import Pipeline
from tidemill.errors import UsageError

_NOT_PIPELINES = {"base", "gather", "outcome", "publish", "runner", "warming"}


def names() -> list[str]:
    """The pipelines of this workspace."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if name not in _NOT_PIPELINES)


def load(name: str) -> Pipeline:
    """The pipeline called ``name``. Raises UsageError for one that is not there."""
    if name not in names():
        raise UsageError(f"no pipeline '{name}' (known: {', '.join(names())})")
    pipeline: Pipeline = importlib.import_module(f"pipelines.{name}").PIPELINE
    return pipeline
