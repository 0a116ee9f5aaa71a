"""Sound files, features, vocabularies and rules: what is right, and what is refused."""

import base64
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tidemill.speech.mel import log_mel, triangles
from tidemill.speech.rules import Rules, best_tokens, prompt_of, rules_of
from tidemill.speech.sound import read_wav
from tidemill.speech.vocabulary import Vocabulary, read_vocabulary
from tidemill.speech.writing import write_down

Array = np.ndarray[Any, Any]
#: After the single bytes. Of " -" and "((" one is a token of its own, the other is not.
JOINED = (b" -", b"he", b"ll", b"hell", b"hello", "♪".encode()[:2])


def sound(path: Path, samples: Sequence[int], *, rate: int = 16000, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(np.array(samples, dtype="<i2").tobytes())
    return path


def vocabulary(folder: Path, *joined: bytes) -> Vocabulary:
    tokens = [bytes([one]) for one in range(256)] + list(joined)
    lines = [b"%s %d" % (base64.b64encode(one), rank) for rank, one in enumerate(tokens)]
    file = folder / "words.tiktoken"
    file.write_bytes(b"\n".join(lines) + b"\n")
    return read_vocabulary(file)


@pytest.fixture
def words(tmp_path: Path) -> Vocabulary:
    return vocabulary(tmp_path, *JOINED)


def test_samples_are_parts_of_one(tmp_path: Path) -> None:
    file = sound(tmp_path / "a.wav", [0, 16384, -32768, 32767])
    assert read_wav(file).tolist() == [0.0, 0.5, -1.0, 32767 / 32768]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rate": 22050}, "1 channels of 16 bits at 22050 Hz, not one of 16 bits at 16000 Hz"),
        ({"channels": 2}, "2 channels of 16 bits at 16000 Hz, not one of 16 bits at 16000 Hz"),
    ],
)
def test_another_sound_is_refused_and_not_resampled(
    tmp_path: Path, changes: dict[str, int], said: str
) -> None:
    with pytest.raises(ValueError, match=rf"^a\.wav has {said}$"):
        read_wav(sound(tmp_path / "a.wav", [1, 2, 3, 4], **changes))


@pytest.mark.parametrize("data", [b"", b"RIFF", b"ID3 and more bytes", b"RIFF\x04\0\0\0WAVE"])
def test_what_is_no_wav_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(ValueError, match=r"^a\.wav is no PCM WAV file: "):
        read_wav(tmp_path / "a.wav")


def test_a_wav_file_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^a\.wav has no whole samples$"):
        read_wav(sound(tmp_path / "a.wav", []))


def test_a_tone_is_loudest_in_the_bin_around_it() -> None:
    tone = np.sin(2 * np.pi * 2000 * np.arange(16000) / 16000)
    features = log_mel(tone, bins=80, frames=200)
    assert features.shape == (80, 200)
    weights = triangles(80)
    loudest = int(features[:, 50].argmax())
    assert weights[loudest, 50] > 0, "bin 50 of the spectrum is 2000 Hz"
    # Silence after the tone is at the floor, 8 below the loudest before scaling by a quarter.
    assert features.max() - features[:, 150].max() == pytest.approx(2.0)


def test_a_clip_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^the clip is 1\.0 s long, the model takes 0\.5 s$"):
        log_mel(np.zeros(16000), bins=8, frames=50)


def test_tokens_say_their_bytes_and_special_ones_say_nothing(words: Vocabulary) -> None:
    hello, end = words.ranks[b"hello"], words.special("endoftext")
    assert words.text([words.special("startoftranscript"), hello, 33, end]) == "hello!"
    assert words.text([words.ranks["♪".encode()[:2]]]) == "�"


def test_special_tokens_come_after_the_ranks_in_whispers_order(words: Vocabulary) -> None:
    plain = len(words.tokens)
    assert plain == 256 + len(JOINED)
    assert words.special("endoftext") == plain
    assert prompt_of(words) == (plain + 1, plain + 106)
    # English-only Whispers: 50256 plain tokens, 51864 in all.
    assert words.size == plain + 51864 - 50256


