"""``cached_lm`` with weight-only quantised linear layers: functions ``prefill`` and ``decode``."""

from tidemill.exporters.base import Exporter
from tidemill.exporters.cached_lm import Cached
from tidemill.exporters.causal_lm import CausalLm
from tidemill.exporters.quantized import Quantizing


class QuantizedCachedLm(Cached, Quantizing, CausalLm):
    """Any transformers causal language model, with a cache."""


EXPORTER: Exporter = QuantizedCachedLm()
