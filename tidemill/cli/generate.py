"""generate: a prompt to text with a released language model alone; no producer's imports."""

import atexit
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidemill.cli.output import complain, json_option, say_json, workspace_options
from tidemill.cli.programs import FILE, open_programs, require_packages
from tidemill.client.suite import Handed
from tidemill.errors import UsageError

if TYPE_CHECKING:  # not loaded before it is known to be there
    from tokenizers import Tokenizer

    from tidemill.generating import CacheSizes


@click.command()
@click.argument("address")
@click.option("--prompt", required=True, help="What the text begins with.")
@click.option("--tokens", type=click.IntRange(min=1), default=256, help="Most tokens [256].")
@click.option("--tokenizer", type=FILE, help="A tokenizer.json [the released one].")
@click.option("--channel", default="", help="The channel to take the model from.")
@click.option("--release", default="", help="A release instead of a channel.")
@click.option("--device", default="local-task", help="IREE's device [local-task].")
@click.option("--offline", is_flag=True, help="Ask nobody: take all from the cache.")
@json_option
@workspace_options
def generate(
    address: str,
    *,
    prompt: str,
    tokens: int,
    tokenizer: Path | None,
    device: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Go on with a prompt, always by the likeliest token, with the language model ADDRESS.

    ADDRESS is model/component/variant/target, of a component with a cache. The text ends with the
    model's own end, after --tokens tokens, or where its cache is full.
    """
    require_packages("numpy", "iree.runtime", "tokenizers", to="generating text")
    from tidemill.generating import read_sizes  # noqa: PLC0415 - needs numpy

    # The runtime's bindings complain, in hundreds of lines, of all that is not freed at the end.
    atexit.unregister(gc.freeze)
    with closing(open_programs(given)) as suite:
        one = suite.artifacts(address)
        if one.status != "validated" or one.reason:
            complain(f"{address} is {one.status}" + (f": {one.reason}" if one.reason else ""))
        if one.config is None:
            raise UsageError(
                f"{address} has no config.json, so it is no language model with a cache",
                hint="`tidemill ls --kind config` lists those that are",
            )
        words = _tokenizer(tokenizer or one.tokenizer)
        sizes = read_sizes(one.config)
        ids = words.encode(prompt).ids
        room = _room(ids, sizes, wanted=tokens)
        made: list[int] = []
        for token in islice(_following(one, ids, sizes=sizes, device=device), room):
            made.append(token)
            if not as_json:
                _show(words, ids, made)
            if token in sizes.ends:
                break
    text = words.decode([*ids, *made])
    if as_json:
        say_json({"text": text, "prompt": ids, "tokens": made})
    else:
        sys.stdout.write("\n")
    if made[-1] not in sizes.ends:
        why = "its cache is full" if room < tokens else f"--tokens is {tokens}"
        complain(f"stopped after {len(made)} tokens, since {why}")


def _tokenizer(file: Path | None) -> "Tokenizer":
    from tokenizers import Tokenizer  # noqa: PLC0415 - nobody else needs it

    if file is None:
        raise UsageError(
            "the model was released without a tokenizer",
            hint="give the tokenizer.json that lies beside its weights with --tokenizer",
        )
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise UsageError(f"{file} is not a tokenizer: {error}") from error


def _room(ids: Sequence[int], sizes: "CacheSizes", /, *, wanted: int) -> int:
    """How many tokens can follow. Raises UsageError when there are none."""
    if not ids:
        raise UsageError("the prompt has no tokens", hint="give some text")
    # The last token is never read again, so it needs no place.
    left = sizes.positions - len(ids) + 1
    if left < 1 or len(ids) > sizes.longest:
        raise UsageError(
            f"the prompt has {len(ids)} tokens, the model takes {sizes.longest}",
            hint="shorten it, or raise options.positions of the component",
        )
    return min(left, wanted)


def _following(
    one: Handed, ids: Sequence[int], *, sizes: "CacheSizes", device: str
) -> Iterator[int]:
    """The likeliest token after all before it, one after the other."""
    import numpy as np  # noqa: PLC0415 - known to be there by now

    from tidemill.generating import CompiledModel  # noqa: PLC0415
    from tidemill.images.programs import Device, Program  # noqa: PLC0415
    from tidemill.texts.talk import greedy  # noqa: PLC0415

    if one.vmfb is None or one.irpa is None:
        raise UsageError(
            f"{one.address} was released without VMFB or parameters",
            hint="name an address with a target, of a release that has both",
        )
    model = CompiledModel(Program(Device(device), vmfb=one.vmfb, irpa=one.irpa), sizes=sizes)
    prompt = np.array([ids], dtype=np.int64)
    for best in greedy(model, prompt, np.array([len(ids)], dtype=np.int64)):
        yield int(best[0])


def _show(words: "Tokenizer", ids: Sequence[int], made: Sequence[int], /) -> None:
    """Write what the newest token adds to the text; part of a character waits for its rest."""
    before = words.decode([*ids, *made[:-1]]).rstrip("\ufffd") if len(made) > 1 else ""
    now = words.decode([*ids, *made]).rstrip("\ufffd")
    sys.stdout.write(now[len(before) :])
    sys.stdout.flush()
