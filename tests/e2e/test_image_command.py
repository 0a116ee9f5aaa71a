"""A picture from released programs, with no framework loaded, is the one that diffusers draws."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.probing import probe
from tests.workbench import REPO, toolchain
from tests.workbench_models import TARGETS
from tidemill.channels import put_release
from tidemill.digest import digest_file
from tidemill.graph_build import build_graph
from tidemill.manifest.load import load_manifests
from tidemill.pixels.png import to_bytes
from tidemill.pixels.quality import psnr, ssim
from tidemill.records import Artifact, Release
from tidemill.store.folder import FolderStore

pytestmark = pytest.mark.toolchain

PARTS = ("text-encoder", "unet-cfg", "euler-start", "euler-step", "vae-decode")
STEPS = 20
#: One level instead of four, so that compiling takes seconds: a latent is one pixel.
SMALLER = {
    "unet": {
        "attention_head_dim": 2,
        "block_out_channels": [16],
        "down_block_types": ["CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D"],
    },
    "vae": {
        "block_out_channels": [16],
        "down_block_types": ["DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D"],
    },
}
#: IREE's runtime lies in the toolchain's environment; an installed `tidemill[run]` has its own.
COMMAND = """\
import sys
sys.path.append(sys.argv.pop(1))
from tidemill.cli import main
try:
    main()
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where things lie."""

    root: Path
    release: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A command that has ended; ``loaded`` are the packages that it had imported."""

    out: str
    err: str
    loaded: frozenset[str]


