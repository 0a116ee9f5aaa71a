"""diffusers' own StableDiffusionPipeline with the weights of released parameter archives.

Run under a toolchain's interpreter: ``python bench/diffusers_pipeline.py REQUEST.json``. The
request names the folder of the model's configurations, three IRPA files, the sampler's folder, ids
and noise as .npy, the number of steps, the scale of guidance, and the .npz to write: ``states``,
``latents`` [steps + 1, …], ``image`` [height, width, 3] in bytes. Everything is float32.
"""

import json
import sys
from pathlib import Path
from typing import Any

import diffusers
import iree.runtime as iree
import numpy as np
import torch
from transformers import CLIPTextConfig, CLIPTextModel


def weights(irpa: str) -> dict[str, torch.Tensor]:
    """The tensors of an archive, by the checkpoint's names."""
    index = iree.ParameterIndex()
    index.load(irpa)
    tensors = {}
    for name, entry in index.items():
        about = json.loads(bytes(entry.metadata).decode().removeprefix("PYTORCH:"))
        values = torch.frombuffer(bytearray(entry.file_view), dtype=getattr(torch, about["dtype"]))
        tensors[name] = values.reshape(about["shape"])
    return tensors


def filled(model: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """The model with these weights; what it lacks is the half of an autoencoder that is not run."""
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected, unexpected
    assert all(name.startswith(("encoder.", "quant_conv.")) for name in missing), missing
    return model.eval()


def read(folder: Path, name: str) -> Any:
    """A JSON file."""
    return json.loads((folder / name).read_text(encoding="utf-8"))


def pipeline_of(request: dict[str, Any]) -> Any:
    """The pipeline, as from_pretrained would put it together."""
    folder, irpa = Path(request["configurations"]), request["parameters"]
    text = CLIPTextModel(CLIPTextConfig.from_dict(read(folder, "text_encoder/config.json")))
    named = {name.removeprefix("text_model."): one for name, one in weights(irpa["text"]).items()}
    unet = diffusers.UNet2DConditionModel.from_config(read(folder, "unet/config.json"))
    vae = diffusers.AutoencoderKL.from_config(read(folder, "vae/config.json"))
    sampler = read(folder, f"{request['sampler']}/scheduler_config.json")
    made = diffusers.StableDiffusionPipeline(
        text_encoder=filled(text, named),
        unet=filled(unet, weights(irpa["unet"])),
        vae=filled(vae, weights(irpa["vae"])),
        scheduler=getattr(diffusers, sampler["_class_name"]).from_config(sampler),
        tokenizer=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


def run(request: dict[str, Any]) -> None:
    """Draw the picture and write every latent on the way."""
    pipeline = pipeline_of(request)
    noise = torch.from_numpy(np.load(request["noise"]))
    states = pipeline.text_encoder(torch.from_numpy(np.load(request["ids"])))[0]
    latents: list[torch.Tensor] = []

    def keep(_: Any, step: int, time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        del step, time
        latents.append(tensors["latents"].clone())
        return tensors

    image = pipeline(
        negative_prompt_embeds=states[:1],
        prompt_embeds=states[1:],
        latents=noise,
        height=noise.shape[-2] * pipeline.vae_scale_factor,
        width=noise.shape[-1] * pipeline.vae_scale_factor,
        num_inference_steps=request["steps"],
        guidance_scale=request["guidance"],
        callback_on_step_end=keep,
        output_type="np",
    ).images[0]
    first = noise * pipeline.scheduler.init_noise_sigma
    np.savez(
        request["out"],
        states=states.numpy(),
        latents=torch.stack([first, *latents]).numpy(),
        image=np.rint(image * 255).astype(np.uint8),
    )


if __name__ == "__main__":
    with torch.no_grad():
        run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
