"""Small diffusion components against diffusers and transformers themselves.

Run under the toolchain's interpreter in an empty folder; one process, as diffusers takes long to
import. Writes ``findings.json``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from tests.exporter_probes import entries, message
from tests.small_diffusion import TEXT, UNET, VAE
from tidemill.exporters.base import InputSpec, Spec
from tidemill.exporters.clip_text import EXPORTER as TEXT_ENCODER
from tidemill.exporters.diffusers_unet import EXPORTER as UNET_EXPORTER
from tidemill.exporters.diffusers_vae import EXPORTER as VAE_EXPORTER
from tidemill.exporters.diffusers_vae import FORMER_NAMES
from tidemill.exporters.mlir import parameters_of

Findings = dict[str, Any]
LATENTS = np.sin(np.arange(128, dtype=np.float32)).reshape(2, 4, 4, 4)
STATES = np.cos(np.arange(224, dtype=np.float32)).reshape(2, 7, 16)
TIME = np.array([501.0], dtype=np.float32)
SCALE = np.array([7.5], dtype=np.float32)
IDS = np.array([[0, 5, 9, 49, 1, 1, 1], [0, 7, 49, 1, 1, 1, 1]])


def spec_of(
    config: Mapping[str, Any],
    arrays: Mapping[str, Any],
    *,
    options: Mapping[str, Any],
    weights: str = "model.safetensors",
) -> Spec:
    """A spec with inputs of the types and shapes of ``arrays``."""
    Path("config.json").write_text(json.dumps(config), encoding="utf-8")
    return Spec(
        dtype="f32",
        options=options,
        inputs=tuple(
            InputSpec(
                name=name, dtype="i64" if array.dtype.kind == "i" else "float", shape=array.shape
            )
            for name, array in arrays.items()
        ),
        dynamic={},
        config={"config.json": Path("config.json")},
        weights={weights: Path(weights)},
    )


def distance(found: Any, expected: torch.Tensor) -> float:
    """The greatest difference, as a part of the greatest value."""
    wanted = expected.detach().numpy()
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def made(kind: Any, config: Mapping[str, Any]) -> Any:
    """A diffusers model with weights from a seed, which are saved."""
    torch.manual_seed(0)
    model = kind.from_config(config).eval()
    model.set_attn_processor(AttnProcessor())
    save_file(model.state_dict(), "model.safetensors")
    return model


def unet() -> Findings:
    """Both UNets give what diffusers gives; guidance is its pipeline's formula."""
    model = made(diffusers.UNet2DConditionModel, UNET)
    arrays = {"sample": LATENTS, "timestep": TIME, "encoder_hidden_states": STATES}
    guided = {**arrays, "sample": LATENTS[:1], "guidance_scale": SCALE}
    plain = spec_of(UNET, arrays, options={})
    inside = spec_of(UNET, guided, options={"guidance": True})
    given = [torch.from_numpy(array) for array in arrays.values()]
    expected = model(*given).sample
    twice = model(given[0][:1].repeat(2, 1, 1, 1), *given[1:]).sample
    without, text = twice.chunk(2)
    UNET_EXPORTER.export(plain, Path("unet.mlir"))
    UNET_EXPORTER.export(inside, Path("guided.mlir"))
    names = set(model.state_dict())
    return {
        "plain": distance(UNET_EXPORTER.program(plain, "f32")([*arrays.values()])[0], expected),
        "guided": distance(
            UNET_EXPORTER.program(inside, "f32")([*guided.values()])[0],
            without + 7.5 * (text - without),
        ),
        "checkpoint's names": all(
            parameters_of(Path(file)) == names for file in ("unet.mlir", "guided.mlir")
        ),
        "refusals": {
            "inputs": message(
                lambda: UNET_EXPORTER.program(
                    spec_of(UNET, arrays, options={"guidance": True}), "f32"
                )
            ),
            "class": message(
                lambda: UNET_EXPORTER.program(spec_of(VAE, arrays, options={}), "f32")
            ),
            "conditions": message(
                lambda: UNET_EXPORTER.program(
                    spec_of({**UNET, "class_embed_type": "timestep"}, arrays, options={}),
                    "f32",
                )
            ),
            "no diffusers file": message(
                lambda: UNET_EXPORTER.program(
                    spec_of({"model_type": "bert"}, arrays, options={}), "f32"
                )
            ),
            "blocks": message(
                lambda: UNET_EXPORTER.program(
                    spec_of({**UNET, "down_block_types": ["Odd"]}, arrays, options={}), "f32"
                )
            ),
        },
    }


