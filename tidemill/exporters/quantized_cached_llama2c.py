"""``cached_llama2c`` with weight-only quantised linear layers: ``prefill`` and ``decode``."""

from tidemill.exporters.base import Exporter
from tidemill.exporters.cached_llama2c import TokensBehindWeights
from tidemill.exporters.llama2c import Llama2c
from tidemill.exporters.quantized import Quantizing


class QuantizedCachedLlama2c(TokensBehindWeights, Quantizing, Llama2c):
    """Llama from llama2.c's raw checkpoints, with a cache."""


EXPORTER: Exporter = QuantizedCachedLlama2c()
