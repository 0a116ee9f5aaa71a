"""How Whisper's authors choose the next token when no time stamps are wanted.

The best one, but

* never a token that stands for no speech (brackets, notes, speaker marks), nor a task's token;
* not nothing at first: neither a blank nor the end;
* until the end-of-text token.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidemill.speech.vocabulary import Vocabulary

_SINGLE = '"#()*+/:;<=>@[\\]^_`{|}~「」『』'
_SEVERAL = "<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪"
#: Their bytes are shared by these seven only, so the first token of each is banned even if it has
#: several.
_MUSIC = "♩♪♫♬♭♮♯"
#: Between words these two are speech; at the start of a word they mark a speaker or a quotation.
_STARTS = (" -", " '")
_TASKS = (
    "transcribe",
    "translate",
    "startoftranscript",
    "startofprev",
    "startoflm",
    "nospeech",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """``stop`` ends a text; ``banned`` is never chosen, ``banned_first`` not as first token."""

    stop: int
    banned: tuple[int, ...] = ()
    banned_first: tuple[int, ...] = ()


def rules_of(vocabulary: Vocabulary) -> Rules:
    """The rules in the numbers of ``vocabulary``."""
    banned = {vocabulary.of_symbol(start)[0] for start in _STARTS}
    for symbol in (*_SINGLE, *_SEVERAL.split(), *_MUSIC):
        for text in (symbol, f" {symbol}"):
            tokens = vocabulary.of_symbol(text)
            if len(tokens) == 1 or symbol in _MUSIC:
                banned.add(tokens[0])
    banned |= {vocabulary.special(task) for task in _TASKS}
    stop = vocabulary.special("endoftext")
    return Rules(
        stop=stop,
        banned=tuple(sorted(banned)),
        banned_first=(*vocabulary.of_symbol(" "), stop),
    )


def prompt_of(vocabulary: Vocabulary) -> tuple[int, int]:
    """What an English-only model is given first: begin, and write no time stamps."""
    return vocabulary.special("startoftranscript"), vocabulary.special("notimestamps")


def best_tokens(logits: NDArray[np.floating], rules: Rules, *, first: bool) -> NDArray[np.int64]:
    """The best allowed token of each row of ``logits`` [batch, vocabulary]."""
    allowed = np.array(logits)
    allowed[:, list(rules.banned)] = -np.inf
    if first:
        allowed[:, list(rules.banned_first)] = -np.inf
    best: NDArray[np.int64] = np.argmax(allowed, axis=-1).astype(np.int64)
    return best
