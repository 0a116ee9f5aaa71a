"""An input of a sample may be what the reference of a component above gives."""

from pathlib import Path

import pytest

from tests.unit.edits import problems_of
from tests.unit.made import MODEL, graph_of
from tidemill.graph import Input

_, ENCODER = MODEL.split("components:\n")
NAMED = MODEL.replace("    dtypes:", "    outputs: [pooled, states]\n    dtypes:")
TAKER = (
    ENCODER.replace("  encoder:", "  taker:")
    .replace("      ids: {dtype", "      given: {dtype")
    .replace("ids: {kind: integers, seed: 1, low: 0, high: 9}", "given: {kind: output, of: OF}")
)
PAIR = NAMED + TAKER
AT = "components.taker.samples[0].inputs.given.of"


def pair(of: str = "encoder/noise/states") -> str:
    return PAIR.replace("OF}", f"{of}}}")


def test_the_reference_reads_one_file_of_the_other_of_its_own_type(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, model=pair())
    for dtype in ("f32", "f16"):
        node = graph.nodes[f"reference:tiny/taker/{dtype}"]
        assert node.inputs[-1] == Input(
            role="output",
            node=f"reference:tiny/encoder/{dtype}",
            files=(("encoder/noise/states", "noise.expected1.npy"),),
        )
        (sample,) = node.fields["samples"]
        assert sample["inputs"] == {"given": {"kind": "output", "of": "encoder/noise/states"}}


def test_nothing_else_of_the_component_waits_for_it(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, model=pair())
    waiting = {
        name
        for name, node in graph.nodes.items()
        if any(edge.node.startswith("reference:tiny/encoder") for edge in node.inputs)
        and ":tiny/taker/" in name
    }
    assert waiting == {"reference:tiny/taker/f32", "reference:tiny/taker/f16"}


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ("encoder/noise/states", []),
        ("encoder/noise", ["'encoder/noise' does not name an output: write it as"
                           " COMPONENT/SAMPLE/OUTPUT"]),
        ("decoder/noise/states", ["no component 'decoder' stands above this one (there: encoder)"]),
        ("taker/noise/states", ["no component 'taker' stands above this one (there: encoder)"]),
        ("encoder/song/states", ["'encoder' has no sample 'song' (it has: noise)"]),
        ("encoder/noise/logits", ["'encoder' has no output 'logits' (it has: pooled, states)"]),
    ],
)  # fmt: skip
def test_what_it_names_must_be_there(tmp_path: Path, of: str, said: list[str]) -> None:
    found = [line.partition(": ")[2] for line in problems_of(tmp_path, model=pair(of))]
    assert found == [f"{AT}: {words}" for words in said]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("dtypes: [f32, f16]", "dtypes: [f32]", "'encoder' lacks the dtypes f16"),
        ("    dtypes:", "    matrix:\n      length: [1, 2]\n    dtypes:",
         "'encoder' has 2 sizes of 'length': which of them is meant?"),
    ],
)  # fmt: skip
def test_it_must_have_one_reference_of_each_type(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    model = pair().replace(old, new, 1)
    found = [line.partition(": ")[2] for line in problems_of(tmp_path, model=model)]
    assert f"{AT}: {said}" in found


def test_files_of_samples_are_read_under_their_own_names(tmp_path: Path) -> None:
    files = "".join(
        f"      {name}: {{path: tiny/{name}, sha256: {'a' * 64}}}\n"
        for name in ("clip.wav", "words.tiktoken")
    )
    model = MODEL.replace("    files:\n", f"    files:\n{files}").replace(
        "ids: {kind: integers, seed: 1, low: 0, high: 9}",
        "ids: {kind: log_mel, file: package/clip.wav}\n"
        "        greedy: {tokens: 3, vocabulary: package/words.tiktoken}",
    )
    graph = graph_of(tmp_path, model=model)
    edges = {
        dtype: {
            edge.role: edge.files
            for edge in graph.nodes[f"reference:tiny/encoder/{dtype}"].inputs
            if edge.role not in {"config", "weights"}
        }
        for dtype in ("f32", "f16")
    }
    sound = {"sound": (("clip.wav", "clip.wav"),)}
    words = {"vocabulary": (("words.tiktoken", "words.tiktoken"),)}
    assert edges == {"f32": sound | words, "f16": sound}, "f16 does not decode"
    (sample,) = graph.nodes["reference:tiny/encoder/f32"].fields["samples"]
    assert sample["inputs"] == {"ids": {"kind": "log_mel", "file": "clip.wav"}}
    assert sample["greedy"] == {"tokens": 3, "vocabulary": "words.tiktoken"}


def test_a_file_that_no_source_has_is_named(tmp_path: Path) -> None:
    model = MODEL.replace(
        "ids: {kind: integers, seed: 1, low: 0, high: 9}",
        "ids: {kind: log_mel, file: package/clip.wav}\n"
        "        greedy: {tokens: 3, vocabulary: package/words.tiktoken}",
    )
    known = "(known: config.json, model.safetensors, tokenizer.json)"
    at = "components.encoder.samples[0]"
    found = [line.partition(": ")[2] for line in problems_of(tmp_path, model=model)]
    assert found == [
        f"{at}.inputs.ids.file: source 'package' has no file 'clip.wav' {known}",
        f"{at}.greedy.vocabulary: source 'package' has no file 'words.tiktoken' {known}",
    ]
