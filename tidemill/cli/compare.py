"""diff: what changed between two releases."""

from pathlib import Path

import click
import msgspec
from rich.table import Table
from rich.text import Text

from tidemill.cli.listing import store_of
from tidemill.cli.output import console, json_option, say, say_json, workspace_options
from tidemill.compare import compare, find_release
from tidemill.records import ReleaseDiff
from tidemill.report.changes import change_rows, in_short, title, tool_lines, unknown_line


@click.command()
@click.argument("before", metavar="RELEASE")
@click.argument("after", metavar="RELEASE")
@json_option
@workspace_options
def diff(
    before: str, after: str, *, as_json: bool, workspace_dir: Path | None, store_url: str | None
) -> None:
    """Show what changed from one RELEASE to another: files, sizes, flags, dispatches, numbers.

    RELEASE is a digest or its first digits, a channel (its head), or channel@sequence.
    """
    store = store_of(workspace_dir, store_url)
    changes = compare(store, find_release(store, before), find_release(store, after))
    if as_json:
        say_json(msgspec.to_builtins(changes))
        return
    _show(changes)


def _show(changes: ReleaseDiff) -> None:
    say(title(changes))
    say(in_short(changes))
    for line in tool_lines(changes):
        say(f"  {line}")
    rows = change_rows(changes)
    if rows:
        shown = Table(box=None, pad_edge=False)
        for heading in ("address", "kind", "what", "size", "status", "digest", ""):
            shown.add_column(heading, overflow="fold")
        for row in rows:
            cells = (row.address, row.kind, row.what, row.size, row.status, row.digest)
            shown.add_row(*map(Text, (*cells, "\n".join(row.details))))
        console().print(shown)
    if lost := unknown_line(changes):
        say(lost)
