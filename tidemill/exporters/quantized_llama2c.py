"""``llama2c`` with weight-only quantised linear layers: ids [batch, sequence] i64 → logits."""

from tidemill.exporters.base import Exporter
from tidemill.exporters.llama2c import Llama2c
from tidemill.exporters.quantized import Quantizing


class QuantizedLlama2c(Quantizing, Llama2c):
    """Llama from llama2.c's raw checkpoints."""


EXPORTER: Exporter = QuantizedLlama2c()
