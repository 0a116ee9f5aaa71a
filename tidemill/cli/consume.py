"""ls, show, pull, verify, channel: what a downstream suite needs; no producer's imports."""

from pathlib import Path
from typing import Any

import click
import msgspec
from rich.table import Table

from tidemill import channels
from tidemill.cli.listing import Listed, released, store_of
from tidemill.cli.output import (
    complain,
    console,
    json_option,
    say,
    say_json,
    size_text,
    workspace_options,
)
from tidemill.client import Progress, PullReport, resolve
from tidemill.client import pull as pull_artifacts
from tidemill.digest import Digest
from tidemill.errors import ExitCode, StoreError, UsageError


@click.command()
@click.argument("pattern", default="*")
@click.option("--channel", default="", help="One channel [all of them].")
@json_option
@workspace_options
def ls(
    pattern: str,
    *,
    channel: str,
    as_json: bool,
    workspace_dir: Path | None,
    store_url: str | None,
) -> None:
    """List released artifacts whose address fits PATTERN (model/component/variant/target)."""
    listed = released(store_of(workspace_dir, store_url), pattern, channel=channel)
    if as_json:
        fields = ("address", "kind", "digest", "size", "status", "key", "file", "reason")
        say_json([one.as_dict(fields) for one in listed])
        return
    shown = Table(box=None, pad_edge=False)
    for heading in ("address", "kind", "file", "size", "status", "digest", "channel"):
        shown.add_column(heading, overflow="fold", justify="right" if heading == "size" else "left")
    for one in listed:
        item = one.artifact
        shown.add_row(
            item.address,
            item.kind,
            item.file.removeprefix(f"{item.address}/"),
            size_text(item.size) if item.digest else "",
            item.status,
            item.digest[:12],
            one.channel,
        )
    console().print(shown)


@click.command()
@click.argument("address")
@click.option("--channel", default="", help="One channel [all of them].")
@json_option
@workspace_options
def show(
    address: str,
    *,
    channel: str,
    as_json: bool,
    workspace_dir: Path | None,
    store_url: str | None,
) -> None:
    """Show the artifacts of ADDRESS (globs allowed): digests, verdicts, keys, tools."""
    found = released(store_of(workspace_dir, store_url), address, channel=channel)
    if not found:
        raise UsageError(f"nothing released has the address {address}")
    if as_json:
        say_json([one.as_dict() for one in found])
        return
    for one in found:
        _show(one)


def _show(one: Listed) -> None:
    item = one.artifact
    say(f"{item.file}")
    say(f"  address  {item.address}")
    say(f"  channel  {one.channel}")
    say(f"  kind     {item.kind}")
    say(f"  status   {item.status}{f': {item.reason}' if item.reason else ''}")
    if item.digest:
        say(f"  sha256   {item.digest}")
        say(f"  size     {item.size} bytes")
        say(f"  key      {item.key}")
    for name, value in _verdict_lines(item.verdict):
        say(f"  {name:8} {value}")


def _verdict_lines(verdict: dict[str, Any] | None) -> list[tuple[str, str]]:
    if not verdict:
        return []
    summary = verdict.get("summary") or {}
    numbers = ", ".join(
        f"{name} {value:.3g}" for name, value in summary.items() if isinstance(value, int | float)
    )
    lines = [("verdict", f"{verdict.get('kind')}, {'holds' if verdict.get('holds') else 'fails'}")]
    if numbers:
        lines.append(("numbers", numbers))
    if greedy := verdict.get("greedy"):
        lines.append(("greedy", f"{greedy.get('equal')} of {greedy.get('tokens')} tokens equal"))
    return lines


@click.command()
@click.argument("patterns", nargs=-1, required=True, metavar="ADDRESS...")
@click.option("--channel", default="", help="The channel to pull from.")
@click.option("--release", "release_digest", default="", help="A release instead of a channel.")
@click.option("--to", type=click.Path(path_type=Path), required=True, help="The folder to pull to.")
@click.option("--kind", "kinds", multiple=True, help="Only this kind (may be repeated).")
@click.option("--require-validated", is_flag=True, help="Refuse what no device has validated.")
@click.option("--allow-missing", is_flag=True, help="Exit 0 even if something is not there.")
@json_option
@workspace_options
def pull(
    patterns: tuple[str, ...],
    *,
    channel: str,
    release_digest: str,
    to: Path,
    kinds: tuple[str, ...],
    require_validated: bool,
    allow_missing: bool,
    as_json: bool,
    workspace_dir: Path | None,
    store_url: str | None,
) -> int:
    """Copy what ADDRESS... names, with the MLIR, parameters and reference it needs, verified.

    What is there is copied. Exit 3 when something else that was asked for is not there.
    """
    if bool(channel) == bool(release_digest):
        raise UsageError("give either --channel or --release")
    report = pull_artifacts(
        store_of(workspace_dir, store_url),
        patterns,
        to=to,
        channel=channel,
        release=release_digest,
        kinds=frozenset(kinds),
        require_validated=require_validated,
        progress=(lambda _: None) if as_json else _say_progress,
    )
    (_say_pull_json if as_json else _say_pull)(report)
    return ExitCode.GOOD if allow_missing or not report.refused else _complain_of(report)


