"""Stable Diffusion XL's prompt encoder and UNet, small, against transformers and diffusers.

Run by scheduled_probes.py: one process, as diffusers takes long to import.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.diffusion_probes import distance, made
from tests.exporter_probes import entries, message
from tests.small_diffusion import TEXT
from tests.small_sdxl import TEXT_2, UNET_XL
from tidemill.exporters.base import Dimension, InputSpec, Spec
from tidemill.exporters.diffusers_unet import EXPORTER as UNET_EXPORTER
from tidemill.exporters.mlir import parameters_of
from tidemill.exporters.sdxl_prompt_encoder import EXPORTER as PROMPTS

Findings = dict[str, Any]
LATENTS = np.sin(np.arange(128, dtype=np.float32)).reshape(2, 4, 4, 4)
SAD = np.array([[0, 5, 9, 49, 1, 1, 1]])
HAPPY = np.array([[0, 7, 49, 1, 1, 1, 1]])
CONDITIONS = {
    "encoder_hidden_states": np.cos(np.arange(560, dtype=np.float32)).reshape(2, 7, 40),
    "text_embeds": np.cos(np.arange(24, dtype=np.float32) * 3).reshape(2, 12),
    "time_ids": np.array([[64, 48, 0, 0, 64, 48], [32, 64, 8, 4, 64, 64]], dtype=np.float32),
}
STATES = {"encoder_hidden_states": np.cos(np.arange(224, dtype=np.float32)).reshape(2, 7, 16)}
TIME = {"timestep": np.array([501.0], dtype=np.float32)}
SCALE = {"guidance_scale": np.array([7.5], dtype=np.float32)}


def spec_of(
    configs: Mapping[str, Mapping[str, Any]],
    arrays: Mapping[str, Any],
    *,
    guidance: bool = False,
    weights: Sequence[str] = ("model.safetensors",),
    dtype: str = "f32",
) -> Spec:
    """A spec with inputs of the types and shapes of ``arrays``; files are named by ``configs``."""
    for name, config in configs.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(json.dumps(config) if config else "junk", encoding="utf-8")
    return Spec(
        dtype=dtype,
        options={"guidance": True} if guidance else {},
        inputs=tuple(
            InputSpec(
                name=name, dtype="i64" if array.dtype.kind == "i" else "float", shape=array.shape
            )
            for name, array in arrays.items()
        ),
        dynamic={},
        config={name: Path(name) for name in configs},
        weights={name: Path(name) for name in weights},
    )


ENCODERS = {"text_encoder/config.json": TEXT, "text_encoder_2/config.json": TEXT_2}
WEIGHTS = ("text_encoder/model.safetensors", "text_encoder_2/model.safetensors")


def encoders() -> tuple[Any, Any]:
    """Both models with weights from a seed, which are saved."""
    torch.manual_seed(0)
    kinds = (CLIPTextModel, CLIPTextModelWithProjection)
    models = []
    for kind, config, file in zip(kinds, (TEXT, TEXT_2), WEIGHTS, strict=True):
        model = kind._from_config(CLIPTextConfig(**config), attn_implementation="eager").eval()
        state = {"text_model.embeddings.position_ids": torch.arange(7)}
        for name, value in model.state_dict().items():
            # Checkpoints are from before transformers 5, which took this part from the first's.
            named = name if name.startswith("text_") else f"text_model.{name}"
            state[named] = value
        Path(file).parent.mkdir(exist_ok=True)
        save_file(state, file)
        models.append(model)
    return models[0], models[1]


def encoded(models: tuple[Any, Any], ids: Any, ids_2: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What the pipeline makes of one prompt."""
    first, second = (
        model(torch.from_numpy(given), output_hidden_states=True)
        for model, given in zip(models, (ids, ids_2), strict=True)
    )
    return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1), second[0]


def prompts() -> Findings:
    """One program for both encoders gives what the pipeline concatenates."""
    models = encoders()
    # The second tokenizer pads with another token than the first.
    alone = {"input_ids": HAPPY, "input_ids_2": np.where(HAPPY == 1, 0, HAPPY)}
    other = {"negative_input_ids": SAD, "negative_input_ids_2": np.where(SAD == 1, 0, SAD)}
    both = {**alone, **other}
    pair = [encoded(models, *given.values()) for given in (other, alone)]
    expected = [torch.cat(parts) for parts in zip(*pair, strict=True)]
    plain = spec_of(ENCODERS, alone, weights=WEIGHTS)
    guided = spec_of(ENCODERS, both, weights=WEIGHTS, guidance=True)
    single = PROMPTS.program(plain, "f32")([*alone.values()])
    double = PROMPTS.program(guided, "f32")([*both.values()])
    PROMPTS.export(_open(guided), Path("prompts.mlir"))
    PROMPTS.pack(guided, Path("prompts.irpa"))
    packed = entries(Path("prompts.irpa"))
    return {
        "plain": [distance(*item) for item in zip(single, pair[1], strict=True)],
        "guided": [distance(*item) for item in zip(double, expected, strict=True)],
        "asked for": parameters_of(Path("prompts.mlir")) == packed.keys(),
        "names": {
            folder: _left_out(packed, folder=folder)
            for folder in ("text_encoder", "text_encoder_2")
        },
        "bare names": _bare_names(guided, both, double),
        "refusals": _prompt_refusals(both),
    }


