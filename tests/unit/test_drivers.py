"""A program of several functions in the graph: its driver, and the files beside its MLIR."""

from pathlib import Path

import pytest

from tests.unit.made import MODEL, graph_of
from tidemill.code import closure
from tidemill.exporters import EXPORTERS
from tidemill.graph import Graph, Node

DRIVERS = "tidemill.steps.work.drivers"
DRIVEN = MODEL.replace("exporter: sentence_encoder", "exporter: cached_lm").replace(
    "options: {pooling: mean}", "options: {positions: 40}"
)


@pytest.fixture
def plain(tmp_path: Path) -> Graph:
    return graph_of(tmp_path)


@pytest.fixture
def driven(tmp_path: Path) -> Graph:
    (tmp_path / "driven").mkdir()
    return graph_of(tmp_path / "driven", model=DRIVEN)


def validation(graph: Graph) -> Node:
    return graph.nodes["validate:tiny/encoder/f32/cpu"]


def files(node: Node) -> dict[str, tuple[str, tuple[tuple[str, str], ...]]]:
    return {edge.role: (edge.node, edge.files) for edge in node.inputs}


def test_the_driver_takes_the_place_of_the_function_in_the_key(plain: Graph, driven: Graph) -> None:
    one, several = validation(plain).fields, validation(driven).fields
    assert one["function"] == "main"
    assert several["driver"] == "cached_lm"
    assert set(one) ^ set(several) == {"function", "driver"}


def test_a_driver_is_code_of_the_validations_that_it_drives_only(
    plain: Graph, driven: Graph
) -> None:
    main, cached = (set(closure(validation(graph).code)) for graph in (plain, driven))
    assert main - cached == {f"{DRIVERS}.main"}
    own = {f"{DRIVERS}.cached_lm", f"{DRIVERS}.talking", "tidemill.texts.talk"}
    assert cached - main == own
    assert DRIVERS in main & cached


def test_the_config_beside_the_mlir_is_an_input_and_the_tokenizer_is_none(
    plain: Graph, driven: Graph
) -> None:
    one, several = files(validation(plain)), files(validation(driven))
    assert several.pop("config") == ("export:tiny/encoder/f32", (("config.json", "config.json"),))
    assert one["parameters"] == ("pack:tiny/encoder/f32", ())
    assert several["parameters"] == ("pack:tiny/encoder/f32", (("model.irpa", "model.irpa"),))
    assert one.keys() == several.keys()


def test_a_compile_takes_the_mlir_alone(driven: Graph) -> None:
    compiled = driven.nodes["compile:tiny/encoder/f32/cpu"]
    assert files(compiled) == {"mlir": ("export:tiny/encoder/f32", (("model.mlir", "model.mlir"),))}


def test_every_driver_that_the_table_names_is_there() -> None:
    for info in EXPORTERS.values():
        assert f"{DRIVERS}.{info.driver}" in closure([f"{DRIVERS}.{info.driver}"])
