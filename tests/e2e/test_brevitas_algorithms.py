"""Each of Brevitas' algorithms from checkpoint to verdict, one a component, beside one without any.

Behind TIDEMILL_TEST_SHARKTANK_TOOLCHAIN, which `make test-long` sets.
"""

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.paged_chain import FILE, MODEL, agreement, run, verdict, workspace
from tests.probing import probe
from tests.workbench import Workbench

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("TIDEMILL_TEST_SHARKTANK_TOOLCHAIN"),
        reason="the sharktank toolchain is not synced (make test-long does it)",
    ),
]

#: Component → the component of the manifest that it is but for its algorithms, and these.
ALGORITHMS: dict[str, tuple[str, dict[str, Any]]] = {
    "smoothquant": ("int8", {"smoothquant": {"alpha": 0.5}}),
    "rotation": ("int8", {"rotation": "fused"}),
    "spinquant": ("int8", {"rotation": "fused", "spinquant": {"steps": 8}}),
    "awq_scale": ("int8_rows", {"awq": {"scale": True, "clip": False}}),
    "awq_clip": ("fp8", {"awq": {"scale": False, "clip": True}}),
    "magr": ("int8_rows", {"magr": {"alpha": 0.01}}),
    "gptq": ("int8_rows", {"gptq": {}}),
    "gptq_inputs": ("int8_rows", {"gptq": {"use_quant_activations": True}}),
    "gpfq": ("int8_rows", {"gpfq": {}}),
    "qronos": ("int8_rows", {"qronos": {}}),
    "bias": ("int8_rows", {"bias_correction": True}),
    "rotated": ("int8_rows", {"rotation": "fused", "magr": {}, "gptq": {"act_order": True}}),
    "smoothed": (
        "int8",
        {"smoothquant": {"alpha": 0.5}, "gptq": {"act_order": True}, "bias_correction": True},
    ),
    "fp8_gptq": ("fp8", {"gptq": {}, "bias_correction": True}),
}
BASES = sorted({base for base, _ in ALGORITHMS.values()})


def component(words: Any, name: str) -> Any:
    """The component ``name`` of ALGORITHMS, made of those of the manifest."""
    base, algorithms = ALGORITHMS[name]
    made = copy.deepcopy(words[base])
    made["quantize"]["algorithms"] = algorithms
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A workspace, and ``stage:component/target`` → outcome of its run."""

    bench: Workbench
    outcomes: dict[str, str]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """All of it built once, and of what they are compared with the datasets."""
    bench = workspace(tmp_path_factory.mktemp("algorithms") / "work")
    raw = yaml.safe_load((bench.root / FILE).read_text(encoding="utf-8"))
    words = raw["components"]
    raw["components"] = {name: words[name] for name in BASES}
    raw["components"] |= {name: component(words, name) for name in ALGORITHMS}
    bench.write(FILE, yaml.safe_dump(raw, sort_keys=False))
    (bench.root / "manifests/expectations.yaml").unlink()
    run(bench, *(word for name in BASES for word in ("--component", name)), "--stage", "quantize")
    outcomes = run(bench, *(word for name in ALGORITHMS for word in ("--component", name)))
    return Built(bench=bench, outcomes=outcomes)


def dataset(bench: Workbench, name: str) -> str:
    outputs = bench.record("quantize", f"{MODEL}/{name}/f32-bs4")["outputs"]
    (digest,) = (one["digest"] for one in outputs if one["name"] == "dataset.irpa")
    return str(digest)


@pytest.fixture(scope="module")
def readings(built: Built, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What our own reader finds in each dataset; perplexity is on the held-out text."""
    datasets = [f"{name}={built.bench.blob(dataset(built.bench, name))}" for name in ALGORITHMS]
    python = Path(os.environ["TIDEMILL_TEST_SHARKTANK_TOOLCHAIN"])
    folder = tmp_path_factory.mktemp("perplexity")
    return probe(python, folder, "perplexity_probes.py", *datasets)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_program_is_what_the_dataset_says(built: Built, name: str) -> None:
    told = verdict(built.bench, name)
    assert told["holds"], told["reasons"]
    assert min(agreement(told).values()) >= 0.9


@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_compiles_for_the_gpu(built: Built, name: str) -> None:
    """Programs that differ in no byte of their MLIR are compiled once."""
    assert built.outcomes[f"compile:{name}/gfx942"] in {"built", "reused"}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_algorithm_changes_the_numbers(built: Built, name: str) -> None:
    assert dataset(built.bench, name) != dataset(built.bench, ALGORITHMS[name][0])


def test_trained_rotations_are_others_than_those_they_began_with(built: Built) -> None:
    assert dataset(built.bench, "spinquant") != dataset(built.bench, "rotation")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_dataset_is_as_good_as_brevitas_measured(
    built: Built, readings: dict[str, Any], name: str
) -> None:
    """What an algorithm does to the model in memory and not to the file may be seen here.

    The limit is what rounding does: with embeddings moved by a millionth, int8 by rows without any
    algorithm has perplexities from 1726.9 to 1730.7 in six draws, and 1732.9 with them unmoved.
    """
    told = verdict(built.bench, name)["quantisation"]["perplexity"]
    assert readings[name]["perplexity"] == pytest.approx(told["narrowed"], rel=4e-3)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_biases_of_bias_correction_are_in_the_dataset(readings: dict[str, Any], name: str) -> None:
    """Brevitas' own export drops them, which no verdict and not every perplexity shows."""
    found, corrected = readings[name], "bias_correction" in ALGORITHMS[name][1]
    assert found["narrowed"]
    assert found["biased"] == (found["narrowed"] if corrected else [])
