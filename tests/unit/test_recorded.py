"""Inputs of samples that are recorded: a clip's features, what another reference gives."""

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tidemill.errors import WorkError
from tidemill.exporters.base import Dimension, InputSpec, Spec
from tidemill.speech.mel import log_mel
from tidemill.speech.rules import Rules
from tidemill.speech.sound import read_wav
from tidemill.steps.work.greedy import Plan, decode
from tidemill.steps.work.recorded import Recorded
from tidemill.steps.work.samples import Argument, make_sample

OF = "encoder/clip/states"


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    with wave.open(str(tmp_path / "clip.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((np.arange(3000) % 77 * 300).astype("<i2").tobytes())
    np.save(tmp_path / "states.npy", np.array([[0.1, 70000.0]]))
    outputs = {OF: tmp_path / "states.npy"}
    return Recorded(sounds={"clip.wav": tmp_path / "clip.wav"}, outputs=outputs)


def made(recorded: Recorded, recipe: dict[str, Any], *shape: int, dtype: str = "f32") -> Argument:
    item = InputSpec(name="x", dtype="float", shape=shape)
    spec = Spec(dtype=dtype, options={}, inputs=(item,), dynamic={}, config={})
    sample = {"name": "s", "inputs": {"x": recipe}}
    return make_sample(spec, sample, tokenizers={}, recorded=recorded)[0]


def test_a_clip_becomes_features_of_every_row_in_the_artifacts_type(recorded: Recorded) -> None:
    recipe = {"kind": "log_mel", "file": "clip.wav"}
    argument = made(recorded, recipe, 2, 8, 20, dtype="f16")
    wanted = log_mel(read_wav(recorded.sounds["clip.wav"]), bins=8, frames=20)
    assert argument.array.dtype == np.float16
    for row in argument.array:
        assert row.tolist() == wanted.astype(np.float16).tolist()
    assert np.ptp(wanted) > 0.5


def test_an_output_is_taken_and_rounded_to_the_type(recorded: Recorded) -> None:
    array = made(recorded, {"kind": "output", "of": OF}, 1, 2).array
    assert array.tolist() == [[np.float32(0.1), 70000.0]]


@pytest.mark.parametrize(
    ("recipe", "shape", "dtype", "said"),
    [
        ({"kind": "log_mel", "file": "no.wav"}, (1, 8, 20), "f32",
         "input x: no.wav is not among the inputs"),
        ({"kind": "log_mel"}, (1, 8, 20), "f32", "input x: kind log_mel needs 'file'"),
        ({"kind": "log_mel", "file": "clip.wav"}, (8, 20), "f32",
         "input x: log_mel fills [batch, bins, frames], not [8, 20]"),
        ({"kind": "log_mel", "file": "clip.wav"}, (1, 8, 10), "f32",
         "input x: the clip is 0.2 s long, the model takes 0.1 s"),
        ({"kind": "output", "of": "encoder/clip/other"}, (1, 2), "f32",
         "input x: encoder/clip/other is not among the inputs"),
        ({"kind": "output", "of": OF}, (1, 3), "f32",
         "input x has shape (1, 2), but the program takes (1, 3)"),
        ({"kind": "output", "of": OF}, (1, 2), "f16",
         "input x has values beyond the range of f16"),
        ({"kind": "output", "of": OF, "seed": 1}, (1, 2), "f32",
         "input x: output takes no 'seed'"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_named(
    recorded: Recorded, recipe: dict[str, Any], shape: tuple[int, ...], dtype: str, said: str
) -> None:
    with pytest.raises(WorkError) as caught:
        made(recorded, recipe, *shape, dtype=dtype)
    assert caught.value.message == f"sample s: {said}"


@pytest.mark.parametrize("data", [b"", b"no array"])
def test_an_output_that_cannot_be_read_is_named(recorded: Recorded, data: bytes) -> None:
    recorded.outputs[OF].write_bytes(data)
    with pytest.raises(WorkError, match=r"^sample s: input x: "):
        made(recorded, {"kind": "output", "of": OF}, 1, 2)


def follower(arrays: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """Logits that want the next number after the last token, then the second next."""
    (ids,) = arrays
    logits = np.zeros((*ids.shape, 9))
    for row, tokens in enumerate(ids):
        logits[row, -1, min(tokens[-1] + 1, 8)] = 2
        logits[row, -1, min(tokens[-1] + 2, 8)] = 1
    return [logits]


def test_rules_ban_tokens_and_end_each_row_by_itself() -> None:
    rules = Rules(stop=8, banned=(3,), banned_first=(6,))
    plan = Plan(tokens=9, rules=rules)
    tokens = decode(follower, [np.array([[0], [5]])], plan=plan)  # type: ignore[arg-type]
    assert tokens.tolist() == [[1, 2, 4, 5, 6, 7, 8], [7, 8, 8, 8, 8, 8, 8]]


def test_without_rules_every_token_counts() -> None:
    tokens = decode(follower, [np.array([[6]])], plan=Plan(tokens=4))  # type: ignore[arg-type]
    assert tokens.tolist() == [[7, 8, 8, 8]]


def test_dimensions_hold_for_recorded_inputs_too(recorded: Recorded) -> None:
    item = InputSpec(name="x", dtype="float", shape=("batch", 8, 20))
    spec = Spec(
        dtype="f32",
        options={},
        inputs=(item,),
        dynamic={"batch": Dimension(min=1, max=4)},
        config={},
    )
    recipe = {"kind": "log_mel", "file": "clip.wav"}
    sample = {"name": "s", "dims": {"batch": 3}, "inputs": {"x": recipe}}
    (argument,) = make_sample(spec, sample, tokenizers={}, recorded=recorded)
    assert argument.shape == (3, 8, 20)
