"""generate: a prompt to text with a released language model alone; no producer's imports."""

import atexit
import gc
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidemill.cli.output import complain, json_option, say_json, workspace_options
from tidemill.cli.programs import FILE, open_programs, require_packages
from tidemill.errors import UsageError
from tidemill.texts.pieces import pieces

if TYPE_CHECKING:  # not loaded before it is known to be there
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
    from tidemill.generating import follow, read_sizes, read_words  # noqa: PLC0415 - needs numpy

    # The runtime's bindings complain, in hundreds of lines, of all that is not freed at the end.
    atexit.unregister(gc.freeze)
    with closing(open_programs(given)) as suite:
        one = suite.artifacts(address)
        if one.status != "validated" or one.reason:
            complain(f"{address} is {one.status}" + (f": {one.reason}" if one.reason else ""))
        if one.config is None:
            raise UsageError(
                f"{address} has no config.json, so it is no language model with a cache",
                hint="`tidemill ls` names a config for those that are",
            )
        words = read_words(_named(tokenizer or one.tokenizer))
        sizes = read_sizes(one.config)
        ids = words.encode(prompt).ids
        room = _room(ids, sizes, wanted=tokens)
        made: list[int] = []
        following = islice(follow(one, ids, sizes=sizes, device=device), room)
        shown = pieces(words.decode, ids, _until_an_end(following, sizes, made))
        text = "".join(shown if as_json else _written(shown))
    if as_json:
        say_json({"text": text, "prompt": ids, "tokens": made})
    else:
        sys.stdout.write("\n")
    if made[-1] not in sizes.ends:
        why = "its cache is full" if room < tokens else f"--tokens is {tokens}"
        complain(f"stopped after {len(made)} tokens, since {why}")


def _named(file: Path | None) -> Path:
    if file is None:
        raise UsageError(
            "the model was released without a tokenizer",
            hint="give the tokenizer.json that lies beside its weights with --tokenizer",
        )
    return file


def _room(ids: Sequence[int], sizes: "CacheSizes", /, *, wanted: int) -> int:
    """How many tokens can follow. Raises UsageError when there are none."""
    if not ids:
        raise UsageError("the prompt has no tokens", hint="give some text")
    if max(ids) >= sizes.vocabulary:
        raise UsageError(
            f"the tokenizer gives token {max(ids)}, the model has {sizes.vocabulary}",
            hint="take the tokenizer.json of this model",
        )
    # The last token is never read again, so it needs no place.
    left = sizes.positions - len(ids) + 1
    if left < 1 or len(ids) > sizes.longest:
        raise UsageError(
            f"the prompt has {len(ids)} tokens, the model takes {sizes.longest}",
            hint="shorten it, or raise options.positions of the component",
        )
    return min(left, wanted)


def _until_an_end(tokens: Iterable[int], sizes: "CacheSizes", made: list[int], /) -> Iterator[int]:
    """``tokens`` up to one that ends a text; each is also put into ``made``."""
    for token in tokens:
        made.append(token)
        yield token
        if token in sizes.ends:
            return


def _written(shown: Iterable[str]) -> Iterator[str]:
    """The same pieces, each on standard output at once."""
    for piece in shown:
        sys.stdout.write(piece)
        sys.stdout.flush()
        yield piece
