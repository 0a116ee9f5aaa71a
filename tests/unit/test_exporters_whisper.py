"""Whisper's halves compute what transformers computes, from OpenAI's own kind of file."""

from pathlib import Path
from typing import Any

import pytest

from tests.probing import probe

pytestmark = pytest.mark.toolchain

NO_CHECKPOINT = "is not one of OpenAI's Whisper checkpoints (dims and model_state_dict)"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return probe(toolchain_python, tmp_path_factory.mktemp("whisper"), "whisper_probes.py")


def test_the_compiled_halves_give_transformers_states_and_logits(found: dict[str, Any]) -> None:
    halves = found["halves"]
    assert halves["states"] < 1e-4
    assert halves["logits"] < 1e-4
    assert halves["shorter"] < 1e-4
    assert halves["size of logits"] > 1


def test_weights_change_nothing_in_the_mlir(found: dict[str, Any]) -> None:
    assert found["halves"]["same"] == {"encoder": True, "decoder": True}


def test_the_checkpoint_of_transformers_is_packed_to_the_same_bytes(found: dict[str, Any]) -> None:
    assert found["published"]


def test_tokens_by_the_rules_are_those_that_generate_gives(found: dict[str, Any]) -> None:
    texts = found["texts"]
    end = 80
    plain = [token for token in texts["ours"] if token != end]
    assert [token for token in texts["theirs"] if token not in {end, 81, 82}] == plain
    assert len(set(plain)) > 3
    assert texts["without"] != texts["ours"], "the rules change nothing: the test could not fail"


def test_features_are_those_of_transformers(found: dict[str, Any]) -> None:
    features = found["features"]
    assert features["shape"] == [80, 3000]
    assert features["spread"] > 1.9
    # Theirs are computed in part in float32; the filters are not.
    assert features["far"] < 1e-4
    assert features["triangles"] < 1e-12


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("not allowed", "tiny.pt is a pickle file, and the manifest does not allow it"),
        ("another input", "a Whisper encoder takes log_mel, not pixels"),
        ("wide", "wide.pt is of another size: n_audio_state is 64, config.json says d_model 32"),
        ("bare", f"bare.pt {NO_CHECKPOINT}: it holds something else"),
        ("listed", f"listed.pt {NO_CHECKPOINT}: encoder.ln_post.bias is no tensor"),
        ("torn", f"torn.pt {NO_CHECKPOINT}: "),
    ],
)
def test_what_does_not_fit_is_named(found: dict[str, Any], case: str, said: str) -> None:
    assert found["refusals"][case].startswith(said)