def test_pairs_are_joined_by_rank(words: Vocabulary) -> None:
    assert words.of_symbol("hello") == [words.ranks[b"hello"]]
    assert words.of_symbol("((") == [40, 40]


def test_symbols_of_one_token_are_banned_and_longer_ones_are_not(words: Vocabulary) -> None:
    rules = rules_of(words)
    assert {ord("("), ord("#"), words.ranks[b" -"]} <= set(rules.banned)
    # " '" is two tokens here: its first one stands for it, as in Whisper's code.
    assert ord(" ") in rules.banned
    # Music is banned by its first token, whatever follows.
    assert words.ranks["♪".encode()[:2]] in rules.banned
    assert ord("h") not in rules.banned
    assert words.special("translate") in rules.banned
    assert words.special("notimestamps") not in rules.banned
    assert rules.banned_first == (ord(" "), words.special("endoftext"))
    assert rules.stop == words.special("endoftext")


def test_the_best_token_that_is_allowed_is_chosen() -> None:
    rules = Rules(stop=4, banned=(1,), banned_first=(4,))
    logits = np.array([[0.0, 9.0, 2.0, 1.0, 5.0], [0.0, 1.0, 2.0, 3.0, 0.0]])
    assert best_tokens(logits, rules, first=True).tolist() == [2, 3]
    assert best_tokens(logits, rules, first=False).tolist() == [4, 3]
    assert logits[0, 1] == 9.0, "the caller's logits are left as they were"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "does not list the ranks from 0 in order, each once"),
        (["YQ== 0", "Yg== 2"], "does not list the ranks from 0 in order, each once"),
        (["YQ== 0", "YQ== 1"], "does not list the ranks from 0 in order, each once"),
        (["YQ== 0", "not base64 1"], "words:2 is not a token and its rank"),
        (["YQ== 0", "Yg=! 1"], "words:2 is not a token and its rank"),
        (["YQ== 0"], "lacks 255 of the 256 single bytes"),
    ],
)
def test_what_is_no_vocabulary_is_refused(tmp_path: Path, lines: list[str], said: str) -> None:
    (tmp_path / "words").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=said):
        read_vocabulary(tmp_path / "words")


def spoken(words: Vocabulary, tokens: Sequence[int], *, limit: int = 9) -> list[int]:
    """What is written of a clip whose decoder wants ``tokens``, one a call."""

    def encoder(arrays: Sequence[Array]) -> list[Array]:
        assert arrays[0].shape == (1, 2, 4)
        return [np.full((1, 2, 3), 7.0)]

    def decoder(arrays: Sequence[Array]) -> list[Array]:
        ids, states = arrays
        assert states.tolist() == np.full((1, 2, 3), 7.0).tolist()
        logits = np.zeros((1, ids.shape[1], words.size))
        logits[0, -1, tokens[ids.shape[1] - 2]] = 1
        return [logits]

    features = np.zeros((1, 2, 4), dtype=np.float32)
    return write_down(encoder, decoder, features, vocabulary=words, limit=limit)


def test_logits_that_are_no_numbers_are_no_text(words: Vocabulary) -> None:
    def decoder(arrays: Sequence[Array]) -> list[Array]:
        return [np.full((1, arrays[0].shape[1], words.size), np.nan)]

    features = np.zeros((1, 2, 4), dtype=np.float32)
    with pytest.raises(ValueError, match="the decoder gives logits that are not numbers"):
        write_down(lambda _: [features], decoder, features, vocabulary=words, limit=9)


def test_a_text_is_written_to_its_end(words: Vocabulary) -> None:
    stop = words.special("endoftext")
    assert spoken(words, [104, 105, stop, 106]) == [104, 105]


def test_a_text_without_an_end_is_cut_at_the_limit(words: Vocabulary) -> None:
    assert spoken(words, [104, 105, 106, 107], limit=3) == [104, 105, 106]


def test_a_banned_token_is_not_written(words: Vocabulary) -> None:
    assert ord("(") not in spoken(words, [104, ord("("), words.special("endoftext")])
