"""image: a prompt to a picture with released artifacts alone; no producer's imports."""

import atexit
import gc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidemill.cli.output import Command, complain, console, say
from tidemill.cli.programs import (
    FILE,
    open_programs,
    program_files,
    program_options,
    require_packages,
)
from tidemill.client.suite import Suite
from tidemill.errors import UsageError

if TYPE_CHECKING:  # numpy is not loaded before it is known to be there
    from tidemill.images.parts import Sizes
    from tidemill.pixels.quality import Array

Count = Callable[[int], None]


def _picture_options(command: Command) -> Command:
    """What is drawn."""
    options = (
        click.option(
            "--sampler", default="euler", help="Takes components SAMPLER-start, -step [euler]."
        ),
        click.option("--prompt", help="What to draw; needs --tokenizer."),
        click.option("--negative", default="", help="What guidance leads away from [nothing]."),
        click.option("--tokenizer", type=FILE, help="The model's tokenizer.json."),
        click.option("--pad-token", default="", help="What fills prompts up [the tokenizer's]."),
        click.option(
            "--ids", type=FILE, help="Token ids [2, tokens] as .npy, without and with the prompt."
        ),
        click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the noise [0]."),
        click.option("--noise", type=FILE, help="Noise as .npy, instead of a seed."),
        click.option("--guidance", type=float, default=7.5, help="The scale of guidance [7.5]."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("model")
@program_options
@_picture_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The PNG to write.")
@click.option(
    "--trace", type=click.Path(path_type=Path), help="A folder for every array on the way, as .npy."
)
@click.option("--no-progress", is_flag=True, help="Plain lines instead of a bar.")
def image(model: str, *, out: Path, trace: Path | None, no_progress: bool, **given: Any) -> None:
    """Draw a picture with the text-to-image components of MODEL, and write it as PNG.

    The number of steps is that of the sampler's programs. Another sampler, or other steps, are
    other components.
    """
    if (given["prompt"] is None) == (given["ids"] is None):
        raise UsageError(
            "give either --prompt or --ids",
            hint="--prompt needs --tokenizer; --ids is a .npy file of token ids",
        )
    words = ["tokenizers"] if given["ids"] is None else []
    require_packages("numpy", "iree.runtime", *words, to="drawing a picture")
    from tidemill.pixels.png import to_bytes, write_png  # noqa: PLC0415 - needs numpy

    # The runtime's bindings complain, in hundreds of lines, of all that is not freed at the end.
    atexit.unregister(gc.freeze)
    with closing(open_programs(given)) as suite:
        drawn = _draw(model, suite, given=given, trace=trace, plain=no_progress)
        title = suite.resolved.title
    pixels = to_bytes(drawn[0])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_png(out, pixels)
    say(f"{out}: {model}, {title}, {given['dtype']}, {given['target']}")


def _draw(
    model: str, suite: Suite, /, *, given: dict[str, Any], trace: Path | None, plain: bool
) -> "Array":
    """The decoded image [1, 3, height, width]."""
    from tidemill.images.parts import check_fit, choose_parts  # noqa: PLC0415 - needs numpy
    from tidemill.images.programs import Device, Program  # noqa: PLC0415
    from tidemill.images.sampling import Pipeline, make_image  # noqa: PLC0415
    from tidemill.images.signature import read_signature  # noqa: PLC0415

    device = Device(given["device"])
    chosen = choose_parts(
        suite.resolved.release.artifacts,
        model=model,
        **{name: given[name] for name in ("target", "dtype", "sampler", "axes")},
    )
    files = {role: program_files(suite, address) for role, address in chosen.items()}
    signatures = {role: read_signature(mlir) for role, (mlir, _, _) in files.items()}
    sizes = check_fit(signatures)
    ids, noise = _ids(given, sizes), _noise(given, sizes)
    programs = {
        role: Program(device, vmfb=vmfb, irpa=irpa) for role, (_, vmfb, irpa) in files.items()
    }
    with _progress(plain=plain) as (total, step):
        return make_image(
            Pipeline(programs=programs, signatures=signatures),
            ids=ids,
            noise=noise,
            guidance=given["guidance"],
            watch=_watcher(trace, step),
            total=total,
        )


def _ids(given: dict[str, Any], sizes: "Sizes") -> "Array":
    from tidemill.images.files import read_array  # noqa: PLC0415 - needs numpy
    from tidemill.images.prompts import token_ids  # noqa: PLC0415

    if given["ids"]:
        return read_array(given["ids"], shape=(2, sizes.tokens), what="token ids")
    if given["tokenizer"] is None:
        raise UsageError(
            "a prompt needs the model's tokenizer",
            hint="--tokenizer tokenizer.json, which lies in the checkpoint's tokenizer folder",
        )
    texts = (given["negative"], given["prompt"])
    return token_ids(given["tokenizer"], texts, length=sizes.tokens, pad_token=given["pad_token"])


def _noise(given: dict[str, Any], sizes: "Sizes") -> "Array":
    from tidemill.images.files import read_array  # noqa: PLC0415 - needs numpy
    from tidemill.images.sampling import first_noise  # noqa: PLC0415

    if given["noise"]:
        return read_array(given["noise"], shape=sizes.noise, what="noise")
    return first_noise(given["seed"], sizes.noise)


def _watcher(folder: Path | None, step: Count) -> Callable[[str, int, Any], None]:
    """Keeps every array, and tells ``step`` how many steps are done."""
    from tidemill.images.files import keep_array  # noqa: PLC0415 - needs numpy

    def watch(name: str, index: int, array: Any) -> None:
        if folder is not None:
            keep_array(folder, name, step=index, array=array)
        if name == "latents":
            step(index)

    return watch


@contextmanager
def _progress(*, plain: bool) -> Iterator[tuple[Count, Count]]:
    """Two functions: how many steps there are, and how many are done."""
    screen = console(stderr=True)
    if plain or not screen.is_terminal or screen.is_dumb_terminal:
        total: list[int] = []
        yield (
            total.append,
            lambda done: complain(f"step {done} of {total[0]}") if done else None,
        )
        return
    from rich import progress  # noqa: PLC0415 - nobody else pays for it

    with progress.Progress(console=screen, transient=True) as bar:
        task = bar.add_task("drawing", total=None)
        yield (
            lambda number: bar.update(task, total=number),
            lambda done: bar.update(task, completed=done),
        )
