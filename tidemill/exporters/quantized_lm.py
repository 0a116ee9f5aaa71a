"""``causal_lm`` with weight-only quantised linear layers: ids [batch, sequence] i64 → logits."""

from tidemill.exporters.base import Exporter
from tidemill.exporters.causal_lm import CausalLm
from tidemill.exporters.quantized import Quantizing


class QuantizedLm(Quantizing, CausalLm):
    """Any transformers causal language model."""


EXPORTER: Exporter = QuantizedLm()
