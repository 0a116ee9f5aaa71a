"""Weight-only quantisation stores what torchao makes, and computes what torchao computes."""

from pathlib import Path
from typing import Any

import pytest

from tests.probing import probe

pytestmark = pytest.mark.toolchain
KINDS = ("int8", "int4", "fp8")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return probe(toolchain_python, tmp_path_factory.mktemp("quantized"), "quantized_probes.py")


@pytest.mark.parametrize("kind", KINDS)
def test_torch_and_the_compiled_program_give_torchaos_logits(
    found: dict[str, Any], kind: str
) -> None:
    one = found[kind]
    assert one["f32"] < 1e-5
    assert one["f64"] < 1e-5
    assert one["compiled f32"] < 1e-5
    assert one["compiled f16"] < 1e-2
    # The distance to the float model is larger than all of these: it is the quantised one.
    assert one["from float"] > 2e-2


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_stored_is_what_torchao_made(found: dict[str, Any], kind: str) -> None:
    assert found[kind]["bits"]
    assert found[kind]["scales"]


@pytest.mark.parametrize("kind", KINDS)
def test_weights_change_nothing_in_the_mlir(found: dict[str, Any], kind: str) -> None:
    assert found[kind]["same"]


def test_fewer_bits_are_farther_from_the_checkpoint(found: dict[str, Any]) -> None:
    int8, fp8, int4 = (found[kind]["weights"] for kind in ("int8", "fp8", "int4"))
    assert 0 < int8 < fp8 < int4 < 0.2


def test_the_output_layer_stays_as_it_is(found: dict[str, Any]) -> None:
    assert found["int8"]["float layers"] == ["lm_head.weight"]


def test_what_cannot_be_quantised_is_refused(found: dict[str, Any]) -> None:
    assert found["refusals"] == {
        "int5": "options.quantize is 'int5'; there are int8, int4, fp8",
        "int4": "model.layers.0.mlp.down_proj has 80 columns, no multiple of 32",
        "no linear layer": "only layers that are torch.nn.Linear are quantised here; 8 weights are"
        " of others (transformer.h.0.attn.c_attn.weight)",
        "experts": "only layers that are torch.nn.Linear are quantised here; 3 weights are of"
        " others (model.layers.0.mlp.gate.weight)",
    }
