"""Stable Diffusion XL's programs on small configurations, from files to verdicts on the cpu."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.small_diffusion import TEXT
from tests.small_sdxl import ANCESTRAL, TEXT_2, UNET_XL
from tests.workbench import Workbench

pytestmark = pytest.mark.toolchain

FILES: dict[str, dict[str, Any]] = {
    "text_encoder/config.json": TEXT,
    "text_encoder_2/config.json": TEXT_2,
    "unet/config.json": UNET_XL,
    "scheduler/scheduler_config.json": ANCESTRAL,
}
MANIFEST = """\
name: small
title: The programs of Stable Diffusion XL, small
license: CC0-1.0
sources:
  config:
    from: file:small
    files:
{files}
  values:
    from: synthetic:seed=7
    scale: 0.1
components:
  prompt-encoder:
    exporter: sdxl_prompt_encoder
    config: [config/text_encoder/config.json, config/text_encoder_2/config.json]
    weights: [values]
    options: {{guidance: true}}
    inputs:
      input_ids: {{dtype: i64, shape: [batch, 7]}}
      input_ids_2: {{dtype: i64, shape: [batch, 7]}}
      negative_input_ids: {{dtype: i64, shape: [batch, 7]}}
      negative_input_ids_2: {{dtype: i64, shape: [batch, 7]}}
    outputs: [states, pooled]
    dimensions:
      batch: {{min: 1, max: 4}}
    dtypes: [f32]
    targets: [cpu]
    samples:
      - name: two-prompts
        dims: {{batch: 2}}
        inputs:
          input_ids: {{kind: integers, seed: 1, low: 0, high: 50}}
          input_ids_2: {{kind: integers, seed: 2, low: 0, high: 50}}
          negative_input_ids: {{kind: integers, seed: 3, low: 0, high: 50}}
          negative_input_ids_2: {{kind: integers, seed: 4, low: 0, high: 50}}
  scheduled-unet:
    exporter: scheduled_unet
    config: [config/unet/config.json, config/scheduler/scheduler_config.json]
    weights: [values]
    options: {{guidance: true}}
    inputs:
      latents: {{dtype: float, shape: [1, 4, 8, 8]}}
      step: {{dtype: i64, shape: [1]}}
      steps: {{dtype: i64, shape: [1]}}
      encoder_hidden_states: {{dtype: float, shape: [2, 7, 40]}}
      text_embeds: {{dtype: float, shape: [2, 12]}}
      time_ids: {{dtype: float, shape: [2, 6]}}
      noise: {{dtype: float, shape: [1, 4, 8, 8]}}
      guidance_scale: {{dtype: float, shape: [1]}}
    outputs: [latents]
    dtypes: [f32]
    targets: [cpu]
    samples:
      - name: first-of-20
        inputs:
          latents: &latents {{kind: normal, seed: 1, mean: 0.0, std: 10.0}}
          step: {{kind: values, values: [0]}}
          steps: {{kind: values, values: [20]}}
          encoder_hidden_states: &states {{kind: normal, seed: 2, mean: 0.0, std: 1.0}}
          text_embeds: &pooled {{kind: normal, seed: 3, mean: 0.0, std: 1.0}}
          time_ids: &sizes
            kind: values
            values: [[64, 64, 0, 0, 64, 64], [64, 64, 8, 0, 64, 64]]
          noise: &noise {{kind: normal, seed: 4, mean: 0.0, std: 1.0}}
          guidance_scale: &scale {{kind: values, values: [7.5]}}
      - name: last-of-50
        inputs:
          latents: *latents
          step: {{kind: values, values: [49]}}
          steps: {{kind: values, values: [50]}}
          encoder_hidden_states: *states
          text_embeds: *pooled
          time_ids: *sizes
          noise: *noise
          guidance_scale: *scale
"""
PIPELINE = """\
from pipelines.base import Pipeline

PIPELINE = Pipeline(name="images", about="for a test", models=("small",))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A workspace in which pipeline ``images`` has run. Look, don't touch."""
    bench = Workbench.make(tmp_path_factory.mktemp("sdxl") / "work")
    files = ""
    for file, config in FILES.items():
        bench.write(f"manifests/models/small/{file}", json.dumps(config))
        files += f"      {file}: {{path: {file}, sha256: {bench.sha(f'small/{file}')}}}\n"
    bench.write("manifests/models/small.yaml", MANIFEST.format(files=files.rstrip()))
    bench.write("pipelines/images.py", PIPELINE)
    assert set(bench.run("images").outcomes.values()) == {"built"}
    return bench


@pytest.mark.parametrize("variant", ["prompt-encoder/f32", "scheduled-unet/f32"])
def test_every_program_holds_its_contract_on_the_cpu(images: Workbench, variant: str) -> None:
    assert images.record("validate", f"small/{variant}/cpu")["facts"]["verdict"]["holds"]


def test_another_folder_gives_the_same_mlir(images: Workbench, tmp_path: Path) -> None:
    other = images.copy(tmp_path / "elsewhere", state=False)
    other.run("images", "--component", "scheduled-unet", "--stage", "export")
    first, second = (b.record("export", "small/scheduled-unet/f32") for b in (images, other))
    assert second["outputs"] == first["outputs"]
    assert second["key"] == first["key"]
