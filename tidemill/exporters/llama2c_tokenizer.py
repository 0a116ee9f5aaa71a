"""The tokenizer that some llama2.c checkpoints carry behind their weights, as tokenizer.json.

The file's tail is llama2.c's tokenizer.bin (its tokenizer.py): the longest length as int32, then
for each token its score as float32, its length as int32, and its bytes. Tokens 0 to 2 are unknown,
start and end; the next 256 are the bytes. Scores order the merges: the higher, the sooner.
"""

import struct
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, processors

from tidemill.errors import FailureClass, WorkError

FIRST_BYTE, BYTES = 3, 256
SPECIAL = ("<unk>", "<s>", "</s>")
#: How sentencepiece, whose vocabulary this is, writes a space.
SPACE = "\u2581"
_TOKEN = struct.Struct("<fi")
Scored = tuple[float, str]


def read_tokens(path: Path, *, offset: int, count: int) -> list[Scored]:
    """The ``count`` tokens from ``offset`` + 4 on with their scores; [] where the file ends before.

    Raises WorkError when what is there is no such table.
    """
    data = path.read_bytes()[offset:]
    if not data:
        return []
    tokens: list[Scored] = []
    place = 4
    try:
        for index in range(count):
            score, size = _TOKEN.unpack_from(data, place)
            place += _TOKEN.size
            if not 0 <= size <= len(data) - place:
                raise _fault(f"what follows the weights is no tokenizer: token {index} is cut off")
            raw = data[place : place + size]
            tokens.append((score, _text(raw, index)))
            place += size
    except (struct.error, UnicodeDecodeError) as error:
        raise _fault(f"what follows the weights is no tokenizer: {error}") from error
    if place != len(data):
        raise _fault(f"{len(data) - place} bytes follow the tokenizer of {count} tokens")
    return tokens


def tokenizer_of(tokens: list[Scored]) -> str:
    """The text of tokenizer.json: byte-pair merges by score, texts begin with the start token."""
    vocabulary = {text: index for index, (_, text) in enumerate(tokens)}
    tokenizer = Tokenizer(
        models.BPE(
            vocabulary,
            _merges(tokens, vocabulary),
            unk_token=SPECIAL[0],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    start = SPECIAL[1]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A", special_tokens=[(start, vocabulary[start])]
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    text: str = tokenizer.to_str()
    return text


def _merges(tokens: list[Scored], vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Every pair of tokens that makes a token, those with the highest score first."""
    found = []
    for index, (score, text) in enumerate(tokens):
        if index < FIRST_BYTE + BYTES:
            continue
        pairs = ((text[:at], text[at:]) for at in range(1, len(text)))
        known = [(vocabulary[a], vocabulary[b]) for a, b in pairs if {a, b} <= vocabulary.keys()]
        found += [(-score, *pair) for pair in sorted(known)]
    return [(tokens[left][1], tokens[right][1]) for _, left, right in sorted(found)]


def _text(raw: bytes, index: int) -> str:
    if index < FIRST_BYTE:
        return SPECIAL[index]
    if index < FIRST_BYTE + BYTES:
        return f"<0x{index - FIRST_BYTE:02X}>"
    return raw.decode("utf-8").replace(" ", SPACE)


def _fault(message: str) -> WorkError:
    return WorkError(FailureClass.EXPORT, message, hint="check the source and `options`")
