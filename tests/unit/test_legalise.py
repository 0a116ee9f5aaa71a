"""Every entry of the legalisation table is needed, is applied, and computes what torch computes."""

from pathlib import Path
from typing import Any

import pytest

from tests.probing import probe

pytestmark = pytest.mark.toolchain

#: What goes wrong without the entry.
FAILURES = {
    "aten.__and__.Tensor": "failed to legalize operation 'torch.aten.__and__.Tensor'",
    "aten.concat.default": 'name = "torch.aten.concat"',
    "aten.diff.default": 'name = "torch.aten.diff"',
    "aten.index.Tensor": "failed to legalize operation 'torch.aten.index.Tensor_hacked_twin'",
    "aten.scaled_dot_product_attention.default masked": "'tensor.collapse_shape' op expected",
    "aten.softmax.int": "exceeded stack allocation limit of 32768 bytes",
}
WORSE = {
    "aten.group_norm.default",
    "aten.layer_norm.default",
    "aten.scaled_dot_product_attention.default",
    "aten.scaled_dot_product_attention.default causal",
    "aten.scaled_dot_product_attention.default f16",
    "aten.scaled_dot_product_attention.default grouped",
}


def as_good_as_torchs(found: dict[str, Any]) -> bool:
    """Whether a result is about as far from that in float64 as torch's is.

    Each may add up in the order that suits the processor, so that the greatest of many roundings
    may be off by a bit; over all values the order is worth less.
    """
    wrong, torchs = found["wrong by"], found["torch"]
    overall = wrong["root mean square"] <= 1.5 * torchs["root mean square"]
    return bool(overall and wrong["most"] <= 2 * torchs["most"])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, toolchain_python: Path) -> dict[str, Any]:
    return probe(toolchain_python, tmp_path_factory.mktemp("t"), "legalise_probes.py", "table")


def test_every_entry_has_a_case_here_and_a_reason(table: dict[str, Any]) -> None:
    assert set(table) == set(FAILURES) | WORSE
    assert all(entry["reason"] for entry in table.values())


def test_the_operator_is_in_the_exported_graph_and_gone_after(table: dict[str, Any]) -> None:
    seen = {name: (it["with"]["before"], it["with"]["after"]) for name, it in table.items()}
    assert seen == dict.fromkeys(table, (True, False))
    assert all(entry["without"]["after"] for entry in table.values())


@pytest.mark.parametrize("operator", sorted(FAILURES))
def test_without_the_entry_the_compile_fails(table: dict[str, Any], operator: str) -> None:
    assert FAILURES[operator] in table[operator]["without"]["error"]


@pytest.mark.parametrize("operator", sorted(WORSE))
def test_without_the_entry_the_result_is_much_worse(table: dict[str, Any], operator: str) -> None:
    found = table[operator]["without"]
    assert found["wrong by"]["root mean square"] > 5 * found["torch"]["root mean square"]


def test_with_the_table_the_result_is_as_good_as_torchs(table: dict[str, Any]) -> None:
    for entry in table.values():
        assert as_good_as_torchs(entry["with"])


def test_narrow_heads_stay_in_one_operator(tmp_path: Path, toolchain_python: Path) -> None:
    found = probe(toolchain_python, tmp_path, "legalise_probes.py", "narrow")
    assert (found["before"], found["after"]) == (True, True)
    assert as_good_as_torchs(found)