def vae() -> Findings:
    """Decode and encode give what diffusers gives, also with a shift and with old names."""
    found: Findings = {}
    image = torch.sin(torch.arange(384, dtype=torch.float32)).reshape(2, 3, 8, 8)
    shifted = {**VAE, "shift_factor": 0.5, "use_quant_conv": False, "use_post_quant_conv": False}
    for label, config, shift in (("plain", VAE, 0.0), ("shifted", shifted, 0.5)):
        model = made(diffusers.AutoencoderKL, config)
        scale = model.config.scaling_factor
        latents = torch.from_numpy(LATENTS)
        decode = spec_of(config, {"latents": LATENTS}, options={"direction": "decode"})
        encode = spec_of(config, {"image": image.numpy()}, options={"direction": "encode"})
        decoded = model.decode(latents / scale + shift).sample
        encoded = (model.encode(image).latent_dist.mode() - shift) * scale
        VAE_EXPORTER.pack(decode, Path("decode.irpa"))
        VAE_EXPORTER.pack(encode, Path("encode.irpa"))
        halves = [set(entries(Path(f"{half}.irpa"))) for half in ("decode", "encode")]
        found[label] = {
            "decode": distance(VAE_EXPORTER.program(decode, "f32")([LATENTS])[0], decoded),
            "encode": distance(VAE_EXPORTER.program(encode, "f32")([image.numpy()])[0], encoded),
            "halves": halves[0] | halves[1] == set(model.state_dict())
            and not halves[0] & halves[1],
        }
    model = made(diffusers.AutoencoderKL, VAE)
    state = {former(name): value for name, value in model.state_dict().items()}
    save_file(state, "old.safetensors")
    decode = spec_of(VAE, {"latents": LATENTS}, options={}, weights="old.safetensors")
    decoded = model.decode(latents / model.config.scaling_factor).sample
    found["renamed"] = len(state.keys() - model.state_dict().keys())
    found["old names"] = distance(VAE_EXPORTER.program(decode, "f32")([LATENTS])[0], decoded)
    wrong = spec_of(VAE, {"latents": LATENTS}, options={"direction": "both"})
    found["refusal"] = message(lambda: VAE_EXPORTER.program(wrong, "f32"))
    return found


def former(name: str) -> str:
    """How older checkpoints call a tensor of an attention block."""
    for new, old in FORMER_NAMES.items():
        if ".attentions." in name:
            name = name.replace(f".{new}.", f".{old}.")
    return name


def text() -> Findings:
    """Every choice of outputs gives what transformers gives, with and without the projection."""
    torch.manual_seed(0)
    config = CLIPTextConfig(**TEXT)
    model = CLIPTextModelWithProjection._from_config(config, attn_implementation="eager").eval()
    state = model.state_dict()
    save_file(state, "projected.safetensors")
    save_file({n: v for n, v in state.items() if n.startswith("text_model.")}, "model.safetensors")
    bare = {n.removeprefix("text_model."): v for n, v in state.items() if "projection" not in n}
    save_file(bare, "bare.safetensors")
    ids = {"input_ids": IDS}
    states = model.text_model(input_ids=torch.from_numpy(IDS))
    hidden, pooled = states.last_hidden_state, states.pooler_output
    embeds = model(input_ids=torch.from_numpy(IDS)).text_embeds
    found: Findings = {}
    for label, options, weights, expected in (
        ("hidden", {}, "model", (hidden,)),
        ("pooled", {"outputs": "pooled"}, "model", (pooled,)),
        ("both", {"outputs": "both"}, "bare", (hidden, pooled)),
        ("projected", {"outputs": "both", "projection": True}, "projected", (hidden, embeds)),
    ):
        spec = spec_of(TEXT, ids, options=options, weights=f"{weights}.safetensors")
        results = TEXT_ENCODER.program(spec, "f32")([IDS])
        found[label] = [distance(*pair) for pair in zip(results, expected, strict=True)]
    TEXT_ENCODER.export(
        spec_of(TEXT, ids, options={"outputs": "both", "projection": True}), Path("text.mlir")
    )
    found["checkpoint's names"] = parameters_of(Path("text.mlir")) == set(state)
    idle = spec_of(TEXT, ids, options={"projection": True})
    found["idle projection"] = message(lambda: TEXT_ENCODER.program(idle, "f32"))
    other = spec_of({"model_type": "bert"}, ids, options={})
    found["another model"] = message(lambda: TEXT_ENCODER.program(other, "f32"))
    return found


if __name__ == "__main__":
    with torch.no_grad():
        findings = {probe.__name__: probe() for probe in (unet, vae, text)}
    Path("findings.json").write_text(json.dumps(findings), encoding="utf-8")
