"""A transformers model with synthetic weights, from its configuration to tokens."""

from pathlib import Path

import pytest

from tests.workbench import Workbench

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A workspace in which pipeline ``language`` has run. Look, don't touch."""
    bench = Workbench.make(tmp_path_factory.mktemp("language") / "work")
    assert set(bench.run("language").outcomes.values()) == {"built"}
    return bench


def test_it_is_validated_down_to_its_greedy_tokens(language: Workbench) -> None:
    verdict = language.record("validate", "lm/logits/f32/cpu")["facts"]["verdict"]
    assert verdict["holds"]
    assert (verdict["greedy"]["tokens"], verdict["greedy"]["equal"]) == (8, 8)
    listed = language.call("ls", "--json", "lm/logits/f32/cpu").json
    assert {(item["kind"], item["status"]) for item in listed} == {
        ("vmfb", "validated"),
        ("verdict", "validated"),
    }


def test_its_export_sees_the_configuration_and_no_weights(language: Workbench) -> None:
    parts = language.record("export", "lm/logits/f32")["parts"]
    assert set(parts["inputs"]) == {"config"}
    assert parts["fields"]["synthetic"] is None


def test_another_folder_gives_the_same_mlir(language: Workbench, tmp_path: Path) -> None:
    other = language.copy(tmp_path / "elsewhere", state=False)
    other.run("language", "--stage", "export")
    first, second = (b.record("export", "lm/logits/f32") for b in (language, other))
    assert second["outputs"] == first["outputs"]
    assert second["key"] == first["key"]
