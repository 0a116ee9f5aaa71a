"""SD3's and FLUX.1's components on small configurations, from files to verdicts on the cpu."""

import json
from typing import Any

import pytest

from tests.small_transformers import CLIP_G, CLIP_L, DEV, SD35, T5
from tests.workbench import Workbench

pytestmark = pytest.mark.toolchain

MANIFEST = """\
name: small
title: The components of SD3 and FLUX.1, small
license: CC0-1.0
sources:
  config:
    from: file:small
    files:
{files}
  values:
    from: synthetic:seed=7
    scale: 0.2
components:
  prompt-encoder:
    exporter: sd3_prompt_encoder
    config:
      - config/text_encoder/config.json
      - config/text_encoder_2/config.json
      - config/text_encoder_3/config.json
    weights: [values]
    inputs:
      input_ids: {{dtype: i64, shape: [2, 7]}}
      input_ids_2: {{dtype: i64, shape: [2, 7]}}
      input_ids_3: {{dtype: i64, shape: [2, tokens]}}
    outputs: [states, pooled]
    matrix:
      # More than T5's greatest distance.
      tokens: [150]
    dtypes: [bf16]
    targets: [cpu]
    samples:
      - name: words
        inputs:
          input_ids: {{kind: integers, seed: 1, low: 0, high: 50}}
          input_ids_2: {{kind: integers, seed: 2, low: 0, high: 50}}
          input_ids_3: {{kind: integers, seed: 3, low: 0, high: 60}}
  sd3-cfg:
    exporter: sd3_transformer
    config: [config/sd3/config.json]
    weights: [values]
    options: {{guidance: true}}
    inputs:
      hidden_states: {{dtype: float, shape: [1, 16, 8, 8]}}
      timestep: {{dtype: f32, shape: [1]}}
      encoder_hidden_states: {{dtype: float, shape: [2, 5, 48]}}
      pooled_projections: {{dtype: float, shape: [2, 40]}}
      guidance_scale: {{dtype: float, shape: [1]}}
    outputs: [velocity]
    dtypes: [f16]
    targets: [cpu]
    samples:
      - name: one-image
        inputs:
          hidden_states: {{kind: normal, seed: 1, mean: 0.0, std: 1.0}}
          timestep: {{kind: values, values: [505.5]}}
          encoder_hidden_states: {{kind: normal, seed: 2, mean: 0.0, std: 1.0}}
          pooled_projections: {{kind: normal, seed: 3, mean: 0.0, std: 1.0}}
          guidance_scale: {{kind: values, values: [7.0]}}
  flux:
    exporter: flux_transformer
    config: [config/flux/config.json]
    weights: [values]
    inputs:
      hidden_states: {{dtype: float, shape: [1, 6, 16]}}
      encoder_hidden_states: {{dtype: float, shape: [1, 5, 48]}}
      pooled_projections: {{dtype: float, shape: [1, 24]}}
      timestep: {{dtype: float, shape: [1]}}
      img_ids: {{dtype: float, shape: [6, 3]}}
      txt_ids: {{dtype: float, shape: [5, 3]}}
      guidance: {{dtype: float, shape: [1]}}
    outputs: [velocity]
    dtypes: [bf16]
    targets: [cpu]
    samples:
      - name: one-image
        inputs:
          hidden_states: {{kind: normal, seed: 1, mean: 0.0, std: 1.0}}
          encoder_hidden_states: {{kind: normal, seed: 2, mean: 0.0, std: 1.0}}
          pooled_projections: {{kind: normal, seed: 3, mean: 0.0, std: 1.0}}
          timestep: {{kind: values, values: [0.5]}}
          img_ids: {{kind: integers, seed: 4, low: 0, high: 64}}
          txt_ids: {{kind: integers, seed: 5, low: 0, high: 1}}
          guidance: {{kind: values, values: [4.0]}}
"""
PIPELINE = """\
from pipelines.base import Pipeline

PIPELINE = Pipeline(name="images", about="for a test", models=("small",))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A workspace in which pipeline ``images`` has run. Look, don't touch."""
    bench = Workbench.make(tmp_path_factory.mktemp("images") / "work")
    configs: dict[str, dict[str, Any]] = {
        "text_encoder": CLIP_L,
        "text_encoder_2": CLIP_G,
        "text_encoder_3": T5,
        "sd3": SD35,
        "flux": DEV,
    }
    files = ""
    for name, config in configs.items():
        file = f"{name}/config.json"
        bench.write(f"manifests/models/small/{file}", json.dumps(config))
        files += f"      {file}: {{path: {file}, sha256: {bench.sha(f'small/{file}')}}}\n"
    bench.write("manifests/models/small.yaml", MANIFEST.format(files=files.rstrip()))
    bench.write("pipelines/images.py", PIPELINE)
    assert set(bench.run("images").outcomes.values()) == {"built"}
    return bench


@pytest.mark.parametrize("variant", ["prompt-encoder/bf16-tokens150", "sd3-cfg/f16", "flux/bf16"])
def test_every_component_holds_its_contract_on_the_cpu(images: Workbench, variant: str) -> None:
    assert images.record("validate", f"small/{variant}/cpu")["facts"]["verdict"]["holds"]
