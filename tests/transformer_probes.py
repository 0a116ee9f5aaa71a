"""Small components of SD3 and FLUX.1 against diffusers and transformers themselves.

Run under the toolchain's interpreter in an empty folder; one process, as diffusers takes long to
import. Writes ``findings.json``.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from tests.diffusion_probes import distance, spec_of
from tests.exporter_probes import NoFloat32, entries, message
from tests.small_transformers import CLIP_G, CLIP_L, DEV, SCHNELL, SD3, SD35, T5
from tidemill.exporters.base import Array, InputSpec, Spec
from tidemill.exporters.flux_transformer import EXPORTER as FLUX_EXPORTER
from tidemill.exporters.mlir import parameters_of
from tidemill.exporters.sd3_prompt_encoder import EXPORTER as PROMPT_ENCODER
from tidemill.exporters.sd3_transformer import EXPORTER as SD3_EXPORTER
from tidemill.exporters.t5_encoder import EXPORTER as T5_ENCODER

Findings = dict[str, Any]
Arrays = dict[str, Array]


def waves(*shape: int, phase: float = 0.0) -> Array:
    """Numbers between -1 and 1."""
    steps: Array = np.arange(np.prod(shape), dtype=np.float32) + phase
    return np.sin(steps).reshape(shape)


LATENTS: Arrays = {
    "hidden_states": waves(2, 16, 8, 8),
    "timestep": np.array([505.5, 505.5], dtype=np.float32),
    "encoder_hidden_states": waves(2, 5, 48, phase=1),
    "pooled_projections": waves(2, 40, phase=2),
}
PACKED: Arrays = {
    "hidden_states": waves(2, 6, 16),
    "encoder_hidden_states": waves(2, 5, 48, phase=1),
    "pooled_projections": waves(2, 24, phase=2),
    "timestep": np.array([0.5, 0.25], dtype=np.float32),
    "img_ids": np.array([[0, y, x] for y in (0, 60) for x in range(3)], dtype=np.float32),
    "txt_ids": np.zeros((5, 3), dtype=np.float32),
}
GUIDANCE: Arrays = {"guidance": np.array([3.5, 4.0], dtype=np.float32)}
SCALE: Arrays = {"guidance_scale": np.array([7.0], dtype=np.float32)}
CLIP_IDS = np.array([[0, 5, 9, 49, 1, 1, 1], [0, 7, 49, 1, 1, 1, 1]])
T5_IDS = np.array([[5, 59, 1, *[0] * 29], [*range(2, 33), 1]])


def made(model: Any) -> Any:
    """``model`` with weights that make every part count, which are saved."""
    torch.manual_seed(0)
    state = {
        name: value if value.dim() < 2 else torch.randn_like(value) * 0.2
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    own = model.state_dict()  # a tied tensor has one value only now
    save_file({name: value.clone() for name, value in own.items()}, "model.safetensors")
    return model.eval()


def tensors(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    """The same values as tensors."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def float32_operations(exporter: Any, spec: Spec, arrays: Sequence[Array]) -> list[str]:
    """What a float64 program still computes in float32."""
    watch = NoFloat32()
    program = exporter.program(spec, "f64")
    wide = [array if array.dtype.kind == "i" else array.astype(np.float64) for array in arrays]
    with watch:
        program(wide)
    return sorted(set(watch.seen))


