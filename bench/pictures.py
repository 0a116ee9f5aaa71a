"""The pictures of docs/images.md: compiled programs against the frameworks they come from.

    make toolchain && .venv/bin/tidemill run pictures && .venv/bin/python bench/pictures.py

Three loops, each run twice over the same noise: the Stable Diffusion family on its proxy size (our
`tidemill image` against diffusers' StableDiffusionPipeline), a consistency model of terrains
(against onnxruntime, installed into .tidemill/bench-pictures when it is not there), and a score
network of power spectra (against the package's own torch module). Every array on the way is
compared. Writes pictures to docs/images, and the table of the page to standard output.
"""

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from bench.loops import SIGMA_MAX, Array, Program, heights, noisy_spectra, spectra, terrain
from tests.workbench import toolchain
from tidemill.images.programs import Device
from tidemill.images.programs import Program as Compiled
from tidemill.images.prompts import token_ids
from tidemill.pixels.png import to_bytes, write_png
from tidemill.pixels.quality import psnr, ssim

EXTRA = REPO / ".tidemill/bench-pictures"
SPECTRA_PACKAGE = "21cmpsdenoiser==1.0.2"
DRAW = "import sys; sys.path.append(sys.argv.pop(1)); from tidemill.cli import main; main()"
STEPS, GUIDANCE = 20, 7.5
SIGMAS = (SIGMA_MAX, 24.4, 5.84)
PROMPT = "the tide comes in over the mill"


def packages() -> Path:
    """Where the toolchain's packages lie; appended, so that ours come first."""
    return next((toolchain().root / "lib").glob("python3*")) / "site-packages"


def install(*wanted: str) -> None:
    """Bring packages that only the comparison needs into a folder of their own."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(EXTRA)]
    subprocess.run([*pip, *wanted], check=True)


def tidemill(*arguments: str) -> None:
    """A command in the checkout, with the toolchain's runtime."""
    command = [sys.executable, "-c", DRAW, str(packages()), *arguments]
    subprocess.run(command, cwd=REPO, check=True)


def pull(work: Path, store: Sequence[str]) -> Path:
    """Everything that the channel has, in a folder."""
    tidemill("pull", "*/*/*/cpu", "--channel", "pictures", "--to", str(work / "all"), *store)
    return work / "all"


def compiled(pulled: Path, variant: str) -> Program:
    """A pulled program on the cpu."""
    folder = pulled / variant
    (vmfb,), (irpa,) = folder.rglob("*.vmfb"), folder.rglob("*.irpa")
    return Compiled(Device("local-task"), vmfb=vmfb, irpa=irpa)


def apart(found: Sequence[Array], expected: Sequence[Array]) -> tuple[float, float]:
    """The greatest difference and the greatest relative L2 over pairs of arrays."""
    pairs = [
        (a.astype(np.float64), b.astype(np.float64)) for a, b in zip(found, expected, strict=True)
    ]
    greatest = max(float(np.abs(a - b).max()) for a, b in pairs)
    return greatest, max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)


