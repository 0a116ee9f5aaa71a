"""Words to token ids, with the model's own tokenizer.json."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tidemill.errors import UsageError


def token_ids(
    file: Path, texts: Sequence[str], *, length: int, pad_token: str = ""
) -> NDArray[np.int64]:
    """Ids [texts, length]: what is too long is cut, what is too short is filled up.

    ``pad_token`` is the text of the token to fill up with; "" means the one that the file names.
    Raises UsageError when the file is no tokenizer or there is no such token.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415 - who gives ids needs none

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise UsageError(
            f"{file} is not a tokenizer: {error}",
            hint="give the tokenizer.json that lies beside the model's text encoder",
        ) from error
    own = (tokenizer.padding or {}).get("pad_id")
    filler = tokenizer.token_to_id(pad_token) if pad_token else own
    if filler is None:
        raise UsageError(
            f"the tokenizer has no token {pad_token!r}" if pad_token else f"{file} says no padding",
            hint="name the token with --pad-token; Stable Diffusion 1.5 uses '<|endoftext|>'",
        )
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    rows = [one.ids for one in tokenizer.encode_batch(list(texts))]
    return np.array([row + [filler] * (length - len(row)) for row in rows], dtype=np.int64)