def sd3() -> Findings:
    """Both kinds give what diffusers gives; guidance is its pipeline's formula."""
    found: Findings = {}
    guided = {name: array[:1] for name, array in LATENTS.items()} | SCALE
    for name in ("encoder_hidden_states", "pooled_projections"):
        guided[name] = LATENTS[name]
    for label, config in (("sd3", SD3), ("sd35", SD35)):
        model = made(diffusers.SD3Transformer2DModel.from_config(config))
        plain = spec_of(config, LATENTS, options={})
        inside = spec_of(config, guided, options={"guidance": True})
        given = tensors(LATENTS)
        expected = model(**given).sample
        given["hidden_states"] = given["hidden_states"][:1].repeat(2, 1, 1, 1)
        without, text = model(**given).sample.chunk(2)
        SD3_EXPORTER.export(plain, Path("sd3.mlir"))
        found[label] = {
            "plain": distance(SD3_EXPORTER.program(plain, "f32")([*LATENTS.values()])[0], expected),
            "guided": distance(
                SD3_EXPORTER.program(inside, "f32")([*guided.values()])[0],
                without + 7.0 * (text - without),
            ),
            "checkpoint's names": parameters_of(Path("sd3.mlir")) == set(model.state_dict()),
            "float32": float32_operations(SD3_EXPORTER, plain, [*LATENTS.values()]),
        }
    idle = spec_of(SD3, LATENTS, options={"guidance": True})
    found["refusal"] = message(lambda: SD3_EXPORTER.program(idle, "f32"))
    return found


def flux() -> Findings:
    """dev and schnell give what diffusers gives, at places far from the first ones too."""
    found: Findings = {}
    for label, config, more in (("dev", DEV, GUIDANCE), ("schnell", SCHNELL, {})):
        model = made(diffusers.FluxTransformer2DModel.from_config(config))
        arrays = PACKED | more
        spec = spec_of(config, arrays, options={})
        FLUX_EXPORTER.export(spec, Path("flux.mlir"))
        near = arrays | {"img_ids": arrays["img_ids"] / 60}
        values = [*arrays.values()]
        expected = model(**tensors(arrays)).sample
        found[label] = {
            "same": distance(FLUX_EXPORTER.program(spec, "f32")(values)[0], expected),
            "places": distance(model(**tensors(near)).sample.numpy(), expected),
            "checkpoint's names": parameters_of(Path("flux.mlir")) == set(model.state_dict()),
            "float32": float32_operations(FLUX_EXPORTER, spec, values),
        }
    return found | {
        "dev without guidance": flux_refusal(DEV, PACKED),
        "schnell with guidance": flux_refusal(SCHNELL, PACKED | GUIDANCE),
        "another class": flux_refusal(SD3, PACKED),
    }


def flux_refusal(config: Mapping[str, Any], arrays: Arrays) -> dict[str, str]:
    """What the exporter says to inputs or a configuration that are not its own."""
    wrong = spec_of(config, arrays, options={})
    return message(lambda: FLUX_EXPORTER.program(wrong, "f32"))


def t5() -> Findings:
    """The encoder, from checkpoints with one name of the embedding or two, or a decoder."""
    model = made(T5EncoderModel._from_config(T5Config(**T5), attn_implementation="eager"))
    state = model.state_dict()
    own = {name: value for name, value in state.items() if name != "encoder.embed_tokens.weight"}
    save_file(own | {"decoder.block.0.weight": torch.zeros(3)}, "own.safetensors")
    save_file({name: value.clone() for name, value in state.items()}, "both.safetensors")
    ids = {"input_ids": T5_IDS}
    expected = model(input_ids=torch.from_numpy(T5_IDS)).last_hidden_state
    found: Findings = {}
    for weights in ("own", "both"):
        spec = spec_of(T5, ids, options={}, weights=f"{weights}.safetensors")
        found[weights] = distance(T5_ENCODER.program(spec, "f32")([T5_IDS])[0], expected)
    T5_ENCODER.export(spec, Path("t5.mlir"))
    found["checkpoint's names"] = parameters_of(Path("t5.mlir")) == set(own)
    found["float32"] = float32_operations(T5_ENCODER, spec, [T5_IDS])
    other = spec_of(CLIP_L, ids, options={})
    found["another model"] = message(lambda: T5_ENCODER.program(other, "f32"))
    return found


