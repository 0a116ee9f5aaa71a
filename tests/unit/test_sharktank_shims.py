"""Shims: each for the versions that it was seen to serve, and an error above them."""

from pathlib import Path

import pytest

from tidemill.errors import WorkError
from tidemill.exporters import sharktank_shims as shims
from tidemill.exporters.sharktank_shims import Shim, apply
from tidemill.toolchain.lock import read_lock

ALL = (
    shims.MLIR_ISINSTANCE,
    shims.FLOAT_ATTENTION,
    shims.QUANTISED_ATTENTION,
    shims.EQUALISED_LAYERS,
    shims.LAYER_BIASES,
)
LOCK = read_lock(Path(__file__).parents[2] / "toolchains/sharktank.lock")


@pytest.mark.parametrize("shim", ALL, ids=lambda shim: shim.name)
def test_the_locked_toolchain_is_served(shim: Shim) -> None:
    assert shim.wanted(LOCK.version(shim.package))


@pytest.mark.parametrize(
    ("version", "wanted"), [("3.10.0", False), ("3.11.0", True), ("3.12.0", True), ("3.9", False)]
)
def test_a_version_without_the_fault_is_left_alone(version: str, wanted: bool) -> None:
    assert shims.MLIR_ISINSTANCE.wanted(version) is wanted


@pytest.mark.parametrize(
    ("shim", "version"),
    [
        (shims.MLIR_ISINSTANCE, "3.13.0"),
        (shims.FLOAT_ATTENTION, "3.9.1"),
        (shims.QUANTISED_ATTENTION, "0.14.0"),
    ],
)
def test_above_its_range_a_shim_says_that_somebody_has_to_look(shim: Shim, version: str) -> None:
    with pytest.raises(WorkError) as raised:
        shim.wanted(version)
    assert f"shim {shim.name} serves {shim.package} >={shim.first},<{shim.before}" in str(
        raised.value
    )
    assert shim.why in raised.value.hint


def test_a_build_of_a_version_counts_as_that_version() -> None:
    assert shims.FLOAT_ATTENTION.wanted("3.8.0+cpu")
    assert shims.FLOAT_ATTENTION.wanted("3.8.0rc1")


@pytest.mark.parametrize(
    ("name", "lifted"),
    [
        ("model.layers.0.mlp.up_proj.layer.weight", "model.layers.0.mlp.up_proj.weight"),
        ("model.layers.0.mlp.up_proj.layer.q_input", "model.layers.0.mlp.up_proj.q_input"),
        ("model.layers.0.mlp.up_proj.layer.bias", "model.layers.0.mlp.up_proj.bias"),
        ("model.layers.0.mlp.up_proj.scale.weight", "model.layers.0.mlp.up_proj.premul_input"),
        ("model.layers.0.input_layernorm.weight", "model.layers.0.input_layernorm.weight"),
        ("model.layers.0.self_attn.attn_q_output", "model.layers.0.self_attn.attn_q_output"),
    ],
)
def test_the_parts_of_an_equalised_layer_get_its_own_name(name: str, lifted: str) -> None:
    assert shims.lifted(name) == lifted


def test_only_what_is_wanted_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def shim(name: str, first: str) -> Shim:
        return Shim(
            name=name, package="any", first=first, before="9", why="",
            install=lambda: done.append(name),
        )  # fmt: skip

    monkeypatch.setattr("importlib.metadata.version", lambda _: "2.0")
    assert apply((shim("early", "1.0"), shim("late", "3.0"))) == ["early"]
    assert done == ["early"]


def test_the_names_of_shims_are_in_the_decision_that_explains_them() -> None:
    text = (Path(__file__).parents[2] / "docs/adr/0019-sharktank.md").read_text(encoding="utf-8")
    assert [shim.name for shim in ALL if f"`{shim.name}`" not in text] == []
