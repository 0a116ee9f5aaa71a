"""Modules with a cache compute what transformers computes, row by row and token by token."""

from pathlib import Path
from typing import Any

import pytest

from tests.probing import probe

pytestmark = pytest.mark.toolchain
POSITIONS = 24
FAMILIES = ["llama", "qwen", "gpt2", "mistral"]
KIN = "cached_kin_probes.py"
KINDS = ["int8", "int4", "fp8"]


def findings(
    python: Path, factory: pytest.TempPathFactory, name: str, *, file: str = "cached_probes.py"
) -> dict[str, Any]:
    return probe(python, factory.mktemp(name), file, name)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return findings(toolchain_python, tmp_path_factory, "llama")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return findings(toolchain_python, tmp_path_factory, "qwen")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return findings(toolchain_python, tmp_path_factory, "gpt2")


@pytest.fixture(scope="module")
def mistral(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return findings(toolchain_python, tmp_path_factory, "mistral", file=KIN)


@pytest.fixture(scope="module")
def narrowed(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return findings(toolchain_python, tmp_path_factory, "narrowed", file=KIN)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_different_lengths_have_the_logits_that_each_has_alone(
    family: str, request: pytest.FixtureRequest
) -> None:
    found = request.getfixturevalue(family)
    assert found["size"] > 1
    assert found["error"] < 1e-5 * found["size"]


@pytest.mark.parametrize("family", FAMILIES)
def test_from_one_token_to_a_full_cache_logits_agree(
    family: str, request: pytest.FixtureRequest
) -> None:
    found = request.getfixturevalue(family)
    assert len(found["edges"]) == 3
    assert max(found["edges"]) < 1e-5 * found["size"]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_are_those_of_transformers(
    family: str, request: pytest.FixtureRequest
) -> None:
    found = request.getfixturevalue(family)
    assert found["ours"] == found["theirs"]
    assert {len(row) for row in found["ours"]} == {16}
    assert len({token for row in found["ours"] for token in row}) > 2, (
        "texts of one token would be no test"
    )


def test_the_cache_holds_the_keys_and_values_of_transformers(llama: dict[str, Any]) -> None:
    cache = llama["cache"]
    assert cache["empty"]
    assert cache["as transformers'"] < 1e-4
    assert cache["rest untouched"]


def test_a_decoded_token_takes_its_place_and_no_other(llama: dict[str, Any]) -> None:
    assert llama["cache"]["next place"] == [True, True]
    assert llama["cache"]["others"] == 0.0


def test_another_conversation_starts_empty(llama: dict[str, Any]) -> None:
    assert llama["cache"]["second starts empty"]
    assert llama["again"]


def test_padding_changes_nothing(llama: dict[str, Any]) -> None:
    padding = llama["padding"]
    assert padding["changed"] > 5
    assert padding["equal"]
    assert padding["zero"]
    assert padding["wider"] < 1e-5 * llama["size"]


def test_weights_change_nothing_in_the_mlir(llama: dict[str, Any]) -> None:
    assert llama["same"]


def test_config_json_says_what_a_caller_must_know(llama: dict[str, Any]) -> None:
    assert llama["about"] == {
        "cache": {"layers": 2, "heads": 2, "positions": POSITIONS, "width": 12, "dtype": "f32"},
        "ends": sorted({1, *llama["ends"]}),
        "longest_prompt": POSITIONS - 2,
        "vocabulary": 64,
    }


def test_the_reference_is_transformers_without_any_cache_of_ours(llama: dict[str, Any]) -> None:
    reference = llama["reference"]
    assert reference["error"] < 1e-5 * llama["size"]
    assert reference["exact"] == "float64"
    assert reference["tokens"] == llama["theirs"]
    assert llama["ends"][1] in llama["theirs"][0][:3], "no end of a text was passed"


@pytest.mark.parametrize("dtype", ["bf16", "f16"])
def test_half_types_are_as_far_off_as_torch_is(qwen: dict[str, Any], dtype: str) -> None:
    halves = qwen["halves"][dtype]
    assert halves["torch"] > 0
    assert halves["ours"] < 4 * halves["torch"]


@pytest.mark.parametrize(
    ("case", "said", "hint"),
    [
        (
            "window",
            "layers see 23 tokens at most (sliding_window), and the cache has 24: both functions"
            " would show them all",
            "set options.positions to 23 or less",
        ),
        ("some layers", "layers see 8 tokens at most", "set options.positions to 8 or less"),
        ("local", "layers see 16 tokens at most (window_size)", "set options.positions to 16 or"),
        (
            "positions",
            "the model has a table of 23 learned positions, the cache 24",
            "set options.positions to 23 or less",
        ),
    ],
)
def test_a_cache_that_a_model_cannot_attend_to_as_a_whole_is_refused(
    mistral: dict[str, Any], case: str, said: str, hint: str
) -> None:
    """Samples are shorter than windows, so no verdict would have seen it."""
    refused = mistral["refusals"][case]
    assert refused["failure"] == "export"
    assert refused["hint"].startswith(hint)
    assert refused["message"].startswith(said)


@pytest.mark.parametrize("kind", KINDS)
def test_quantised_weights_work_with_a_cache(narrowed: dict[str, Any], kind: str) -> None:
    found = narrowed[kind]
    assert max(found["error"], *found["edges"]) < 1e-5 * found["size"]
    assert found["ours"] == found["theirs"]
    # Farther from the float model than from torchao's: it is the quantised one.
    assert found["from float"] > 1e3 * found["error"]


TAKES = "a cached language model takes prompt [batch, length], lengths [batch],"
TAKES += " continuation [batch, steps], all i64, and options.positions"
SHAPES = "batch or length is not dynamic, or an input has another type or shape"


@pytest.mark.parametrize(
    ("case", "said", "hint"),
    [
        ("one input", "the inputs are prompt", TAKES),
        ("misnamed", SHAPES, TAKES),
        ("another type", SHAPES, TAKES),
        ("fixed batch", SHAPES, TAKES),
        ("other batches", SHAPES, TAKES),
        ("no positions", "options.positions is None, not a number of tokens", TAKES),
        ("few positions", "options.positions is 2, not a number of tokens", TAKES),
        (
            "too long",
            "prompts of up to 23 tokens leave no room in a cache of 24",
            "set the maximum of seq to 22 or less",
        ),
    ],
)
def test_what_is_no_conversation_is_refused(
    llama: dict[str, Any], case: str, said: str, hint: str
) -> None:
    wanted = {"failure": "export", "message": said, "hint": hint}
    assert llama["refusals"][case] == wanted


SHORTEN = "shorten the sample, or raise options.positions in the manifest"
NO_CACHE = "config.json beside the MLIR does not say the shape of the cache: "


@pytest.mark.parametrize(
    ("case", "failure", "said", "hint"),
    [
        ("no file", "infrastructure", f"{NO_CACHE}KeyError('config.json')", "export the"),
        ("none", "infrastructure", f"{NO_CACHE}KeyError('cache')", "export the component again"),
        ("odd", "infrastructure", f"{NO_CACHE}TypeError(", "export the component again"),
        ("too long", "export", "a row would have 27 tokens, the cache has 24", SHORTEN),
        ("too many tokens", "export", "a row would have 25 tokens, the cache has 24", SHORTEN),
        ("no token", "export", "a row of the sample has 0 tokens, not 1 to 7", "correct"),
        ("more than there are", "export", "a row of the sample has 8 tokens, not 1 to 7", ""),
        ("nothing to go on with", "export", "a row of the sample has 0 tokens, not 1 to 7", ""),
    ],
)
def test_what_a_driver_cannot_do_is_named(
    llama: dict[str, Any], case: str, failure: str, said: str, hint: str
) -> None:
    found = llama["driver"][case]
    assert found["failure"] == failure
    assert found["message"].startswith(said)
    assert found["hint"].startswith(hint)