def draw(bench: Bench, *arguments: str, expect: int = 0, packages: Path | None = None) -> Drawn:
    """``tidemill image …`` beside the ``packages`` of the toolchain, or beside others."""
    beside = packages or toolchain().python.parents[1] / "lib/python3.11/site-packages"
    source = ("--store", str(bench.root / "store"), "--release", bench.release)
    command = [sys.executable, "-c", COMMAND, str(beside), "image", *arguments, *source]
    done = subprocess.run(command, cwd=bench.root, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stderr
    *said, loaded = done.stderr.strip().splitlines()
    return Drawn(out=done.stdout, err="\n".join(said), loaded=frozenset(loaded.split()))


def jobs_of(root: Path) -> dict[str, Any]:
    """Folder → what tests/picture_parts.py needs to make a part there."""
    manifests = load_manifests(root)
    (model,) = manifests.models.values()
    graph = build_graph([model], targets=manifests.targets.targets, compiler="3.13.0")
    files = {
        name: str(root / "manifests/models/sd-small" / part.path)
        for name, part in model.sources["config"].files.items()
    }
    jobs = {}
    for node in graph.nodes.values():
        if node.stage == "compile":
            shared = str(node.address).rpartition("/")[0]
            made, packed = (graph.nodes[f"{stage}:{shared}"] for stage in ("export", "pack"))
            names = [name for edge in made.inputs for name, _ in edge.files]
            jobs[str(node.address)] = {
                "export": made.fields,
                "pack": packed.fields,
                "inputs": {"config": {name: files[name] for name in names}},
                "flags": node.fields["flags"],
            }
    return jobs


def publish(folder: Path, store: FolderStore) -> str:
    """The digest of a release of every file below ``folder``."""
    artifacts = []
    for path in sorted(folder.rglob("model.*")):
        digest, kind = digest_file(path), path.suffix[1:]
        store.put_blob(path, digest=digest)
        target = path.parent.relative_to(folder).as_posix()
        address = target if kind == "vmfb" else target.rpartition("/")[0]
        artifacts.append(
            Artifact(
                address=address,
                kind=kind,
                file=f"{address}/{path.name}",
                digest=digest,
                size=path.stat().st_size,
                key="k",
                status="validated",
            )
        )
    release = Release(pipeline="p", toolchain="t", tools={}, artifacts=tuple(artifacts))
    return put_release(store, release)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A folder, and a store with a release of the proxy model's parts for the cpu."""
    root = tmp_path_factory.mktemp("pictures")
    models = REPO / "manifests/models"
    shutil.copytree(models / "sd-small", root / "manifests/models/sd-small")
    manifest: dict[str, Any] = yaml.safe_load((models / "sd-small.yaml").read_text())
    for name, changes in SMALLER.items():
        config = root / f"manifests/models/sd-small/{name}/config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))
        file = manifest["sources"]["config"]["files"][f"{name}/config.json"]
        file["sha256"] = digest_file(config)
    kept = {name: manifest["components"][name] for name in PARTS}
    for part in kept.values():
        part.update(dtypes=["f32"], targets=["cpu"])
    text = yaml.safe_dump({**manifest, "components": kept}, sort_keys=False)
    (root / "manifests/models/sd-small.yaml").write_text(text)
    (root / "manifests/targets.yaml").write_text(TARGETS)
    (root / "made").mkdir()
    (root / "made/jobs.json").write_text(json.dumps(jobs_of(root)))
    probe(toolchain().python, root / "made", "picture_parts.py")
    ids = np.full((2, 77), 257)
    ids[:, 0] = 256
    ids[1, 1:11] = list(b"a blue sea")
    np.save(root / "ids.npy", ids)
    noise = np.random.default_rng(5).standard_normal((1, 4, 16, 16), dtype=np.float32)
    np.save(root / "noise.npy", noise)
    return Bench(root=root, release=publish(root / "made", FolderStore(root / "store")))


GIVEN = ("sd-small", "--ids", "ids.npy")


@pytest.fixture(scope="module")
def drawn(bench: Bench) -> Drawn:
    """The picture of the given noise, with every array on the way."""
    more = ("--noise", "noise.npy", "--out", "out/ours.png", "--trace", "trace")
    return draw(bench, *GIVEN, *more)


@pytest.fixture(scope="module")
def theirs(bench: Bench) -> Any:
    """What diffusers' pipeline makes of the same parameters, ids and noise."""
    irpa = {
        role: str(next((bench.root / f"made/sd-small/{name}").rglob("*.irpa")))
        for role, name in (("text", "text-encoder"), ("unet", "unet-cfg"), ("vae", "vae-decode"))
    }
    request = {
        "configurations": str(bench.root / "manifests/models/sd-small"),
        "parameters": irpa,
        "sampler": "scheduler_euler",
        "steps": STEPS,
        "guidance": 7.5,
        "ids": str(bench.root / "ids.npy"),
        "noise": str(bench.root / "noise.npy"),
        "out": str(bench.root / "theirs.npz"),
    }
    (bench.root / "request.json").write_text(json.dumps(request))
    script = [str(toolchain().python), str(REPO / "bench/diffusers_pipeline.py")]
    subprocess.run([*script, str(bench.root / "request.json")], check=True)
    return np.load(bench.root / "theirs.npz")


def traced(bench: Bench, name: str) -> list[np.ndarray]:
    """The arrays of one name, in the order in which they came to be."""
    return [np.load(path) for path in sorted((bench.root / "trace").glob(f"*-{name}.npy"))]


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """The distance as a part of the expected length."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_no_framework_is_loaded(drawn: Drawn) -> None:
    assert "iree" in drawn.loaded
    assert (
        drawn.loaded & {"torch", "diffusers", "transformers", "luigi", "pydantic", "yaml"} == set()
    )


def test_it_tells_every_step_and_what_it_has_drawn(bench: Bench, drawn: Drawn) -> None:
    assert drawn.err.splitlines() == [f"step {step} of {STEPS}" for step in range(1, STEPS + 1)]
    release = f"release {bench.release[:12]}…"
    assert drawn.out == f"out/ours.png: sd-small, {release}, f32, cpu\n"


def test_every_latent_is_diffusers_own(bench: Bench, drawn: Drawn, theirs: Any) -> None:
    ours = traced(bench, "latents")
    assert len(ours) == len(theirs["latents"]) == STEPS + 1
    assert relative(traced(bench, "states")[0], theirs["states"]) < 1e-5
    apart = [relative(*pair) for pair in zip(ours, theirs["latents"], strict=True)]
    assert max(apart) < 1e-4
    # The walk leads somewhere: it is not the same latents again and again.
    assert relative(ours[0], ours[-1]) > 0.1


def test_the_picture_is_diffusers_own(bench: Bench, drawn: Drawn, theirs: Any) -> None:
    (image,) = traced(bench, "image")
    ours = to_bytes(image[0])
    assert (bench.root / "out/ours.png").read_bytes()[:4] == b"\x89PNG"
    assert ours.std() > 20
    assert psnr(ours, theirs["image"], peak=255) > 45
    assert ssim(ours, theirs["image"], peak=255) > 0.999


def test_the_seed_and_the_guidance_decide(bench: Bench, drawn: Drawn) -> None:
    pictures = set()
    for seed, guidance in (("1", "7.5"), ("2", "7.5"), ("1", "1"), ("1", "7.5")):
        given = ("--seed", seed, "--guidance", guidance, "--out", f"{seed}.png")
        draw(bench, *GIVEN, *given)
        pictures.add((bench.root / f"{seed}.png").read_bytes())
    assert len(pictures) == 3


def test_a_prompt_becomes_the_same_ids(bench: Bench, drawn: Drawn) -> None:
    given = ("--tokenizer", str(REPO / "manifests/models/sd-small/tokenizer.json"))
    words = ("--prompt", "a blue sea", "--noise", "noise.npy", "--out", "words.png")
    draw(bench, GIVEN[0], *given, *words)
    ours, same = (bench.root / name for name in ("out/ours.png", "words.png"))
    assert same.read_bytes() == ours.read_bytes()
    bad = ("--pad-token", "<odd>", "--out", "never.png", "--prompt", "x")
    said = draw(bench, GIVEN[0], *given, *bad, expect=2).err
    assert "the tokenizer has no token '<odd>'" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (GIVEN[:1], "give either --prompt or --ids"),
        (("odd", *GIVEN[1:]), "the release has no model 'odd'\n  it has: sd-small"),
        ((*GIVEN, "--sampler", "ddim"), "has no sd-small/ddim-start/f32*/cpu, which a pipeline"),
        ((*GIVEN, "--device", "abacus"), "has no driver for 'abacus'"),
        ((*GIVEN[:2], "noise.npy"), "takes token ids (2, 77)"),
        ((*GIVEN[:1], "--prompt", "a sea"), "a prompt needs the model's tokenizer"),
        ((*GIVEN, "--channel", "c"), "give either --channel or --release"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    bench: Bench, arguments: tuple[str, ...], said: str
) -> None:
    assert said in draw(bench, *arguments, "--out", "never.png", expect=2).err
    assert not (bench.root / "never.png").exists()


def test_without_its_packages_it_says_what_to_install(bench: Bench, tmp_path: Path) -> None:
    said = draw(bench, *GIVEN, "--out", "never.png", expect=2, packages=tmp_path).err
    assert "drawing a picture needs iree.runtime, not installed here" in said
    assert "pip install 'tidemill[run]'" in said
