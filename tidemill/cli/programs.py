"""What commands that run released programs have in common: which ones, where, and their files."""

import importlib.util
from pathlib import Path
from typing import Any

import click

from tidemill.cli.listing import trust_of
from tidemill.cli.output import Command, complain, workspace_options
from tidemill.cli.pulling import store_to_pull
from tidemill.client import open_cache, resolve
from tidemill.client.pull import reader_of
from tidemill.client.suite import Suite
from tidemill.errors import UsageError

INSTALL = "pip install 'tidemill[run]', in a checkout of it pip install -e '.[run]'"
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def program_options(command: Command) -> Command:
    """Which programs are run, and where."""
    options = (
        click.option("--channel", default="", help="The channel to take the programs from."),
        click.option("--release", default="", help="A release instead of a channel."),
        click.option("--target", default="cpu", help="What they were compiled for [cpu]."),
        click.option("--device", default="local-task", help="IREE's device [local-task]."),
        click.option("--dtype", type=click.Choice(["f32", "f16"]), default="f32", help="[f32]"),
        click.option("--axis", "axes", multiple=True, help="A part of variants, as latent64."),
        click.option("--offline", is_flag=True, help="Ask nobody: take all from the cache."),
    )
    for option in reversed(options):
        command = option(command)
    return workspace_options(command)


def require_packages(*packages: str, to: str) -> None:
    """Raise UsageError unless these are installed, which are needed ``to`` do something."""
    lacking = []
    for package in packages:
        try:
            found = importlib.util.find_spec(package)
        except ModuleNotFoundError:  # of a package that the module would be in
            found = None
        if found is None:
            lacking.append(package)
    if lacking:
        raise UsageError(f"{to} needs {', '.join(lacking)}, not installed here", hint=INSTALL)


def open_programs(given: dict[str, Any]) -> Suite:
    """The release that the options name, opened."""
    if bool(given["channel"]) == bool(given["release"]):
        raise UsageError(
            "give either --channel or --release",
            hint="`tidemill channel list` shows what there is",
        )
    workspace, offline = given["workspace_dir"], given["offline"]
    store = store_to_pull(workspace, given["store_url"], lock=None, offline=offline)
    cache = open_cache()
    if cache is None:
        raise UsageError(
            "the user's cache folder cannot be written", hint="name one in TIDEMILL_CACHE"
        )
    resolved = resolve(
        reader_of(store, cache=cache, offline=offline),
        channel=given["channel"],
        release=given["release"],
        trust=None if given["release"] else trust_of(workspace, store),
    )
    return Suite(store=store, resolved=resolved, cache=cache, offline=offline)


def program_files(suite: Suite, address: str) -> tuple[Path, Path, Path]:
    """MLIR, VMFB and parameters of one part; says when it was not validated, or is degraded."""
    one = suite.artifacts(address)
    if one.status != "validated" or one.reason:
        complain(f"{address} is {one.status}" + (f": {one.reason}" if one.reason else ""))
    if one.mlir is None or one.vmfb is None or one.irpa is None:
        raise UsageError(
            f"{address} was released without MLIR, VMFB or parameters",
            hint="take a release that has all of them",
        )
    return one.mlir, one.vmfb, one.irpa
