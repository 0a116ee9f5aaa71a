"""Text for every report: cleaned of what a terminal, a browser or an XML reader would obey.

Logs and diagnostics come from tools; they may hold escape sequences, control characters or
direction marks. What leaves this module holds none. Numbers, sizes and times are spelled the same
in all reports. Pure; standard library only.
"""

import math
import re

# ECMA-48: CSI … final byte, OSC/DCS/SOS/PM/APC … string terminator, then two-byte escapes.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]"
)
# What XML 1.0 section 2.2 forbids, C1 controls, and the direction marks of Unicode TR 9 (they make
# text read differently from what it is).
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff\ufeff\ufffe\uffff]"
)
_SPACE = re.compile(r"\s+")
_UNITS = ("B", "kB", "MB", "GB", "TB")
BRIEF = 400
_MINUTE, _HOUR = 60, 3600


def clean(text: str) -> str:
    """``text`` without escape sequences and control characters; only newline and tab are kept."""
    if text.isascii() and text.isprintable():
        return text
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    return _FORBIDDEN.sub("", _ESCAPES.sub("", unified))


def one_line(text: str) -> str:
    """``text`` cleaned, every run of white space as one space, none at the ends."""
    return _SPACE.sub(" ", clean(text)).strip()


def shorten(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` characters; three dots stand for what is cut from its end."""
    if len(text) <= limit:
        return text
    return text[: max(limit - 3, 0)].rstrip() + "..."[:limit]


def brief(text: str) -> str:
    """``text`` in one line of a length that a person still reads."""
    return shorten(one_line(text), BRIEF)


def shown_lines(lines: tuple[str, ...], *, count: int, width: int) -> list[str]:
    """The first ``count`` lines that are not blank, cleaned, each at most ``width`` wide."""
    flat = [part.expandtabs(4).rstrip() for line in lines for part in clean(line).split("\n")]
    full = [line for line in flat if line]
    shown = [shorten(line, width) for line in full[:count]]
    if len(full) > count:
        shown.append(f"({plural(len(full) - count, 'more line')} in the log)")
    return shown


def size_text(size: int) -> str:
    """A number of bytes in decimal units: ``912 B``, ``1.2 MB``, ``640 MB``; ``-`` for none."""
    if size <= 0:
        return "-"
    value, unit = float(size), 0
    while round(value) >= 1000 and unit < len(_UNITS) - 1:  # noqa: PLR2004
        value, unit = value / 1000, unit + 1
    digits = 1 if unit and round(value, 1) < 10 else 0  # noqa: PLR2004
    return f"{value:.{digits}f} {_UNITS[unit]}"


def seconds_text(seconds: float) -> str:
    """A duration: ``0.4 s``, ``38 s``, ``2m 03s``, ``1h 02m``; ``-`` for none."""
    if seconds <= 0:
        return "-"
    if seconds < 9.95:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE:02d}s"
    return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE:02d}m"


def number_text(value: float | None, *, digits: int = 2) -> str:
    """A measured number in ``digits`` significant digits; ``-`` for none; or ``nan``, ``inf``."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(value)
    return f"{value:.{digits}g}"


def plural(count: int, noun: str) -> str:
    """``1 node``, ``3 nodes``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def wrap_command(command: str, width: int) -> list[str]:
    """A shell command in lines of about ``width`` characters that still paste as one command.

    Breaks only at spaces outside quotes, with a backslash; a single long word stays whole.
    """
    words, quote, current = list[str](), "", ""
    for char in one_line(command):
        if char == " " and not quote:
            words.append(current)
            current = ""
            continue
        if char in "'\"":
            quote = "" if char == quote else (quote or char)
        current += char
    lines = [""]
    for word in [*words, current]:
        if lines[-1] and len(lines[-1]) + len(word) + 3 > width:
            lines[-1] += " \\"
            lines.append("  " + word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return lines
