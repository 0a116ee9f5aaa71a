"""Whisper's halves against transformers, on a tiny model; ``findings.json`` is what was found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from tests.exporter_probes import run_on_cpu
from tidemill.errors import WorkError
from tidemill.exporters.base import Dimension, InputSpec, Spec
from tidemill.exporters.whisper import DIMS, WhisperExporter
from tidemill.exporters.whisper_decoder import WhisperDecoderExporter
from tidemill.exporters.whisper_encoder import WhisperEncoderExporter
from tidemill.speech.mel import log_mel, triangles
from tidemill.speech.rules import Rules
from tidemill.speech.sound import read_wav
from tidemill.steps.work.greedy import Plan, decode

ENCODER, DECODER = WhisperEncoderExporter(), WhisperDecoderExporter()
CLIP = Path(__file__).parents[1] / "manifests/models/whisper-tiny/clip.wav"
SIZES = {
    "vocab_size": 90,
    "num_mel_bins": 8,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "max_source_positions": 12,
    "max_target_positions": 24,
}
END, BEGIN, PLAIN = 80, 81, 82
SPECIAL = {
    "bos_token_id": BEGIN,
    "eos_token_id": END,
    "pad_token_id": END,
    "decoder_start_token_id": BEGIN,
}
#: As OpenAI's own code names things; written down here a second time on purpose.
THEIRS = [
    ("model.", ""),
    ("embed_positions.weight", "positional_embedding"),
    ("embed_tokens", "token_embedding"),
    ("layers", "blocks"),
    ("self_attn_layer_norm", "attn_ln"),
    ("encoder_attn_layer_norm", "cross_attn_ln"),
    ("final_layer_norm", "mlp_ln"),
    ("encoder.layer_norm", "encoder.ln_post"),
    ("decoder.layer_norm", "decoder.ln"),
    ("self_attn", "attn"),
    ("encoder_attn", "cross_attn"),
    ("q_proj", "query"),
    ("k_proj", "key"),
    ("v_proj", "value"),
    ("out_proj", "out"),
    ("fc1", "mlp.0"),
    ("fc2", "mlp.2"),
]
FEATURES = np.random.default_rng(3).standard_normal((1, 8, 24)).astype(np.float32)
IDS = np.array([[BEGIN, PLAIN, 7, 3, 9]], dtype=np.int64)
Findings = dict[str, Any]


def model() -> WhisperForConditionalGeneration:
    """A tiny Whisper whose texts are not all the same token."""
    torch.manual_seed(1)
    config = WhisperConfig(**SIZES, **SPECIAL, attn_implementation="eager", init_std=0.3)
    made: WhisperForConditionalGeneration = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        # Else every position wants the token before it once more.
        made.model.decoder.embed_positions.weight.normal_(std=3.0)
    Path("config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    return made


def save_as_openai(theirs: WhisperForConditionalGeneration, path: Path, **changes: int) -> None:
    """The file that OpenAI would publish of it, in float32."""
    tensors = {}
    for name, tensor in theirs.state_dict().items():
        if name != "proj_out.weight":
            for ours, openai in THEIRS:
                name = name.replace(ours, openai)  # noqa: PLW2901 - one step after the other
            tensors[name] = tensor
    dims = {openai: SIZES[ours] for openai, ours in DIMS.items()} | changes
    torch.save({"dims": dims, "model_state_dict": tensors}, path)


def spec_of(half: str, **changes: Any) -> Spec:
    """The spec of one half of the model in the current folder."""
    log_mel_input = InputSpec(name="log_mel", dtype="float", shape=(1, 8, 24))
    ids = InputSpec(name="ids", dtype="i64", shape=(1, "seq"))
    states = InputSpec(name="states", dtype="float", shape=(1, 12, 32))
    fields: dict[str, Any] = {
        "dtype": "f32",
        "options": {},
        "inputs": (log_mel_input,) if half == "encoder" else (ids, states),
        "dynamic": {} if half == "encoder" else {"seq": Dimension(min=2, max=23)},
        "config": {"config.json": Path("config.json")},
        "weights": {"tiny.pt": Path("tiny.pt")},
        "pickle_allowed": True,
    }
    return Spec(**(fields | changes))


def compiled(half: str, exporter: WhisperExporter) -> Callable[..., Any]:
    """The half, exported without weights, packed from OpenAI's file and compiled for the cpu."""
    mlir, irpa = Path(f"{half}.mlir"), Path(f"{half}.irpa")
    exporter.export(spec_of(half), mlir)
    exporter.pack(spec_of(half), irpa)
    return lambda *arrays: run_on_cpu(mlir, irpa, *arrays)