def _open(spec: Spec) -> Spec:
    """The same program for any number of prompts."""
    fields = {name: getattr(spec, name) for name in Spec.__dataclass_fields__}
    inputs = [
        InputSpec(name=item.name, dtype=item.dtype, shape=("batch", 7)) for item in spec.inputs
    ]
    dynamic = {"batch": Dimension(min=1, max=8)}
    return Spec(**(fields | {"inputs": tuple(inputs), "dynamic": dynamic}))


def _left_out(packed: Mapping[str, bytes], *, folder: str) -> list[str]:
    """Tensors of a checkpoint that the archive lacks; what it has must be the same bytes."""
    state = load_file(f"{folder}/model.safetensors")
    named = {f"{folder}.{name}": value.numpy().tobytes() for name, value in state.items()}
    assert all(
        named[name] == value for name, value in packed.items() if name.startswith(f"{folder}.")
    )
    return sorted(named.keys() - packed.keys())


def _bare_names(spec: Spec, arrays: Mapping[str, Any], wanted: Sequence[Any]) -> bool:
    """Whether checkpoints of the bare text model do too."""
    for file in WEIGHTS:
        state = load_file(file)
        save_file({name.removeprefix("text_model."): item for name, item in state.items()}, file)
    found = PROMPTS.program(spec, "f32")([*arrays.values()])
    return all(np.array_equal(*pair) for pair in zip(found, wanted, strict=True))


def _prompt_refusals(arrays: Mapping[str, Any]) -> Findings:
    odd = {**ENCODERS, "text_encoder_2/config.json": {"model_type": "bert"}}
    deep = {**ENCODERS, "text_encoder/config.json": {**TEXT, "num_hidden_layers": 1}}

    def tried(configs: Mapping[str, Any], *, guidance: bool = True) -> dict[str, str]:
        spec = spec_of(configs, arrays, weights=WEIGHTS, guidance=guidance)
        return message(lambda: PROMPTS.program(spec, "f32"))

    return {
        "inputs": tried(ENCODERS, guidance=False),
        "one folder": tried({"text_encoder/config.json": TEXT}),
        "another model": tried(odd),
        "another depth": tried(deep),
    }


def unet() -> Findings:
    """The added conditions reach the UNet, with guidance inside and without."""
    model = made(UNet2DConditionModel, UNET_XL)
    configs = {"unet/config.json": UNET_XL}
    arrays = {"sample": LATENTS, **TIME, **CONDITIONS}
    single = {**arrays, "sample": LATENTS[:1], **SCALE}
    plain, inside = spec_of(configs, arrays), spec_of(configs, single, guidance=True)
    expected = predicted(model, torch.from_numpy(LATENTS), torch.tensor(501.0), CONDITIONS)
    twice = torch.from_numpy(LATENTS[:1]).repeat(2, 1, 1, 1)
    without, given = predicted(model, twice, torch.tensor(501.0), CONDITIONS).chunk(2)
    UNET_EXPORTER.export(plain, Path("plain.mlir"))
    UNET_EXPORTER.export(inside, Path("guided.mlir"))
    found: Findings = {
        "plain": distance(UNET_EXPORTER.program(plain, "f32")([*arrays.values()])[0], expected),
        "guided": distance(
            UNET_EXPORTER.program(inside, "f32")([*single.values()])[0],
            without + 7.5 * (given - without),
        ),
        "checkpoint's names": all(
            parameters_of(Path(file)) == set(model.state_dict())
            for file in ("plain.mlir", "guided.mlir")
        ),
    }
    short = spec_of(configs, {"sample": LATENTS, **TIME, **STATES})
    found["missing conditions"] = message(lambda: UNET_EXPORTER.program(short, "f32"))
    return found


def predicted(
    model: Any, sample: torch.Tensor, time: torch.Tensor, conditions: Mapping[str, Any]
) -> torch.Tensor:
    """What diffusers' UNet predicts."""
    states, *added = (torch.from_numpy(array).to(sample.dtype) for array in conditions.values())
    named = dict(zip(("text_embeds", "time_ids"), added, strict=True)) if added else None
    noise: torch.Tensor = model(sample, time, states, added_cond_kwargs=named).sample
    return noise
