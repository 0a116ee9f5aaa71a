"""llama2.c's checkpoints with a cache: see ``cached_lm`` and ``llama2c``."""

from tidemill.exporters.base import Exporter, Spec
from tidemill.exporters.cached_lm import Cached
from tidemill.exporters.llama2c import Llama2c, end_of, sizes_of
from tidemill.exporters.llama2c_tokenizer import read_tokens, tokenizer_of


class TokensBehindWeights(Cached):
    """A cached model whose file of weights ends with its tokenizer."""

    def tokenizer(self, spec: Spec) -> str:
        """The tokenizer behind the weights; "" where the file ends with them.

        The declared one where values are synthetic.
        """
        if not spec.weights:
            return super().tokenizer(spec)
        ((_, path),) = spec.weights.items()
        sizes = sizes_of(spec.options)
        tokens = read_tokens(path, offset=end_of(sizes), count=sizes.vocab)
        return tokenizer_of(tokens) if tokens else ""


class CachedLlama2c(TokensBehindWeights, Llama2c):
    """Architecture from ``options``."""


EXPORTER: Exporter = CachedLlama2c()
