"""Which programs make a transcriber: what fits, and what is said of what does not."""

from dataclasses import replace

import pytest

from tidemill.cli.transcribe import check_speech
from tidemill.errors import UsageError
from tidemill.images.signature import Signature, TensorType

STATES = TensorType("f16", (1, 1500, 384))
HEARS = Signature((TensorType("f16", (1, 80, 3000)),), (STATES,))
WRITES = Signature((TensorType("i64", (1, None)), STATES), (TensorType("f16", (1, None, 51864)),))


def test_bins_and_frames_are_those_that_the_encoder_takes() -> None:
    assert check_speech(HEARS, WRITES, size=51864) == (80, 3000)
    free = replace(HEARS, inputs=(TensorType("f16", (None, 80, 3000)),))
    assert check_speech(free, WRITES, size=51864) == (80, 3000)


@pytest.mark.parametrize(
    ("hears", "writes", "said"),
    [
        (WRITES, WRITES, "they take and give another number of arrays than (1, 1) and (2, 1)"),
        (replace(HEARS, inputs=(TensorType("f16", (4, 80, 3000)),)), WRITES,
         "the encoder takes [4, 80, 3000], not one clip [1, bins, frames]"),
        (replace(HEARS, inputs=(TensorType("f16", (80, 3000)),)), WRITES,
         "the encoder takes [80, 3000], not one clip [1, bins, frames]"),
        (replace(HEARS, inputs=(TensorType("f16", (1, 80, None)),)), WRITES,
         "the number of bins or frames is not fixed"),
        (replace(HEARS, outputs=(TensorType("f32", STATES.shape),)), WRITES,
         "the encoder gives f32 [1, 1500, 384], the decoder takes f16 [1, 1500, 384]"),
        (HEARS, replace(WRITES, inputs=(TensorType("i64", (1, 8)), STATES)),
         "the decoder takes ids i64 [1, 8], not i64 [1, ?]"),
        (HEARS, replace(WRITES, inputs=(TensorType("i32", (1, None)), STATES)),
         "the decoder takes ids i32 [1, ?], not i64 [1, ?]"),
        (HEARS, replace(WRITES, outputs=(TensorType("f16", (1, None, 51865)),)),
         "logits are of 51865 tokens, the vocabulary has 51864"),
    ],
)  # fmt: skip
def test_programs_that_do_not_fit_are_named(hears: Signature, writes: Signature, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_speech(hears, writes, size=51864)
    assert caught.value.message == f"the components do not make a transcriber: {said}"