class Words:
    """A tokenizer that knows two texts."""

    model_max_length = 7

    def __init__(self, ids: Array) -> None:
        self.rows = dict(zip(("good", "bad"), torch.from_numpy(ids), strict=True))

    def __call__(self, texts: list[str], **_: Any) -> Any:
        """Their ids."""
        return SimpleNamespace(input_ids=torch.stack([self.rows[text] for text in texts]))


def prompt() -> Findings:
    """Three encoders give what the pipeline's own ``encode_prompt`` gives."""
    encoders, folders = {}, ("text_encoder", "text_encoder_2", "text_encoder_3")
    for folder, config in zip(folders, (CLIP_L, CLIP_G, T5), strict=True):
        Path(folder).mkdir()
        Path(folder, "config.json").write_text(json.dumps(config), encoding="utf-8")
        kind, settings = (
            (T5EncoderModel, T5Config(**config))
            if config is T5
            else (CLIPTextModelWithProjection, CLIPTextConfig(**config))
        )
        encoders[folder] = made(kind._from_config(settings, attn_implementation="eager"))
        Path("model.safetensors").rename(Path(folder, "model.safetensors"))
    pipeline = diffusers.StableDiffusion3Pipeline(
        transformer=None,
        scheduler=None,
        vae=None,
        tokenizer=Words(CLIP_IDS),
        tokenizer_2=Words(CLIP_IDS[:, ::-1].copy()),
        tokenizer_3=Words(T5_IDS),
        **encoders,
    )
    states, no_states, pooled, no_pooled = pipeline.encode_prompt(
        ["good"], None, None, negative_prompt=["bad"], max_sequence_length=32
    )
    rows = (CLIP_IDS, CLIP_IDS[:, ::-1].copy(), T5_IDS)
    good, bad = [ids[:1] for ids in rows], [ids[1:] for ids in rows]
    both, one = prompt_spec(guidance=True), prompt_spec(guidance=False)
    guided = PROMPT_ENCODER.program(both, "f32")([*good, *bad])
    plain = PROMPT_ENCODER.program(one, "f32")(good)
    PROMPT_ENCODER.export(both, Path("prompt.mlir"))
    PROMPT_ENCODER.pack(both, Path("prompt.irpa"))
    names = {
        f"{folder}.{name}"
        for folder, model in encoders.items()
        for name in model.state_dict()
        if name != "encoder.embed_tokens.weight"
    }
    lacking = prompt_spec(guidance=True, folders=folders[:2])
    return {
        "guided": [
            distance(guided[0], torch.cat([no_states, states])),
            distance(guided[1], torch.cat([no_pooled, pooled])),
        ],
        "plain": [distance(plain[0], states), distance(plain[1], pooled)],
        "shapes": [list(array.shape) for array in guided],
        "checkpoints' names": parameters_of(Path("prompt.mlir")) == names
        and entries(Path("prompt.irpa")).keys() == names,
        "a folder is missing": message(lambda: PROMPT_ENCODER.program(lacking, "f32")),
    }


def prompt_spec(
    *,
    guidance: bool,
    folders: Sequence[str] = ("text_encoder", "text_encoder_2", "text_encoder_3"),
) -> Spec:
    """A spec over the files of ``folders``."""
    names = ["input_ids", "input_ids_2", "input_ids_3"]
    names += [f"negative_{name}" for name in names] if guidance else []

    def files(name: str) -> dict[str, Path]:
        return {f"{folder}/{name}": Path(folder, name) for folder in folders}

    return Spec(
        dtype="f32",
        options={"guidance": guidance},
        inputs=tuple(
            InputSpec(name=name, dtype="i64", shape=(1, 32 if name.endswith("3") else 7))
            for name in names
        ),
        dynamic={},
        config=files("config.json"),
        weights=files("model.safetensors"),
    )


if __name__ == "__main__":
    with torch.no_grad():
        findings = {probe.__name__: probe() for probe in (sd3, flux, t5, prompt)}
    Path("findings.json").write_text(json.dumps(findings), encoding="utf-8")
