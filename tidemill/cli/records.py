"""log, repro: one action, found by key or address."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import click

from tidemill.bundle import unpack
from tidemill.cli.finding import Record, find_record, key_of
from tidemill.cli.listing import store_of
from tidemill.cli.output import complain, say, workspace_of, workspace_options
from tidemill.code import code_digest
from tidemill.digest import Digest
from tidemill.errors import EXIT_OF_CLASS, ExitCode, StoreError, UsageError
from tidemill.exporters import EXPORTERS
from tidemill.records import STAGES, ActionResult, Failure, Stage
from tidemill.repro import Rerun, rerun
from tidemill.steps.table import STEPS
from tidemill.store.contract import Store
from tidemill.toolchain.environment import require
from tidemill.toolchain.lock import read_lock


def differences(record: Record, *, tools: Mapping[str, str]) -> list[str]:
    """What is not as it was when the action ran: versions of its tools, and our own code."""
    stage = cast("Stage", record.step)
    said = [
        f"{name} was {version} then, and is {tools.get(name, 'absent')} now"
        for name, version in sorted(record.parts["tools"].items())
        if tools.get(name) != version
    ]
    exporter = record.parts["fields"].get("exporter")
    code = STEPS[stage].code + ((EXPORTERS[exporter].module,) if exporter in EXPORTERS else ())
    if code_digest(code) != record.parts["code"]:
        said.append(f"the code of {stage} has been edited since")
    return said


@click.command()
@click.argument("subject", metavar="ADDRESS|KEY")
@click.option("--stage", type=click.Choice(STAGES), help="Which stage of an address.")
@click.option(
    "--bundle",
    "bundle_dir",
    type=click.Path(path_type=Path),
    help="Unpack the bundle of a failure into this folder.",
)
@workspace_options
def log(
    subject: str,
    *,
    stage: str | None,
    bundle_dir: Path | None,
    workspace_dir: Path | None,
    store_url: str | None,
) -> None:
    """Print the log of one action (of an address: of the failed stage, else the last one).

    KEY may be its first digits, at least eight. A failure has a bundle: log, request, small inputs,
    and the dispatch alone that a compile failed in.
    """
    workspace = workspace_of(workspace_dir, store_url)
    store = store_of(workspace_dir, store_url)
    record = find_record(store, key_of(workspace, store, subject, stage=stage))
    if bundle_dir is not None:
        _unpack(store, record, bundle_dir)
        return
    if record.log is None:
        raise StoreError(f"no log was kept of {record.step} {record.address}")
    text = store.read_blob(Digest(record.log.digest)).decode("utf-8", errors="replace")
    if text.strip():
        say(text.rstrip("\n"))
    else:
        complain(f"the log of {record.step} {record.address} is empty")


def _unpack(store: Store, record: Record, folder: Path) -> None:
    """Write a failure's bundle into ``folder`` and list its files."""
    if isinstance(record, ActionResult) or record.bundle is None:
        raise UsageError(
            f"{record.step} {record.address} has no bundle: only failures have one",
            hint=f"Its work folder: tidemill repro {record.key}",
        )
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", hint="Give another folder with --bundle.")
    try:
        names = unpack(store.read_blob(Digest(record.bundle.digest)), folder)
    except ValueError as error:
        raise StoreError(str(error), hint="Run its pipeline again with --retry-failed.") from error
    for name in names:
        say(str(folder / name))


@click.command()
@click.argument("subject", metavar="ADDRESS|KEY")
@click.option("--stage", type=click.Choice(STAGES), help="Which stage of an address.")
@click.option("--to", type=click.Path(path_type=Path), help="The folder to build [repro/KEY].")
@click.option("--toolchain", default="default", show_default=True)
@workspace_options
def repro(
    subject: str,
    *,
    stage: str | None,
    to: Path | None,
    toolchain: str,
    workspace_dir: Path | None,
    store_url: str | None,
) -> int:
    """Build an action's work folder from the store, run its command there, show its log.

    KEY may be its first digits, at least eight.
    """
    workspace = workspace_of(workspace_dir, store_url)
    store = store_of(workspace_dir, store_url)
    key = key_of(workspace, store, subject, stage=stage)
    record = find_record(store, key)
    lock = read_lock(workspace.lock_file(toolchain))
    environment = require(workspace.state, lock)
    folder = (to or Path("repro") / key[:12]).absolute()
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", hint="Give another folder with --to.")
    for line in differences(record, tools={name: p.version for name, p in lock.pins.items()}):
        complain(f"not the same: {line}")
    done = rerun(record, store=store, environment=environment, folder=folder)
    complain(f"folder:  {folder}")
    complain(f"command: {' '.join(done.command)}")
    if text := done.log.read_text(encoding="utf-8", errors="replace").rstrip("\n"):
        say(text)
    complain(f"exit status {done.code}")
    if done.diagnosis is None:
        complain(f"{record.step} {record.address}: it succeeded{_compared(done, record)}")
        return ExitCode.GOOD
    complain(f"{record.step} {record.address}: {done.diagnosis.failure}")
    for line in done.diagnosis.lines:
        complain(f"  {line}")
    return EXIT_OF_CLASS[done.diagnosis.failure]


def _compared(done: Rerun, record: ActionResult | Failure) -> str:
    """Whether the same bytes came out, where there are any to compare with."""
    if isinstance(record, Failure):
        return ", although it is recorded as a failure"
    if done.differing:
        return f", with other bytes than recorded: {', '.join(done.differing)} (not reproducible)"
    return ", with the same bytes as recorded"
