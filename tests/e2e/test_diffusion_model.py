"""Stable Diffusion's components on small configurations, from files to verdicts on the cpu."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.small_diffusion import TEXT, UNET, VAE
from tests.workbench import Workbench

pytestmark = pytest.mark.toolchain

MANIFEST = """\
name: small
title: The components of Stable Diffusion, small
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
  text-encoder:
    exporter: clip_text
    config: [config/text_encoder/config.json]
    weights: [values]
    options: {{outputs: both}}
    inputs:
      input_ids: {{dtype: i64, shape: [batch, 7]}}
    outputs: [hidden, pooled]
    dimensions:
      batch: {{min: 1, max: 8}}
    dtypes: [f32]
    targets: [cpu]
    samples:
      - name: words
        dims: {{batch: 2}}
        inputs:
          input_ids: {{kind: integers, seed: 1, low: 0, high: 50}}
  unet-cfg:
    exporter: diffusers_unet
    config: [config/unet/config.json]
    weights: [values]
    options: {{guidance: true}}
    inputs:
      sample: {{dtype: float, shape: [1, 4, latent, latent]}}
      timestep: {{dtype: float, shape: [1]}}
      encoder_hidden_states: {{dtype: float, shape: [2, 7, 16]}}
      guidance_scale: {{dtype: float, shape: [1]}}
    outputs: [noise]
    matrix:
      latent: [8]
    dtypes: [f32]
    targets: [cpu]
    samples:
      - name: one-image
        inputs:
          sample: {{kind: normal, seed: 1, mean: 0.0, std: 1.0}}
          timestep: {{kind: values, values: [501]}}
          encoder_hidden_states: {{kind: normal, seed: 2, mean: 0.0, std: 1.0}}
          guidance_scale: {{kind: values, values: [7.5]}}
  vae-encode:
    exporter: diffusers_vae
    config: [config/vae/config.json]
    weights: [values]
    options: {{direction: encode}}
    inputs:
      image: {{dtype: float, shape: [1, 3, pixels, pixels]}}
    outputs: [latents]
    matrix:
      pixels: [16]
    dtypes: [f16]
    targets: [cpu]
    samples:
      - name: noise
        inputs:
          image: {{kind: uniform, seed: 1, low: -1.0, high: 1.0}}
"""
PIPELINE = """\
from pipelines.base import Pipeline

PIPELINE = Pipeline(name="images", about="for a test", models=("small",))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A workspace in which pipeline ``images`` has run. Look, don't touch."""
    bench = Workbench.make(tmp_path_factory.mktemp("images") / "work")
    configs: dict[str, dict[str, Any]] = {"text_encoder": TEXT, "unet": UNET, "vae": VAE}
    files = ""
    for name, config in configs.items():
        file = f"{name}/config.json"
        bench.write(f"manifests/models/small/{file}", json.dumps(config))
        files += f"      {file}: {{path: {file}, sha256: {bench.sha(f'small/{file}')}}}\n"
    bench.write("manifests/models/small.yaml", MANIFEST.format(files=files.rstrip()))
    bench.write("pipelines/images.py", PIPELINE)
    assert set(bench.run("images").outcomes.values()) == {"built"}
    return bench


@pytest.mark.parametrize(
    "variant",
    [
        "text-encoder/f32",
        "unet-cfg/f32-latent8",
        "vae-encode/f16-pixels16",
    ],
)
def test_every_component_holds_its_contract_on_the_cpu(images: Workbench, variant: str) -> None:
    assert images.record("validate", f"small/{variant}/cpu")["facts"]["verdict"]["holds"]


def test_another_folder_gives_the_same_mlir(images: Workbench, tmp_path: Path) -> None:
    other = images.copy(tmp_path / "elsewhere", state=False)
    chosen = ("--component", "vae-encode", "--stage", "export")
    other.run("images", *chosen)
    first, second = (b.record("export", "small/vae-encode/f16-pixels16") for b in (images, other))
    assert second["outputs"] == first["outputs"]
    assert second["key"] == first["key"]
