"""Whisper's vocabulary: a ``.tiktoken`` file (one token a line: base64, rank) and special tokens.

What is needed to write tokens as text, and to find the tokens of a short symbol; not a tokenizer
of sentences.
"""

import base64
import binascii
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: Special tokens after the ranks, in the order in which Whisper numbers them; then time stamps.
_LANGUAGES = 99
_TASKS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
#: 0.00 s to 30.00 s in steps of 20 ms.
_TIMESTAMPS = 1501


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """``tokens`` are the bytes of each plain token, ``ranks`` the other way round."""

    tokens: tuple[bytes, ...]
    ranks: dict[bytes, int]

    @property
    def size(self) -> int:
        """How many tokens there are, special ones included: the width of the logits."""
        return self.special("notimestamps") + 1 + _TIMESTAMPS

    def special(self, name: str) -> int:
        """The number of a special token, such as ``endoftext`` or ``notimestamps``."""
        end = len(self.tokens)
        first = {"endoftext": end, "startoftranscript": end + 1}
        return first[name] if name in first else end + 2 + _LANGUAGES + _TASKS.index(name)

    def text(self, tokens: Iterable[int]) -> str:
        """What the plain tokens among ``tokens`` say; bytes that are no UTF-8 become U+FFFD."""
        plain = (self.tokens[one] for one in tokens if 0 <= one < len(self.tokens))
        return b"".join(plain).decode("utf-8", errors="replace")

    def of_symbol(self, symbol: str) -> list[int]:
        """The tokens of one unbroken symbol: pairs are joined, the lowest rank first."""
        parts = [bytes([one]) for one in symbol.encode()]
        while len(parts) > 1:
            pairs = [one + other for one, other in itertools.pairwise(parts)]
            known = [pair for pair in pairs if pair in self.ranks]
            if not known:
                break
            at = pairs.index(min(known, key=self.ranks.__getitem__))
            parts[at : at + 2] = [pairs[at]]
        return [self.ranks[part] for part in parts]


def read_vocabulary(file: Path) -> Vocabulary:
    """The vocabulary in ``file``. Raises ValueError unless it lists ranks 0, 1, 2 … in order."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise ValueError(f"{file.name}:{number} is not a token and its rank") from error
    tokens = tuple(ranks)
    if not tokens or list(ranks.values()) != list(range(len(tokens))):
        raise ValueError(f"{file.name} does not list the ranks from 0 in order, each once")
    if lacking := sum(bytes([one]) not in ranks for one in range(256)):
        raise ValueError(f"{file.name} lacks {lacking} of the 256 single bytes")
    return Vocabulary(tokens=tokens, ranks=ranks)
