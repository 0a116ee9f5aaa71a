"""A clip is written down by released programs, with no framework loaded, as the reference does."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.small_talker import COMMAND
from tests.workbench import PIPELINE_MODULES, REPO, Workbench, toolchain
from tests.workbench_models import TARGETS
from tidemill.speech.rules import prompt_of, rules_of
from tidemill.speech.vocabulary import Vocabulary, read_vocabulary

pytestmark = pytest.mark.toolchain

OURS = REPO / "manifests/models/whisper-tiny"
SENTENCE = "The tide comes in at night and the mill grinds the corn before morning."
FRAMEWORKS = {"torch", "transformers", "tokenizers", "luigi", "pydantic", "yaml"}
PIPELINE = """\
from pipelines.base import Pipeline
from tidemill.policy import Policy

PIPELINE = Pipeline(
    name="speech",
    about="for a test",
    models=("whisper-tiny",),
    targets=("cpu",),
    channel="speech",
    policy=Policy(required=("*/*/*/cpu",), on_failure="block"),
)
"""
#: One layer a half, a window of one second.
SMALL = {
    "d_model": 16,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 32,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "encoder_layers": 1,
    "max_source_positions": 50,
    "max_target_positions": 64,
    "num_mel_bins": 8,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A command that has ended; ``loaded`` are the packages that it had imported."""

    out: str
    err: str
    loaded: frozenset[str]


