"""Cuts the dispatch that a compiler fails on out of a program: a few lines that fail the same way.

iree-compile names the function of the failing dispatch in its error, can stop once every dispatch
is a file of its own, and compiles such a file by itself (``--compile-mode=hal-executable``). The
cut counts only when the file alone gives the error that the whole program gave.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidemill.steps.compile import INPUT

FOLDER = "dispatch"
_SOURCES = "tmp/dispatches"
_ERROR = re.compile(r"error: (?P<words>.*?(?P<name>[\w$]+_dispatch_\d+).*)")

#: Digits of a key that people are shown, and commands take.
_SHOWN = 12
#: Runs a command in the work folder and gives its log; "" when it did not come to an end.
Run = Callable[[Sequence[str]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A dispatch that fails alone: its file and the command, relative to the work folder."""

    file: str
    size: int
    command: tuple[str, ...]
    log: str

    def hint(self, key: str) -> str:
        """What to tell a person of it, in the failure of the action ``key``."""
        return (
            f"The dispatch that fails, alone: {self.file} ({self.size:,} bytes), unpacked by"
            f" tidemill log {key[:_SHOWN]} --bundle FOLDER"
        )


def cut_out(compiler: str, *, flags: Sequence[str], log: str, folder: Path, run: Run) -> Cut | None:
    """Find and cut the first dispatch that ``log`` names; None when there is none that fails alone.

    ``folder`` has the program where compile actions have it. Raises OSError.
    """
    found = _ERROR.search(log)
    if found is None:
        return None
    dump = f"--iree-hal-dump-executable-sources-to={_SOURCES}"
    run([compiler, INPUT, *flags, "--compile-to=executable-sources", dump, "-o", "/dev/null"])
    source = _source(folder / _SOURCES, name=found["name"])
    if source is None:
        return None
    file = f"{FOLDER}/{found['name']}.mlir"
    (folder / FOLDER).mkdir(exist_ok=True)
    shutil.copyfile(source, folder / file)
    command = (compiler, "--compile-mode=hal-executable", file, *flags, "-o", "/dev/null")
    said = run(command)
    again = _ERROR.search(said)
    if again is None or again["words"] != found["words"]:
        return None
    return Cut(file=file, size=source.stat().st_size, command=command, log=said)


def _source(folder: Path, *, name: str) -> Path | None:
    # The function is named after its dispatch and what it does; the file after the dispatch alone.
    if not folder.is_dir():
        return None
    return next((path for path in folder.iterdir() if path.stem.endswith(f"_{name}")), None)
