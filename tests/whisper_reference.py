"""What transformers itself writes down: ``CHECKPOINT CLIP``, run under the toolchain's interpreter.

Prints JSON: the tokens of ``generate`` on the features of transformers' own extractor, in float32,
and the tokens of no speech that transformers lists.
"""

import json
import sys
import wave

import numpy as np
import torch
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)
from transformers.models.whisper.configuration_whisper import NON_SPEECH_TOKENS

from tests.whisper_probes import THEIRS
from tidemill.exporters.whisper import DIMS

END, BEGIN, TRANSLATE, TRANSCRIBE, PLAIN = 50256, 50257, 50357, 50358, 50362


def loaded(checkpoint: str) -> WhisperForConditionalGeneration:
    """OpenAI's checkpoint in transformers' class, every tensor under its transformers name."""
    file = torch.load(checkpoint, weights_only=True, map_location="cpu")
    sizes = {ours: file["dims"][openai] for openai, ours in DIMS.items()}
    width = 4 * sizes["d_model"]
    config = WhisperConfig(
        **sizes, encoder_ffn_dim=width, decoder_ffn_dim=width, pad_token_id=END, eos_token_id=END
    )
    model: WhisperForConditionalGeneration = WhisperForConditionalGeneration(config).eval()
    state = {}
    for name in model.state_dict():
        openai = name
        for ours, theirs in THEIRS:
            openai = openai.replace(ours, theirs)
        tied = "decoder.token_embedding.weight" if name == "proj_out.weight" else openai
        state[name] = file["model_state_dict"][tied].float()
    model.load_state_dict(state, strict=True)
    return model


def main(checkpoint: str, clip: str) -> None:
    """Print the findings."""
    torch.set_num_threads(1)
    model = loaded(checkpoint)
    with wave.open(clip, "rb") as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2") / 32768
    extract = WhisperFeatureExtractor()
    features = extract(samples, sampling_rate=16000, return_tensors="pt").input_features
    model.generation_config = GenerationConfig(
        suppress_tokens=sorted({*NON_SPEECH_TOKENS, TRANSLATE, TRANSCRIBE}),
        begin_suppress_tokens=[220, END],
        bos_token_id=BEGIN,
        eos_token_id=END,
        pad_token_id=END,
        decoder_start_token_id=BEGIN,
        no_timestamps_token_id=PLAIN,
        is_multilingual=False,
        return_timestamps=False,
        max_length=448,
    )
    tokens = model.generate(features)[0].tolist()
    plain = [token for token in tokens if token < END]
    print(json.dumps({"tokens": plain, "no speech": NON_SPEECH_TOKENS}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
