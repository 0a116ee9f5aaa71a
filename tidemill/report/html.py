"""One static HTML page for a run: no request to anywhere, no script needed to read it.

Style, script and plots are inside the page, and its content security policy allows nothing else.
Every value is escaped by jinja2; a log link is kept only where it cannot run or leave the site.
jinja2 is imported here and nowhere else, so that the other reports work without it.
"""

import base64
import hashlib
import re
import shlex
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from tidemill.records import NodeReport, ReleaseDiff, RunReport
from tidemill.report.benchmarks import benchmarks, ms_text
from tidemill.report.changes import ChangeRow, change_rows, in_short, tool_lines, unknown_line
from tidemill.report.rows import Cell, MatrixRow, addresses, matrix, rows
from tidemill.report.suites import OUTCOMES, suites
from tidemill.report.text import brief, one_line, plural, seconds_text, shown_lines, size_text
from tidemill.report.verdicts import holds_word, spelled
from tidemill.report.view import SIGNS, counts, expectations, failures, result, worked

LINES_SHOWN, LINE_WIDTH = 40, 500
BARS_SHOWN = 30
TONES = {
    "validated": "good",
    "built": "good",
    "reused": "idle",
    "proxy": "info",
    "carried": "info",
    "unvalidated": "idle",
    "blocked": "idle",
    "expected-failure": "warn",
    "failed": "bad",
    "missing": "bad",
}
# RFC 3986, section 4.2: a first segment with a colon would be a scheme; "//" would name a host.
_RELATIVE = re.compile(r"(?!//)(?:[^:\\\s]*|[^:/\\\s]*/[^\\\s]*)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What one node cost, in percent of the most that one cost."""

    node: NodeReport
    tone: str
    seconds_percent: str
    memory_percent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The bars that are drawn, and a sentence that says which nodes they are."""

    bars: tuple[Bar, ...]
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """A sentence that says how much changed, one for each tool that did, and the table.

    ``shown`` are the addresses that the page has a place for.
    """

    caption: str
    said: tuple[str, ...]
    rows: tuple[ChangeRow, ...]
    shown: Set[str]


def page(report: RunReport) -> str:
    """The whole page as text; it is to be written as UTF-8. The same report gives the same page."""
    style, script = _asset("style.css"), _asset("page.js")
    listed = rows(report)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            result=result(report),
            counts=counts(report),
            failures=failures(report),
            expectations=expectations(report),
            matrix=matrix(listed),
            rows=listed,
            addresses=addresses(report, listed),
            costs=costs(report),
            benchmarks=benchmarks(report),
            suites=suites(report),
            changes=changes(report.changes, shown={row.address for row in listed}),
            style=Markup(style),  # noqa: S704 - a file of this package
            script=Markup(script),  # noqa: S704 - a file of this package
            policy=_policy(style=style, script=script),
        )
    )


def changes(diff: ReleaseDiff | None, *, shown: Set[str]) -> Changes | None:
    """What changed since the last release of the channel; None where nothing was released."""
    if diff is None:
        return None
    said = (*tool_lines(diff), *filter(None, (unknown_line(diff),)))
    return Changes(caption=in_short(diff), said=said, rows=change_rows(diff), shown=shown)


def costs(report: RunReport) -> Costs:
    """The slowest nodes of this run as bars of time and memory."""
    spent = worked(report)
    shown = spent[:BARS_SHOWN]
    most_seconds = max((node.seconds for node in shown), default=0.0)
    most_memory = max((node.peak_memory_bytes for node in shown), default=0)
    rest = sum(node.seconds for node in spent[BARS_SHOWN:])
    caption = f"{plural(len(spent), 'node')} ran, slowest first."
    if rest:
        left = plural(len(spent) - BARS_SHOWN, "other")
        caption = (
            f"The {BARS_SHOWN} slowest of {len(spent)} nodes that ran; "
            f"the {left} took {seconds_text(rest)} together."
        )
    bars = tuple(
        Bar(
            node=node,
            tone=TONES[node.outcome] if node.outcome != "built" else "",
            seconds_percent=_percent(node.seconds, most_seconds),
            memory_percent=_percent(node.peak_memory_bytes, most_memory),
        )
        for node in shown
    )
    return Costs(bars=bars, caption=caption)


def anchor(address: str) -> str:
    """The fragment of an address: the same text as ``id`` and after ``#``."""
    return quote(one_line(address), safe="/") or "-"


def safe_link(link: str) -> str:
    """``link`` if it is a relative reference or http(s), else empty (it is then shown as text)."""
    flat = one_line(link)
    if flat.startswith(("https://", "http://")) and not re.search(r"\s", flat):
        return flat
    return flat if flat and _RELATIVE.match(flat) else ""


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}" if whole else "0"


def _words(address: str, *more: str) -> str:
    """What the filter looks in: lower case, white space between."""
    return one_line(" ".join((address, *more))).lower()


def _row_words(row: MatrixRow) -> str:
    cells = [cell for cell in (row.shared, *row.cells) if cell]
    return " ".join(f"{cell.address.rsplit('/', 1)[-1]} {cell.status}" for cell in cells)


def _cost(cell: Cell) -> str:
    """``1.0 MB, 38 s``, and whether it was reused."""
    parts = [size_text(cell.size)] if cell.size else []
    parts += [seconds_text(cell.seconds)] if cell.seconds > 0 else []
    parts += ["reused"] if cell.outcome == "reused" else []
    return ", ".join(parts)


def _lines(lines: Sequence[str]) -> list[str]:
    return shown_lines(tuple(lines), count=LINES_SHOWN, width=LINE_WIDTH)


def _shell(command: Sequence[str]) -> str:
    return one_line(shlex.join(command))


def _model(variant: str) -> str:
    return one_line(variant.partition("/")[0])


def _rest(variant: str) -> str:
    return one_line(variant.partition("/")[2])


_FILTERS: dict[str, Callable[..., Any]] = {
    "anchor": anchor,
    "brief": brief,
    "cost": _cost,
    "holds": holds_word,
    "lines": _lines,
    "model": _model,
    "ms": ms_text,
    "one_line": one_line,
    "rest": _rest,
    "row_words": _row_words,
    "safe_link": safe_link,
    "seconds": seconds_text,
    "shell": _shell,
    "piece": lambda outcome: outcome if outcome in OUTCOMES else "other",
    "sign": lambda word: SIGNS.get(word, ""),
    "size": size_text,
    "spelled": spelled,
    "tone": lambda word: TONES.get(word, "idle"),
    "words": _words,
}


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    environment.policies["urlize.rel"] = "noreferrer"
    return environment


def _asset(name: str) -> str:
    folder = resources.files("tidemill.report") / "templates"
    return (folder / name).read_text("utf-8")


def _policy(*, style: str, script: str) -> str:
    """Nothing is loaded, and only the style and the script of this package take effect (CSP 3)."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_csp_hash(style)}'; "
        f"script-src '{_csp_hash(script)}'; base-uri 'none'; form-action 'none'"
    )


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