def _complain_of(report: PullReport) -> ExitCode:
    names = ", ".join(item.file for item in report.refused)
    complain(
        f"error: {len(report.refused)} of what was asked for is not there: {names}",
        hint="Give --allow-missing to accept that, or ask for other addresses.",
    )
    return ExitCode.TOOL


def _say_pull_json(report: PullReport) -> None:
    artifacts = {"copied": report.copied, "kept": report.kept, "refused": report.refused}
    files = {"removed": report.removed, "left_over": report.left_over}
    found = {"release": report.resolved.digest, "folder": str(report.folder)}
    say_json({**found, **artifacts, **files})


def _say_pull(report: PullReport) -> None:
    say(f"{report.resolved.title}: {len(report.copied)} copied, {len(report.kept)} unchanged")
    for item in report.refused:
        say(f"not there: {item.file}: {item.status}: {item.reason}")
    for file in report.removed:
        say(f"removed: {file}: pulled earlier, and this release does not have it")
    for file in report.left_over:
        say(f"left over: {file}: pulled earlier, and not asked for now")


def _say_progress(done: Progress) -> None:
    word = "copied" if done.copied else "kept"
    complain(f"[{done.files}/{done.files_total}] {word} {done.artifact.file}")


@click.command()
@click.option("--channel", default="", help="One channel [all of them].")
@json_option
@workspace_options
def verify(
    *, channel: str, as_json: bool, workspace_dir: Path | None, store_url: str | None
) -> int:
    """Hash every blob that the released artifacts name. Exit 5 when one is missing or damaged."""
    store = store_of(workspace_dir, store_url)
    bad, sizes = [], {}
    for item in (one.artifact for one in released(store, channel=channel)):
        if not item.digest or item.digest in sizes:
            continue
        try:
            sizes[item.digest] = store.check_blob(Digest(item.digest))
        except StoreError as error:
            bad.append({"file": item.file, "digest": item.digest, "problem": error.message})
    if as_json:
        say_json({"blobs": len(sizes), "bytes": sum(sizes.values()), "bad": bad})
    else:
        for problem in bad:
            complain(f"{problem['file']}: {problem['problem']}")
        say(f"{len(sizes)} blobs sound ({size_text(sum(sizes.values()))}), {len(bad)} bad")
        if bad:
            complain("  Run the pipeline again: what is damaged is rebuilt.")
    return ExitCode.STORE if bad else ExitCode.GOOD


@click.group()
def channel() -> None:
    """List, promote or roll back channels."""


@channel.command("list")
@click.argument("name", default="")
@json_option
@workspace_options
def channel_list(
    name: str, *, as_json: bool, workspace_dir: Path | None, store_url: str | None
) -> None:
    """List channels, or the history of one, newest first."""
    store = store_of(workspace_dir, store_url)
    if name:
        entries = list(channels.history(store, name))
    else:
        heads = [channels.head(store, one) for one in channels.names(store)]
        entries = [entry for entry in heads if entry]
    if as_json:
        say_json([msgspec.to_builtins(entry) for entry in entries])
        return
    for entry in entries:
        say(
            f"{entry.channel} {entry.sequence}  release {entry.release[:12]}  {entry.moved_at}"
            f"  {entry.reason}"
        )


@channel.command("promote")
@click.argument("name")
@click.argument("release_digest", metavar="RELEASE")
@click.option("--reason", required=True, help="Why; it is kept with the entry.")
@workspace_options
def channel_promote(
    name: str,
    release_digest: str,
    *,
    reason: str,
    workspace_dir: Path | None,
    store_url: str | None,
) -> None:
    """Point channel NAME at RELEASE (a digest)."""
    store = store_of(workspace_dir, store_url)
    resolved = resolve(store, release=release_digest)
    moved = channels.move(
        store,
        name,
        release=resolved.digest,
        expecting=channels.latest(store, name),
        run="by-hand",
        reason=reason,
    )
    say(f"{name} {moved.sequence} is release {moved.release[:12]}")


@channel.command("rollback")
@click.argument("name")
@click.option(
    "--to", "sequence", type=int, default=0, help="The sequence to go back to [the one before]."
)
@click.option("--reason", required=True, help="Why; it is kept with the entry.")
@workspace_options
def channel_rollback(
    name: str,
    *,
    sequence: int,
    reason: str,
    workspace_dir: Path | None,
    store_url: str | None,
) -> None:
    """Give channel NAME a newer entry that points at an older release."""
    store = store_of(workspace_dir, store_url)
    moved = channels.rollback(store, name, to=sequence, run="by-hand", reason=reason)
    say(f"{name} {moved.sequence} is release {moved.release[:12]}")