def halves(theirs: WhisperForConditionalGeneration) -> Findings:
    """Both compiled halves against transformers; the MLIR with and without weights."""
    hear, write = compiled("encoder", ENCODER), compiled("decoder", DECODER)
    with torch.no_grad():
        states = theirs.model.encoder(torch.from_numpy(FEATURES)).last_hidden_state
        logits = theirs(
            encoder_outputs=(states,), decoder_input_ids=torch.from_numpy(IDS)
        ).logits.numpy()
    ours = hear(FEATURES)
    same = {}
    for half, exporter in (("encoder", ENCODER), ("decoder", DECODER)):
        exporter.lower(spec_of(half), Path("loaded.mlir"), with_weights=True)
        same[half] = Path("loaded.mlir").read_bytes() == Path(f"{half}.mlir").read_bytes()
    return {
        "states": float(np.abs(ours - states.numpy()).max()),
        "logits": float(np.abs(write(IDS, ours) - logits).max()),
        "shorter": float(np.abs(write(IDS[:, :2].copy(), ours) - logits[:, :2]).max()),
        "size of logits": float(np.abs(logits).max()),
        "same": same,
    }


def texts(theirs: WhisperForConditionalGeneration) -> Findings:
    """Greedy tokens by our rules, and by transformers' ``generate``."""
    banned, first = [3, 8, 30], [7, END]
    settings = GenerationConfig(
        **SPECIAL,
        suppress_tokens=banned,
        begin_suppress_tokens=first,
        is_multilingual=False,
        no_timestamps_token_id=PLAIN,
        return_timestamps=False,
        max_new_tokens=20,
    )
    states = ENCODER.program(spec_of("encoder"), "f32")([FEATURES])
    decoder = DECODER.program(spec_of("decoder"), "f32")
    start = [np.array([[BEGIN, PLAIN]]), *states]
    found: Findings = {}
    for name, rules in (
        ("ours", Rules(stop=END, banned=tuple(banned), banned_first=tuple(first))),
        ("without", Rules(stop=END)),
    ):
        found[name] = decode(decoder, start, plan=Plan(tokens=20, rules=rules))[0].tolist()
    theirs.generation_config = settings
    found["theirs"] = theirs.generate(torch.from_numpy(FEATURES))[0].tolist()
    return found


def features() -> Findings:
    """Our log-mel features of the clip against transformers'."""
    samples = read_wav(CLIP)
    extractor = WhisperFeatureExtractor()
    theirs = extractor(samples, sampling_rate=16000, return_tensors="np").input_features[0]
    ours = log_mel(samples, bins=80, frames=3000)
    return {
        "shape": list(ours.shape),
        "far": float(np.abs(ours - theirs).max()),
        "spread": float(np.ptp(theirs)),
        "triangles": float(np.abs(triangles(80).T - np.array(extractor.mel_filters)).max()),
    }


def refusals(theirs: WhisperForConditionalGeneration) -> Findings:
    """What each wrong request is answered."""
    save_as_openai(theirs, Path("wide.pt"), n_audio_state=64)
    torch.save(theirs.state_dict(), "bare.pt")
    dims = {openai: SIZES[ours] for openai, ours in DIMS.items()}
    listed = {"dims": dims, "model_state_dict": {"encoder.ln_post.bias": [0.0]}}
    torch.save(listed, "listed.pt")
    Path("torn.pt").write_bytes(Path("tiny.pt").read_bytes()[:2000])
    odd = (InputSpec(name="pixels", dtype="float", shape=(1, 8, 24)),)
    cases: dict[str, dict[str, Any]] = {
        "not allowed": {"pickle_allowed": False},
        "another input": {"inputs": odd},
        **{
            name: {"weights": {f"{name}.pt": Path(f"{name}.pt")}}
            for name in ("wide", "bare", "listed", "torn")
        },
    }
    said = {}
    for name, changes in cases.items():
        try:
            ENCODER.pack(spec_of("encoder", **changes), Path("never.irpa"))
        except WorkError as error:
            said[name] = error.message
    return said


def main() -> None:
    """Write the findings."""
    torch.set_num_threads(1)
    theirs = model()
    save_as_openai(theirs, Path("tiny.pt"))
    theirs.save_pretrained("published")
    published = {"model.safetensors": Path("published/model.safetensors")}
    found: Findings = {
        "features": features(),
        "halves": halves(theirs),
        "refusals": refusals(theirs),
        "texts": texts(theirs),
    }
    ENCODER.pack(spec_of("encoder", weights=published), Path("published.irpa"))
    found["published"] = Path("published.irpa").read_bytes() == Path("encoder.irpa").read_bytes()
    Path("findings.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
