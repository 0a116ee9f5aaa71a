"""Samples made of text, through the real tokenizer library, which only the toolchain has."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tidemill

pytestmark = pytest.mark.toolchain

SCRIPT = """
import json, sys
from pathlib import Path
from tidemill.errors import WorkError
from tidemill.exporters.base import Dimension, InputSpec, Spec
from tidemill.steps.work.samples import make_sample
sizes = ("batch", "seq")
inputs = tuple(InputSpec(name=name, dtype="i64", shape=sizes) for name in ("ids", "mask"))
dynamic = {name: Dimension(min=1, max=10) for name in sizes}
spec = Spec(dtype="f32", options={}, inputs=inputs, dynamic=dynamic, config={})
files = {"tokenizer.json": Path("tokenizer.json")}
try:
    made = make_sample(spec, json.loads(sys.argv[1]), tokenizers=files)
    print(json.dumps([argument.array.tolist() for argument in made]))
except WorkError as error:
    print(json.dumps(error.message))
"""
TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "truncation": {
        "direction": "Right",
        "max_length": 1,
        "strategy": "LongestFirst",
        "stride": 0,
    },
    "padding": {
        "strategy": {"Fixed": 2},
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 9,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    },
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": None,
    "decoder": None,
    "model": {
        "type": "WordLevel",
        "vocab": {"[PAD]": 9, "the": 0, "cat": 1, "sat": 2},
        "unk_token": "[PAD]",
    },
}


@pytest.fixture
def made_by(tmp_path: Path, toolchain_python: Path) -> Callable[..., Any]:
    def make(*texts: str, tokenizer: Any = TOKENIZER, **sample: Any) -> Any:
        (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
        length = sample.pop("length", 4)
        text = {"tokenizer": "tokenizer.json", "texts": list(texts), "length": length}
        whole = {
            "name": "s",
            "dims": {"batch": len(texts), "seq": length},
            "text": text,
            "inputs": {name: {"kind": "text", "field": name} for name in ("ids", "mask")},
            **sample,
        }
        done = subprocess.run(
            [str(toolchain_python), "-c", SCRIPT, json.dumps(whole)],
            cwd=tmp_path,
            env={"PYTHONPATH": str(Path(tidemill.__file__).parents[1])},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    return make


def test_texts_are_padded_on_the_right(made_by: Callable[..., Any]) -> None:
    assert made_by("the cat sat", "cat") == [
        [[0, 1, 2, 9], [1, 9, 9, 9]],
        [[1, 1, 1, 0], [1, 0, 0, 0]],
    ]


def test_a_text_is_never_cut(made_by: Callable[..., Any]) -> None:
    message = made_by("the cat sat", length=2)
    assert message == "sample s: 'the cat sat' has 3 tokens, more than length 2"


def test_a_padded_text_cannot_be_continued(made_by: Callable[..., Any]) -> None:
    message = made_by("the cat sat", greedy={"tokens": 2})
    assert message == (
        "sample s: greedy decoding needs texts of exactly length tokens, without padding"
    )


def test_a_tokenizer_without_padding_needs_texts_of_full_length(
    made_by: Callable[..., Any],
) -> None:
    unpadded = {**TOKENIZER, "padding": None}
    assert made_by("the cat", tokenizer=unpadded, length=2) == [[[0, 1]], [[1, 1]]]
    assert made_by("the cat", tokenizer=unpadded) == (
        "sample s: tokenizer.json says no padding; give texts of 4 tokens each"
    )


def test_a_damaged_tokenizer_is_named(made_by: Callable[..., Any]) -> None:
    message = made_by("the", tokenizer={})
    assert message.startswith("sample s: tokenizer.json is not a tokenizer: ")
