"""Sound files, as the samples of one channel."""

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: Samples a second that Whisper was trained with.
RATE = 16_000
_WIDTH = 2


def read_wav(file: Path) -> NDArray[np.float64]:
    """The samples of a 16 kHz mono 16-bit WAV file, in [-1, 1).

    Nothing is resampled: that would be one more thing that has to equal somebody else's. Raises
    ValueError that says what the file is instead.
    """
    try:
        with wave.open(str(file), "rb") as sound:
            found = (sound.getframerate(), sound.getnchannels(), sound.getsampwidth())
            data = sound.readframes(sound.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{file.name} is no PCM WAV file: {error or 'it ends early'}") from error
    if found != (RATE, 1, _WIDTH):
        rate, channels, width = found
        raise ValueError(
            f"{file.name} has {channels} channels of {8 * width} bits at {rate} Hz,"
            f" not one of 16 bits at {RATE} Hz"
        )
    if not data or len(data) % _WIDTH:
        raise ValueError(f"{file.name} has no whole samples")
    return np.frombuffer(data, dtype="<i2").astype(np.float64) / 32768