def transcribe(bench: Workbench, *arguments: str, expect: int = 0) -> Written:
    """``tidemill transcribe …`` beside the packages of the toolchain."""
    beside = toolchain().python.parents[1] / "lib/python3.11/site-packages"
    command = [sys.executable, "-c", COMMAND, str(beside), "transcribe", *arguments]
    done = subprocess.run(
        command, cwd=bench.root, env=bench.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == expect, done.stderr
    *said, loaded = done.stderr.strip().splitlines()
    return Written(out=done.stdout, err="\n".join(said), loaded=frozenset(loaded.split()))


def workspace(root: Path, manifest: dict[str, Any]) -> Workbench:
    """A workspace with this one model, made for the cpu in float32."""
    bench = Workbench(root=root, store=root / ".tidemill/store")
    for folder in ("manifests/models", "toolchains", "pipelines"):
        (root / folder).mkdir(parents=True)
    for name in PIPELINE_MODULES:
        (root / f"pipelines/{name}.py").symlink_to(REPO / f"pipelines/{name}.py")
    for name in ("tasks", "luigi.cfg"):
        (root / name).symlink_to(REPO / name)
    shutil.copy(REPO / "toolchains/default.lock", root / "toolchains")
    shutil.copytree(OURS, root / "manifests/models/whisper-tiny")
    bench.write("pipelines/speech.py", PIPELINE)
    bench.write("manifests/targets.yaml", TARGETS)
    for part in manifest["components"].values():
        part.update(dtypes=["f32"], targets=["cpu"])
    bench.write("manifests/models/whisper-tiny.yaml", yaml.safe_dump(manifest, sort_keys=False))
    return bench


def declared() -> dict[str, Any]:
    """The manifest of the checkout."""
    manifest: dict[str, Any] = yaml.safe_load(OURS.with_suffix(".yaml").read_text())
    return manifest


def expected(bench: Workbench) -> dict[str, Any]:
    """What the reference says of greedy decoding."""
    record = bench.record("reference", "whisper-tiny/decoder/f32-batch1")
    (digest,) = (one["digest"] for one in record["outputs"] if one["name"] == "reference.json")
    greedy: dict[str, Any] = json.loads(bench.blob(digest).read_bytes())["samples"][0]["greedy"]
    return greedy


def small_words(file: Path) -> Vocabulary:
    """A vocabulary of the single bytes and a few words."""
    tokens = [bytes([one]) for one in range(256)] + [b" -", b" the", b" tide", b" mill"]
    lines = [b"%s %d" % (base64.b64encode(one), rank) for rank, one in enumerate(tokens)]
    file.write_bytes(b"\n".join(lines))
    return read_vocabulary(file)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A tiny Whisper with weights from a seed, released."""
    root = tmp_path_factory.mktemp("speech")
    words = small_words(root / "words.tiktoken")
    stop, (begin, plain) = words.special("endoftext"), prompt_of(words)
    manifest = declared()
    encoder, decoder = manifest["components"].values()
    manifest["sources"] |= {"package": {"from": "synthetic:seed=14", "scale": 2.0}}
    manifest["sources"]["vocabulary"] = {"from": "file:whisper-tiny", "files": {}}
    for part in (encoder, decoder):
        part["weights"] = ["package"]
    encoder["inputs"]["log_mel"]["shape"] = ["batch", 8, 100]
    decoder["inputs"]["states"]["shape"] = ["batch", 50, 16]
    decoder["dimensions"] = {"seq": {"min": 2, "max": 63}}
    (sample,) = decoder["samples"]
    sample["inputs"]["ids"]["values"] = [[begin, plain]]
    sample["greedy"] |= {"tokens": 12, "dtypes": ["f32"]}
    bench = workspace(root / "bench", manifest)
    folder = bench.root / "manifests/models/whisper-tiny"
    special = {"bos_token_id": begin, "decoder_start_token_id": begin, "vocab_size": words.size}
    special |= {"eos_token_id": stop, "pad_token_id": stop}
    config = {**json.loads((folder / "config.json").read_text()), **SMALL, **special}
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(root / "words.tiktoken", folder / "gpt2.tiktoken")
    cut(folder / "clip.wav", seconds=0.9)
    for source, names in (
        ("here", ("config.json", "clip.wav")),
        ("vocabulary", ("gpt2.tiktoken",)),
    ):
        for name in names:
            digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            manifest["sources"][source]["files"][name] = {"path": name, "sha256": digest}
    bench.write("manifests/models/whisper-tiny.yaml", yaml.safe_dump(manifest, sort_keys=False))
    bench.run("speech")
    return bench


def cut(clip: Path, *, seconds: float) -> None:
    """Keep the beginning of a clip."""
    with wave.open(str(clip), "rb") as sound:
        data = sound.readframes(int(seconds * 16000))
    with wave.open(str(clip), "wb") as sound:
        sound.setparams((1, 2, 16000, 0, "NONE", ""))
        sound.writeframes(data)


GIVEN = ("--channel", "speech", "--vocabulary")
SMALL_CLIP = "manifests/models/whisper-tiny/clip.wav"
SMALL_WORDS = "manifests/models/whisper-tiny/gpt2.tiktoken"


def test_the_command_writes_the_tokens_of_the_reference(small: Workbench) -> None:
    wanted = expected(small)
    words = read_vocabulary(small.root / SMALL_WORDS)
    plain = [token for token in wanted["expected"][0] if token != wanted["rules"]["stop"]]
    arguments = ("whisper-tiny", SMALL_CLIP, *GIVEN, SMALL_WORDS, "--limit", "12")
    done = transcribe(small, *arguments, "--json")
    assert json.loads(done.out) == {"text": words.text(plain).strip(), "tokens": plain}
    assert len(set(plain)) > 2, "a text of one token would be no test"
    assert transcribe(small, *arguments).out == words.text(plain).strip() + "\n"
    assert "iree" in done.loaded
    assert done.loaded & FRAMEWORKS == set()


def test_the_verdict_says_that_the_tokens_are_equal(small: Workbench) -> None:
    record = small.record("validate", "whisper-tiny/decoder/f32-batch1/cpu")
    greedy = record["facts"]["verdict"]["greedy"]
    assert greedy["equal"] == greedy["tokens"] > 0
    assert greedy["samples"][0]["text"] == expected(small)["text"]
    shown = small.call("show", "whisper-tiny/decoder/*/cpu", "--channel", "speech").out
    assert f"{greedy['equal']} of {greedy['tokens']} tokens equal" in shown


def test_another_clip_makes_both_references_again_and_no_program(
    small: Workbench, tmp_path: Path
) -> None:
    mine = small.copy(tmp_path / "bench")
    clip = mine.root / SMALL_CLIP
    before = hashlib.sha256(clip.read_bytes()).hexdigest()
    cut(clip, seconds=0.8)
    after = hashlib.sha256(clip.read_bytes()).hexdigest()
    mine.edit("manifests/models/whisper-tiny.yaml", (before, after))
    halves = ("encoder", "decoder")
    assert mine.run("speech").built == {
        "fetch:whisper-tiny/here",
        *(f"reference:whisper-tiny/{half}/f32-batch1" for half in halves),
        *(f"validate:whisper-tiny/{half}/f32-batch1/cpu" for half in halves),
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"clip": "no sound"}, "clip.wav is no PCM WAV file: "),
        ({"clip": "long"}, "the clip is 1.2 s long, the model takes 1.0 s"),
        ({"words": b"YQ== 0"}, "words.tiktoken lacks 255 of the 256 single bytes"),
        ({"words": "fewer"}, "logits are of 1868 tokens, the vocabulary has 1864"),
        ({"model": "other"}, "the release has no model 'other'"),
        ({"more": ("--target", "gfx942")}, "the release has no whisper-tiny/encoder/f32*/gfx942"),
        ({"more": ("--release", "ab" * 32)}, "give either --channel or --release"),
    ],
)
def test_what_is_wrong_is_said(
    small: Workbench, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    clip, words = tmp_path / "clip.wav", tmp_path / "words.tiktoken"
    shutil.copy(OURS / "clip.wav", clip)
    cut(clip, seconds=1.2 if change.get("clip") == "long" else 0.9)
    if change.get("clip") == "no sound":
        clip.write_text("words")
    shutil.copy(small.root / SMALL_WORDS, words)
    given = change.get("words")
    if given == "fewer":
        words.write_bytes(b"\n".join(words.read_bytes().splitlines()[:256]))
    elif given:
        words.write_bytes(given)
    model, more = change.get("model", "whisper-tiny"), change.get("more", ())
    done = transcribe(small, model, str(clip), *GIVEN, str(words), *more, expect=2)
    assert said in done.err


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """OpenAI's tiny.en, fetched, compiled, validated and released."""
    bench = workspace(tmp_path_factory.mktemp("real") / "bench", declared())
    process = bench.start("run", "speech", "--no-progress")
    out, err = process.communicate(timeout=3600)
    assert process.returncode == 0, out + err
    return bench


@pytest.mark.slow
def test_real_speech_is_written_down_as_transformers_does_it(real: Workbench) -> None:
    files = {
        name: str(real.blob(part["sha256"]))
        for source in declared()["sources"].values()
        for name, part in source["files"].items()
    }
    clip = str(OURS / "clip.wav")
    done = transcribe(real, "whisper-tiny", clip, *GIVEN, files["gpt2.tiktoken"], "--json")
    ours = json.loads(done.out)
    script = [str(toolchain().python), str(REPO / "tests/whisper_reference.py")]
    theirs = json.loads(
        subprocess.run(
            [*script, files["tiny.en.pt"], clip],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(REPO)},
        ).stdout
    )
    assert ours["tokens"] == theirs["tokens"]
    assert ours["text"] == SENTENCE
    assert done.loaded & FRAMEWORKS == set()
    words = read_vocabulary(Path(files["gpt2.tiktoken"]))
    tasks = {words.special("translate"), words.special("transcribe")}
    assert set(rules_of(words).banned) == {*theirs["no speech"], *tasks}
    verdict = real.record("validate", "whisper-tiny/decoder/f32-batch1/cpu")["facts"]["verdict"]
    assert [text.strip() for text in verdict["greedy"]["samples"][0]["text"]] == [SENTENCE]
    assert verdict["greedy"]["equal"] == verdict["greedy"]["tokens"] == len(ours["tokens"]) + 1
    assert SENTENCE in real.call("show", "whisper-tiny/decoder/*/cpu", "--channel", "speech").out
