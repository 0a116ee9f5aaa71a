"""llama2.c's tokenizer as tokenizer.json, through the real library, which the toolchain has."""

import json
import random
import struct
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.probing import ROOT

pytestmark = pytest.mark.toolchain

SCRIPT = """
import json, sys
from pathlib import Path
from tokenizers import Tokenizer
from tidemill.errors import WorkError
from tidemill.exporters.llama2c_tokenizer import read_tokens, tokenizer_of
count, texts = json.load(sys.stdin)
try:
    tokens = read_tokens(Path("file"), offset=7, count=count)
except WorkError as error:
    print(json.dumps({"failure": str(error.failure), "message": error.message}))
    sys.exit()
if not tokens:
    print("{}")
    sys.exit()
words = Tokenizer.from_str(tokenizer_of(tokens))
ids = [words.encode(text).ids for text in texts]
print(json.dumps({"ids": ids, "texts": [words.decode(one) for one in ids]}))
"""
SPECIAL = [b"<unk>", b"\n<s>\n", b"\n</s>\n"]
BYTES = [b"<0x%02X>" % one for one in range(256)]
#: From the likeliest to the least.
PIECES = ["th", "the", " the", "ll", "mi", "mill", " mill", "ti", "de", "tide", " tide"]
LETTERS = [*" abcdefghijklmnopqrstuvwxyz", "é", "水", "\n"]
TOKENS = [*SPECIAL, *BYTES, *(one.encode() for one in (*PIECES, *LETTERS))]
#: Where scores do not follow the order of the vocabulary, they count.
SCORES = [0.0] * 259 + [-float(index) for index in range(len(PIECES) + len(LETTERS))]


def tail(tokens: list[bytes] = TOKENS) -> bytes:
    """A tokenizer.bin as llama2.c's tokenizer.py writes it."""
    pairs = zip(SCORES, tokens, strict=False)
    parts = [struct.pack("<fi", score, len(one)) + one for score, one in pairs]
    return struct.pack("<i", max(map(len, tokens))) + b"".join(parts)


def encoded(text: str) -> list[int]:
    """What run.c's ``encode`` does: the pair with the best score becomes one, until none does."""
    known = {piece: index for index, piece in enumerate(TOKENS)}
    ids = [known[b" "]] if text else []
    for letter in text:
        one = letter.encode()
        ids += [known[one]] if one in known else [byte + 3 for byte in one]
    while True:
        pairs = [(TOKENS[a] + TOKENS[b], at) for at, (a, b) in enumerate(pairwise(ids))]
        best = max(
            ((SCORES[known[pair]], -at, known[pair]) for pair, at in pairs if pair in known),
            default=None,
        )
        if best is None:
            return [1, *ids]
        _, minus, token = best
        ids[-minus : 2 - minus] = [token]


@pytest.fixture
def ask(toolchain_python: Path, tmp_path: Path) -> Any:
    """The toolchain's answer to a file that ends with ``data``."""

    def asked(data: bytes, texts: tuple[str, ...] = (), count: int = len(TOKENS)) -> Any:
        (tmp_path / "file").write_bytes(b"weights" + data)
        done = subprocess.run(
            [str(toolchain_python), "-c", SCRIPT],
            input=json.dumps([count, texts]),
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return asked


def test_texts_become_the_tokens_of_llama2c_and_texts_again(ask: Any) -> None:
    source = random.Random(4)
    parts = [*PIECES, *LETTERS, "🌊", "Z", "  "]
    texts = ("the tide mill", "", "é", "Zebra 🌊 水車", "tide\nthe", *(
        "".join(source.choices(parts, k=source.randrange(1, 9))) for _ in range(200)
    ))  # fmt: skip
    found = ask(tail(), texts)
    assert found["ids"] == [encoded(text) for text in texts]
    assert found["texts"] == list(texts)
    assert max(map(len, found["ids"])) > 8, "texts of nothing would be no test"
    assert any(4 <= one < 259 for ids in found["ids"] for one in ids), "no byte was needed"


def test_a_file_that_ends_with_its_weights_has_no_tokenizer(ask: Any) -> None:
    assert ask(b"") == {}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\n", "what follows the weights is no tokenizer: "),
        (tail()[:-8], "what follows the weights is no tokenizer: unpack_from requires"),
        (tail()[:-1], "what follows the weights is no tokenizer: token 299 is cut off"),
        (
            struct.pack("<ifi", 9, 0.0, -5) + tail()[12:],
            "what follows the weights is no tokenizer: token 0 is cut off",
        ),
        (tail() + b"\0\0", "2 bytes follow the tokenizer of 300 tokens"),
        (
            tail([*TOKENS[:-1], b"\xff"]),
            "what follows the weights is no tokenizer: 'utf-8' codec can't decode byte 0xff",
        ),
    ],
)
def test_a_tail_that_is_no_tokenizer_is_refused(ask: Any, data: bytes, said: str) -> None:
    found = ask(data)
    assert found["failure"] == "export"
    assert found["message"].startswith(said), found
