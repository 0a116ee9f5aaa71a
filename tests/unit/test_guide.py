"""What docs/guide.md shows to copy is taken from there and run."""

import re
from pathlib import Path

import pytest

from pipelines.base import Pipeline
from tests.probing import ROOT, probe
from tidemill import exporters

BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
BLOCKS = BLOCK.findall((ROOT / "docs/guide.md").read_text(encoding="utf-8"))


def block_with(words: str) -> str:
    (found,) = [block for block in BLOCKS if words in block]
    return str(found)


def test_the_pipeline_is_one() -> None:
    names: dict[str, object] = {}
    exec(compile(block_with("PIPELINE ="), "guide", "exec"), names)  # noqa: S102 - our own text
    pipeline = names["PIPELINE"]
    assert isinstance(pipeline, Pipeline)
    assert (pipeline.name, pipeline.channel) == ("mine", "mine")


@pytest.mark.toolchain
def test_the_exporter_goes_all_the_way(tmp_path: Path, toolchain_python: Path) -> None:
    source = tmp_path / "perceptron.py"
    source.write_text(block_with("EXPORTER: Exporter"), encoding="utf-8")
    found = probe(toolchain_python, tmp_path / "run", "guide_probes.py", str(source))
    assert found["parameters"] == ["first.bias", "first.weight", "last.bias", "last.weight"]
    assert found["shape"] == [3, 4]
    assert found["error"] < 1e-5 * found["size"]


def test_the_entry_in_the_table_is_one() -> None:
    text = "ENTRY = {" + block_with('"perceptron": ') + "}"
    names = dict(vars(exporters))
    exec(compile(text, "guide", "exec"), names)  # noqa: S102 - our own text
    assert sorted(names["ENTRY"]["perceptron"].options) == ["ignore", "unused", "width"]
