"""GGUF files and llama2.c's checkpoints as modules with a cache."""

from pathlib import Path
from typing import Any

import pytest

from tests.probing import probe

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("gguf")
    return probe(toolchain_python, folder, "checkpoint_probes.py", "gguf")


@pytest.fixture(scope="module")
def llama2c(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("llama2c")
    return probe(toolchain_python, folder, "checkpoint_probes.py", "llama2c")


def test_a_gguf_file_in_float32_is_packed_to_the_bits_it_was_made_from(
    gguf: dict[str, Any],
) -> None:
    assert gguf["same bits"]


def test_a_quantised_gguf_file_computes_what_its_blocks_say(gguf: dict[str, Any]) -> None:
    assert gguf["error"] < 1e-3
    assert gguf["ours"] == gguf["theirs"]
    assert len({token for row in gguf["ours"] for token in row}) > 3, (
        "texts of one token would be no test"
    )


def test_the_tokenizer_of_a_gguf_file_is_written(gguf: dict[str, Any]) -> None:
    # "the" is one token by two merges, " tin" is "Ġt" and "in" by two others.
    assert gguf["ids"] == [31, 32, 33]


@pytest.mark.parametrize("kind", ["gguf", "llama2c"])
def test_values_from_a_seed_have_the_declared_tokenizer_or_none(
    kind: str, request: pytest.FixtureRequest
) -> None:
    found = request.getfixturevalue(kind)
    assert found["synthetic"] == {"without": None, "with": "{}"}


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (
            "turned",
            "model.gguf is of another model than config.json: rope_theta is 500000.0, not 10000.0",
        ),
        (
            "deep",
            "model.gguf is of another model than config.json: num_hidden_layers is 3, not 2",
        ),
        ("torn", "model.gguf cannot be read by transformers as GGUF: "),
        ("short", "model.gguf cannot be read by transformers as GGUF: "),
        ("empty", "model.gguf cannot be read by transformers as GGUF: "),
        ("words", "model.gguf cannot be read by transformers as GGUF: GGUF magic invalid"),
        ("two", "cached_gguf reads one weights file, 2 are declared"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(
    gguf: dict[str, Any], case: str, said: str
) -> None:
    found = gguf["refusals"][case]
    assert found["message"].startswith(said)
    assert found["failure"] == "export"
    assert found["hint"] == "check the source and config.json"


def test_a_checkpoint_of_llama2c_computes_what_it_was_made_from(llama2c: dict[str, Any]) -> None:
    assert llama2c["error"] < 1e-3
    assert llama2c["ours"] == llama2c["theirs"]
    assert len({token for row in llama2c["ours"] for token in row}) > 3, (
        "texts of one token would be no test"
    )


def test_what_stands_behind_the_weights_is_its_tokenizer(llama2c: dict[str, Any]) -> None:
    assert llama2c["vocabulary"] == 64
    assert llama2c["without a tail"] is False
    said = "what follows the weights is no tokenizer: "
    assert llama2c["torn"]["message"].startswith(said)
