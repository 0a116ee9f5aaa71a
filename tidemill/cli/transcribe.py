"""transcribe: a clip of speech to text with released artifacts alone; no producer's imports."""

import atexit
import gc
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidemill.cli.output import complain, json_option, say, say_json
from tidemill.cli.programs import (
    FILE,
    open_programs,
    program_files,
    program_options,
    require_packages,
)
from tidemill.client.suite import Suite
from tidemill.errors import ToolError, UsageError

if TYPE_CHECKING:  # numpy is not loaded before it is known to be there
    from tidemill.images.signature import Signature, TensorType
    from tidemill.speech.vocabulary import Vocabulary

#: Tokens that may follow the prompt: half of what the model was trained on, as its authors do.
LIMIT = 224
PARTS = ("encoder", "decoder")


@click.command()
@click.argument("model")
@click.argument("clip", type=FILE)
@program_options
@click.option(
    "--vocabulary", type=FILE, required=True, help="The model's .tiktoken file (gpt2.tiktoken)."
)
@click.option(
    "--limit", type=click.IntRange(1, LIMIT), default=LIMIT, help=f"Most tokens to write [{LIMIT}]."
)
@json_option
def transcribe(
    model: str, clip: Path, *, vocabulary: Path, limit: int, as_json: bool, **given: Any
) -> None:
    """Write down what is said in CLIP, with the components `encoder` and `decoder` of MODEL.

    CLIP is a WAV file of 16 kHz, one channel, 16 bits, at most 30 s; MODEL an English-only Whisper.
    """
    require_packages("numpy", "iree.runtime", to="transcribing")
    from tidemill.speech.sound import RATE, read_wav  # noqa: PLC0415 - needs numpy
    from tidemill.speech.vocabulary import read_vocabulary  # noqa: PLC0415

    try:
        samples = read_wav(clip)
    except ValueError as error:
        raise UsageError(
            str(error), hint=f"ffmpeg -i CLIP -ac 1 -ar {RATE} -c:a pcm_s16le clip.wav"
        ) from error
    try:
        words = read_vocabulary(vocabulary)
    except ValueError as error:
        raise UsageError(str(error), hint="give the vocabulary of English-only Whispers") from error
    # The runtime's bindings complain, in hundreds of lines, of all that is not freed at the end.
    atexit.unregister(gc.freeze)
    with closing(open_programs(given)) as suite:
        tokens = _written(suite, samples, model=model, vocabulary=words, limit=limit, given=given)
    if len(tokens) == limit:
        more = "cut the clip" if limit == LIMIT else "give a higher --limit"
        complain(f"stopped after {limit} tokens; the text may go on", hint=more)
    text = words.text(tokens).strip()
    if as_json:
        say_json({"text": text, "tokens": tokens})
    else:
        say(text)


def _written(
    suite: Suite,
    samples: Any,
    *,
    model: str,
    vocabulary: "Vocabulary",
    limit: int,
    given: dict[str, Any],
) -> list[int]:
    from tidemill.images.choosing import choose  # noqa: PLC0415 - needs numpy
    from tidemill.images.programs import Device, Program  # noqa: PLC0415
    from tidemill.images.sampling import TYPES  # noqa: PLC0415
    from tidemill.images.signature import read_signature  # noqa: PLC0415
    from tidemill.speech.mel import log_mel  # noqa: PLC0415
    from tidemill.speech.writing import write_down  # noqa: PLC0415

    chosen = choose(
        suite.resolved.release.artifacts,
        model=model,
        names={part: part for part in PARTS},
        **{name: given[name] for name in ("target", "dtype", "axes")},
    )
    files = {part: program_files(suite, address) for part, address in chosen.items()}
    hears, writes = (read_signature(files[part][0]) for part in PARTS)
    bins, frames = check_speech(hears, writes, size=vocabulary.size)
    try:
        features = log_mel(samples, bins=bins, frames=frames)
    except ValueError as error:
        raise UsageError(str(error), hint="cut the clip") from error
    device = Device(given["device"])
    encoder, decoder = (Program(device, vmfb=files[part][1], irpa=files[part][2]) for part in PARTS)
    shaped = features[None].astype(TYPES[hears.inputs[0].dtype])
    try:
        return write_down(encoder, decoder, shaped, vocabulary=vocabulary, limit=limit)
    except ValueError as error:
        hint = "take the variant in f32; if it says the same, tell those who release it"
        raise ToolError(f"{model}: {error}", hint=hint) from error


def check_speech(hears: "Signature", writes: "Signature", *, size: int) -> tuple[int, int]:
    """How many bins and frames of features an encoder takes that fits its decoder.

    ``size`` is that of the vocabulary. Raises UsageError with what does not fit.
    """
    counts = [len(each) for one in (hears, writes) for each in (one.inputs, one.outputs)]
    if counts != [1, 1, 2, 1]:
        raise _unfit("they take and give another number of arrays than (1, 1) and (2, 1)")
    (features,), (states,) = hears.inputs, hears.outputs
    (ids, taken), (logits,) = writes.inputs, writes.outputs
    rank = len(("batch", "bins", "frames"))
    if len(features.shape) != rank or features.shape[0] not in {1, None}:
        raise _unfit(f"the encoder takes {list(features.shape)}, not one clip [1, bins, frames]")
    _, bins, frames = features.shape
    if bins is None or frames is None:
        raise _unfit("the number of bins or frames is not fixed")
    if states != taken:
        raise _unfit(f"the encoder gives {_text(states)}, the decoder takes {_text(taken)}")
    if (ids.dtype, ids.shape[1:]) != ("i64", (None,)):
        raise _unfit(f"the decoder takes ids {_text(ids)}, not i64 [1, ?]")
    if logits.shape[-1] != size:
        raise _unfit(f"logits are of {logits.shape[-1]} tokens, the vocabulary has {size}")
    return bins, frames


def _text(one: "TensorType") -> str:
    sizes = ", ".join("?" if size is None else str(size) for size in one.shape)
    return f"{one.dtype} [{sizes}]"


def _unfit(words: str) -> UsageError:
    return UsageError(
        f"the components do not make a transcriber: {words}",
        hint="they must be Whisper's encoder and decoder, with the vocabulary of that model",
    )
