"""Compiler flags, checked against the list of the very compiler that will get them.

``parse_help`` reads what ``iree-compile --help-list-hidden`` prints (the layout of LLVM's command
line library). ``lint`` translates renamed flags by a declared table and says what is wrong with the
rest, and which flags a manifest may not give (``refused``). Both are pure; ``known_flags`` runs the
compiler.
"""

import difflib
import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tidemill.errors import ToolError
from tidemill.toolchain.refused import why_refused

#: Option name without dashes → the values it takes, as ``Values``.
KnownFlags = Mapping[str, "Values"]

#: Whose flags these are where nothing else is said.
COMPILER = "iree-compile"

_OPTION = re.compile(r" {2,6}--?(?P<name>[A-Za-z0-9][\w.+:-]*)(?P<rest>\S*.*)")
_ENUM_VALUE = re.compile(r" {4,8}=(?P<value>\S+)")
_KIND = re.compile(r"\[?=?\[?=?<(?P<kind>[^>]*)>")
#: How a help text writes the value of an option that may also stand alone.
_NO_VALUE = "<empty>"
_CHOICES = ("true", "false", "1", "0", "TRUE", "FALSE", "True", "False")
_PATTERNS = {
    "int": r"[+-]?(0[xX][0-9a-fA-F]+|\d+)",
    "long": r"[+-]?(0[xX][0-9a-fA-F]+|\d+)",
    "uint": r"0[xX][0-9a-fA-F]+|\d+",
    "ulong": r"0[xX][0-9a-fA-F]+|\d+",
    "number": r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?",
    "optimization level": r"O[0-3]",
}
_WORDS = {
    "int": "an integer",
    "long": "an integer",
    "uint": "an integer of 0 or more",
    "ulong": "an integer of 0 or more",
    "number": "a number",
    "optimization level": "O0, O1, O2 or O3",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What may follow the ``=`` of an option.

    ``kind`` is the word of the help text (int, uint, string …), empty for a switch. ``choices`` is
    empty unless the help lists every value.
    """

    kind: str = ""
    choices: tuple[str, ...] = ()


class Rename(Protocol):
    """A flag that compilers have from version ``since`` on under another name, or not any more.

    ``flag`` and ``replacement`` start with two dashes. A replacement that holds a value
    (``--x=2``) stands for the old flag switched on. None means that nothing can be put in its place
    without thought; ``note`` says what to do. ``manifest.targets.RenamePart`` is one.
    """

    @property
    def flag(self) -> str: ...  # noqa: D102
    @property
    def replacement(self) -> str | None: ...  # noqa: D102
    @property
    def since(self) -> str: ...  # noqa: D102
    @property
    def note(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One flag that cannot be given, and why, with what to write instead where known."""

    flag: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Linted:
    """The flags to hand to the compiler, what was translated on the way, and what is wrong."""

    flags: tuple[str, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def parse_help(text: str) -> dict[str, Values]:
    """The options in a help text, by name without dashes."""
    options: dict[str, Values] = {}
    last = ""
    for line in text.splitlines():
        if match := _OPTION.fullmatch(line):
            last = match["name"]
            kind = _KIND.match(match["rest"])
            options[last] = Values(kind=kind["kind"] if kind else "")
        elif last and (value := _ENUM_VALUE.match(line)):
            known = options[last]
            options[last] = Values(kind=known.kind, choices=(*known.choices, value["value"]))
    return options


def lint(
    flags: Sequence[str],
    *,
    known: KnownFlags,
    renames: Sequence[Rename],
    version: str,
    tool: str = COMPILER,
    refuse: Callable[[str, str | None], str] = why_refused,
) -> Linted:
    """Check ``flags`` for a ``tool`` of ``version`` whose options are ``known``; order is kept.

    A flag that the tool knows is never translated, whatever the table says. ``refuse`` says of a
    name and its value why a manifest may not give it; "" where it may.
    """
    table = {rename.flag.lstrip("-"): rename for rename in renames}
    passed: list[str] = []
    notes: list[str] = []
    problems: list[Problem] = []
    for flag in flags:
        translated, complaint = _translate(flag, known=known, table=table, tool=f"{tool} {version}")
        complaint = complaint or refuse(*_split(translated)) or _wrong_value(translated, known)
        if complaint:
            problems.append(Problem(flag=flag, message=complaint))
        elif translated != flag:
            notes.append(f"{flag} is written {translated} for {tool} {version}")
        passed.append(translated)
    return Linted(flags=tuple(passed), notes=tuple(notes), problems=tuple(problems))


def _split(flag: str) -> tuple[str, str | None]:
    name, equals, value = flag.partition("=")
    return name.lstrip("-"), value if equals else None


def _translate(
    flag: str, *, known: KnownFlags, table: Mapping[str, Rename], tool: str
) -> tuple[str, str]:
    """The flag as this compiler spells it, and what is wrong with it (empty: nothing)."""
    if not re.match(r"--?[A-Za-z0-9]", flag):
        return flag, f"{flag}: a flag begins with --; write --name=value as one item"
    name, _ = _split(flag)
    if name in known:
        return flag, ""
    rename = table.get(name)
    if rename is None:
        return flag, _unknown(name, known=known, tool=tool)
    if rename.replacement and _split(rename.replacement)[0] not in known:
        new = _split(rename.replacement)[0]
        return flag, f"{tool} knows neither --{name} nor its replacement --{new}"
    return _rename(flag, rename)


def _rename(flag: str, rename: Rename) -> tuple[str, str]:
    """The flag under its new name with its value, or what to do where that cannot be known."""
    _, value = _split(flag)
    advice = f": {rename.note}" if rename.note else ""
    gone = f"{rename.flag} is gone since iree-compile {rename.since}"
    if rename.replacement is None:
        return flag, gone + advice
    new_name, fixed_value = _split(rename.replacement)
    if fixed_value is None:
        return rename.replacement + ("" if value is None else f"={value}"), ""
    if value is None or value.lower() in ("true", "1"):
        return rename.replacement, ""
    return flag, f"{gone}; write --{new_name} in its place{advice}"


def _unknown(name: str, *, known: KnownFlags, tool: str) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.8)
    hint = f"; nearest: {', '.join('--' + other for other in near)}" if near else ""
    return f"{tool} has no flag --{name}{hint}"


def _wrong_value(flag: str, known: KnownFlags) -> str:
    """What is wrong with the value of a known flag, as far as the help text tells; else empty."""
    name, value = _split(flag)
    values = known.get(name)
    if values is None:
        return ""
    if value is None:
        needs = values.kind in _PATTERNS or (values.choices and _NO_VALUE not in values.choices)
        return f"--{name} needs a value: --{name}=…" if needs else ""
    choices = values.choices or (_CHOICES if not values.kind else ())
    if choices:
        shown = ", ".join(choices[:2] if choices is _CHOICES else choices)
        return "" if value in choices else f"--{name}={value}: expected one of {shown}"
    pattern = _PATTERNS.get(values.kind)
    if pattern is None or re.fullmatch(pattern, value):
        return ""
    return f"--{name}={value}: expected {_WORDS[values.kind]}"


def known_flags(compiler: Path, *, cache: Path | None = None) -> dict[str, Values]:
    """The options of the ``iree-compile`` at ``compiler``.

    Asked once per binary when ``cache`` names a file to keep the answer in; a cache that cannot be
    read or is of another binary is ignored. Raises ToolError when the compiler does not answer.
    """
    facts = compiler.stat()
    identity = [str(compiler), facts.st_size, facts.st_mtime_ns]
    if cache is not None and (kept := _read_cache(cache, identity)) is not None:
        return kept
    options = parse_help(_help_text(compiler))
    if not options:
        raise ToolError(f"{compiler} --help-list-hidden lists no option")
    if cache is not None:
        _write_cache(cache, identity=identity, options=options)
    return options


def _help_text(compiler: Path) -> str:
    try:
        return subprocess.run(
            [str(compiler), "--help-list-hidden"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolError(
            f"{compiler} does not answer: {error}",
            hint="rebuild it: tidemill toolchain sync --force",
        ) from error


def _read_cache(cache: Path, identity: list[object]) -> dict[str, Values] | None:
    try:
        kept = json.loads(cache.read_bytes())
        if kept["compiler"] != identity:
            return None
        return {
            name: Values(kind=kind, choices=tuple(choices))
            for name, (kind, choices) in kept["options"].items()
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_cache(cache: Path, *, identity: list[object], options: KnownFlags) -> None:
    """Keep the answer; a folder that cannot be written to only costs the next question."""
    document = {
        "compiler": identity,
        "options": {name: [values.kind, values.choices] for name, values in options.items()},
    }
    temporary = cache.with_name(f"{cache.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(document), encoding="utf-8")
        temporary.replace(cache)
    except OSError:
        temporary.unlink(missing_ok=True)
