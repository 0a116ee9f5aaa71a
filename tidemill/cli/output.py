"""Printing: data to standard output, words for people to standard error."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from tidemill.workspace import Workspace, find_workspace

if TYPE_CHECKING:
    from rich.console import Console

Command = TypeVar("Command", bound=Callable[..., Any])


def complain(message: str, *, hint: str = "") -> None:
    """Say what is wrong and what to do, on standard error."""
    click.echo(message, err=True)
    if hint:
        click.echo(f"  {hint}", err=True)


def say(message: str) -> None:
    """One line of plain text on standard output."""
    click.echo(message)


def say_json(value: object) -> None:
    """One JSON document on standard output."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=1).decode())


def console(*, stderr: bool = False) -> "Console":
    """A console; off a terminal it is 120 columns wide unless COLUMNS says otherwise."""
    from rich.console import Console  # noqa: PLC0415 - who prints no table waits for none

    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal and "COLUMNS" not in made._environ:
        return Console(stderr=stderr, highlight=False, width=160)
    return made


def json_option(command: Command) -> Command:
    """``--json``: nothing but data on standard output."""
    return click.option("as_json", "--json", is_flag=True, help="Print JSON only.")(command)


def workspace_options(command: Command) -> Command:
    """``--workspace`` and ``--store``."""
    command = click.option("store_url", "--store", help="Store URL or folder (or TIDEMILL_STORE).")(
        command
    )
    return click.option(
        "workspace_dir", "--workspace", type=click.Path(path_type=Path), help="The checkout to use."
    )(command)


def workspace_of(workspace_dir: Path | None, store_url: str | None) -> Workspace:
    """The workspace that the options name."""
    return find_workspace(start=workspace_dir, store=store_url)