def show(name: str, folder: Path, /, *, ours: Array, theirs: Array, arrays: Any) -> None:
    """Write both pictures and print the row of the table."""
    for label, pixels in (("tidemill", ours), ("reference", theirs)):
        larger = max(1, 256 // pixels.shape[0])
        write_png(folder / f"{name}-{label}.png", pixels.repeat(larger, 0).repeat(larger, 1))
    greatest, relative = apart(*arrays)
    equal = float((ours == theirs).mean())
    print(
        f"| {name} | {len(arrays[0])} | {greatest:.1e} | {relative:.1e}"
        f" | {psnr(ours, theirs, peak=255):.1f} dB | {ssim(ours, theirs, peak=255):.6f}"
        f" | {equal:.2%} |"
    )


def stable_diffusion(folder: Path, work: Path, /, pulled: Path, store: Sequence[str]) -> None:
    """The whole family from ids to a picture, every latent compared."""
    tokenizer = REPO / "manifests/models/sd-small/tokenizer.json"
    np.save(work / "ids.npy", token_ids(tokenizer, ("", PROMPT), length=77))
    noise = np.random.default_rng(7).standard_normal((1, 4, 16, 16), dtype=np.float32)
    np.save(work / "noise.npy", noise)
    given = ("--prompt", PROMPT, "--tokenizer", str(tokenizer), "--noise", str(work / "noise.npy"))
    for sampler in ("euler", "ddim"):
        trace = work / f"trace-{sampler}"
        written = ("--out", str(work / "ours.png"), "--trace", str(trace), "--sampler", sampler)
        tidemill("image", "sd-small", "--channel", "pictures", *given, *written, *store)
        theirs = diffusers_pipeline(work, pulled, sampler=f"scheduler_{sampler}")
        ours = [np.load(path) for path in sorted(trace.glob("*-latents.npy"))]
        (image,) = (np.load(path) for path in trace.glob("*-image.npy"))
        show(
            f"sd-small-{sampler}",
            folder,
            ours=to_bytes(image[0]),
            theirs=theirs["image"],
            arrays=(ours, list(theirs["latents"])),
        )


def diffusers_pipeline(work: Path, pulled: Path, /, *, sampler: str) -> Any:
    """What diffusers' own pipeline makes of the released parameters."""
    parts = {"text": "text-encoder", "unet": "unet-cfg", "vae": "vae-decode"}
    found = {role: (pulled / f"sd-small/{name}").glob("f32*") for role, name in parts.items()}
    request = {
        "configurations": str(REPO / "manifests/models/sd-small"),
        "parameters": {role: str(next(next(f).rglob("*.irpa"))) for role, f in found.items()},
        "sampler": sampler,
        "steps": STEPS,
        "guidance": GUIDANCE,
        "ids": str(work / "ids.npy"),
        "noise": str(work / "noise.npy"),
        "out": str(work / "theirs.npz"),
    }
    (work / "request.json").write_text(json.dumps(request), encoding="utf-8")
    script = [str(toolchain().python), str(REPO / "bench/diffusers_pipeline.py")]
    subprocess.run([*script, str(work / "request.json")], check=True)
    return np.load(work / "theirs.npz")


def real_terrain(folder: Path, pulled: Path, /, source: Path) -> None:
    """The consistency model, against onnxruntime."""
    onnxruntime = importlib.import_module("onnxruntime")
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def reference(arrays: Sequence[Array]) -> list[Array]:
        return list(session.run(None, dict(zip(names, arrays, strict=True))))

    program = compiled(pulled, "terrain/denoiser/f32-batch1")
    found, expected = (
        terrain(one, seed=3, difficulty=0.75, sigmas=SIGMAS) for one in (program, reference)
    )
    for name, at in (("terrain-one-step", 0), ("terrain-three-steps", 2)):
        ours, theirs = (shaded(heights(drawn[at])) for drawn in (found, expected))
        arrays = found[: at + 1], expected[: at + 1]
        show(name, folder, ours=ours, theirs=theirs, arrays=arrays)


def shaded(metres: Array) -> Array:
    """A height map lit from the upper left, in grey."""
    down, right = np.gradient(metres, 0.1)
    light = (1 - down - right) / np.sqrt(3 * (1 + down**2 + right**2))
    return np.asarray(np.rint(np.clip(light * 0.8 + 0.1, 0, 1) * 255), dtype=np.uint8)


def real_spectra(folder: Path, pulled: Path, /, wheel: Path) -> None:
    """The score network, against the module that the package ships."""
    torch = importlib.import_module("torch")
    with zipfile.ZipFile(wheel) as packed, tempfile.TemporaryDirectory() as place:
        packed.extract("psdenoiser/model.py", place)
        packed.extract("psdenoiser/denoiser_model.pt", place)
        sys.path.insert(0, f"{place}/psdenoiser")
        unet = importlib.import_module("model").UNet
        module = unet(dim=(32, 16), channels=2, dim_mults=(1, 2, 4, 8), cdn_len=None).eval()
        weights = torch.load(f"{place}/psdenoiser/denoiser_model.pt", weights_only=True)
        module.load_state_dict(weights)

    def reference(arrays: Sequence[Array]) -> list[Array]:
        sample, condition, time = (torch.from_numpy(array) for array in arrays)
        with torch.no_grad():
            return [module(sample, time, x_cdn=condition).numpy()]

    program = compiled(pulled, "power-spectra/denoiser/f32-batch8")
    condition = noisy_spectra(8)
    (found, last), (expected, wanted) = (
        spectra(one, condition, seed=3, steps=60) for one in (program, reference)
    )
    ours, theirs = (side_by_side(condition, drawn) for drawn in (last, wanted))
    arrays = [*found, last], [*expected, wanted]
    show("power-spectra", folder, ours=ours, theirs=theirs, arrays=arrays)


def side_by_side(condition: Array, drawn: Array) -> Array:
    """Measured spectra above their denoised samples, in grey."""
    rows = [np.hstack(list(array[:, 0].astype(np.float64))) for array in (condition, drawn)]
    return np.rint(np.clip(np.vstack(rows) / 2 + 0.5, 0, 1) * 255).astype(np.uint8)


def main() -> None:
    """Draw everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=REPO / "docs/images")
    parser.add_argument("--store", default="")
    options = parser.parse_args()
    store = ("--store", options.store) if options.store else ()
    options.out.mkdir(parents=True, exist_ok=True)
    sys.path += [str(packages()), str(EXTRA)]
    install("onnxruntime", "einops")
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", place]
        subprocess.run(
            [*download, SPECTRA_PACKAGE, "adaptive-terrain-diffusion==0.4.2"], check=True
        )
        pulled = pull(work, store)
        print("| picture | arrays | max abs | relative L2 | PSNR | SSIM | equal bytes |")
        print("|---|---|---|---|---|---|---|")
        stable_diffusion(options.out, work, pulled, store)
        (onnx,) = extracted(next(work.glob("adaptive*.whl")), work)
        real_terrain(options.out, pulled, onnx)
        real_spectra(options.out, pulled, next(work.glob("21cm*.whl")))


def extracted(wheel: Path, work: Path) -> list[Path]:
    """The ONNX files of a wheel."""
    with zipfile.ZipFile(wheel) as packed:
        names = [name for name in packed.namelist() if name.endswith(".onnx")]
        return [Path(packed.extract(name, work)) for name in names]


if __name__ == "__main__":
    main()
