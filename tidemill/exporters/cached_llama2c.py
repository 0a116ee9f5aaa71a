"""llama2.c's checkpoints with a cache: see ``cached_lm`` and ``llama2c``."""

from tidemill.exporters.base import Exporter
from tidemill.exporters.cached_lm import Cached
from tidemill.exporters.llama2c import Llama2c


class CachedLlama2c(Cached, Llama2c):
    """Architecture from ``options``."""


EXPORTER: Exporter = CachedLlama2c()
