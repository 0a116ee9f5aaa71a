"""Problems in YAML files: collected, located, and reported all at once."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill.errors import ManifestError

Location = tuple[str | int, ...]
_SHOWN = 40
#: How alike two names are (difflib's ratio) of which one is taken for a slip in the other.
_NEAR = 0.7


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake: the file as the user knows it, line (from 1), path of keys, words.

    ``origin`` is the path at which the value is written, where aliases use it in other places too.
    """

    file: str
    line: int
    path: str
    message: str
    origin: str = field(default="", compare=False)

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}"
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


def path_text(location: Location) -> str:
    """A location as people write it: ``components.encoder.samples[0].dims``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def mapping(value: object) -> dict[str, Any]:
    """``value`` if it is a mapping, else an empty one: what else it is, is said elsewhere."""
    return value if isinstance(value, dict) else {}


def shown(value: object) -> str:
    """A value with its type, short enough for a line."""
    text = repr(value)
    return f"{type(value).__name__} {text[:_SHOWN]}{'…' if len(text) > _SHOWN else ''}"


def nearest(name: object, known: Iterable[str]) -> str:
    """The one of ``known`` that ``name`` was likely meant to be; "" where none is near."""
    near = difflib.get_close_matches(str(name), sorted(known), n=1, cutoff=_NEAR)
    return near[0] if near else ""


def known_words(name: object, known: Iterable[str]) -> str:
    """What a name could have been: the nearest of ``known`` where one is near, and all of them."""
    names = sorted(known)
    near = nearest(name, names)
    meant = f"did you mean '{near}'? " if near else ""
    return f"({meant}known: {', '.join(names) or 'none'})"


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raise one ManifestError that lists every problem; return when there is none."""
    if not problems:
        return
    lines = _once(sorted(set(problems)))
    noun = "problem" if len(lines) == 1 else "problems"
    told = "\n".join(lines)
    raise ManifestError(
        f"{told}\n{len(lines)} {noun} in the manifests", hint="Mend the lines above."
    )


def _once(problems: Sequence[Problem]) -> list[str]:
    """The lines of sorted problems; one line for what is written once and used in many places."""
    same: dict[object, list[Problem]] = {}
    for one in problems:
        # Without an origin it is nobody else's: its own path tells it from all others.
        written = (one.file, one.line, one.origin or one.path, one.message)
        same.setdefault(written, []).append(one)
    lines = []
    for group in same.values():
        first = next((one for one in group if one.path == one.origin), group[0])
        more = len(group) - 1
        places = f"{more} more place that uses" if more == 1 else f"{more} more places that use"
        lines.append(f"{first}, and {places} it" if more else str(first))
    return lines
