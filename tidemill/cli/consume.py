"""ls, show, verify: what a downstream suite needs; no producer's imports."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from tidemill.cli.benchmarks import benchmarks_of
from tidemill.cli.listing import (
    Listed,
    bound_of,
    closest_released,
    fitting,
    released,
    store_of,
)
from tidemill.cli.output import (
    complain,
    console,
    json_option,
    say,
    say_json,
    workspace_options,
)
from tidemill.digest import Digest
from tidemill.errors import ExitCode, StoreError, UsageError
from tidemill.records import ActionResult, Artifact
from tidemill.report.benchmarks import lines, measured
from tidemill.report.text import size_text


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
    store = store_of(workspace_dir, store_url)
    known = released(store, channel=channel, workspace_dir=workspace_dir)
    listed = fitting(known, pattern)
    if not listed:
        complain(f"nothing released matches {pattern!r}", hint=closest_released(known, pattern))
    if as_json:
        fields = ("address", "kind", "digest", "size", "status", "key", "file", "reason", "rung")
        say_json([one.as_dict(fields) for one in listed])
        return
    if not listed:
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
            _status(item),
            item.digest[:12],
            one.channel,
        )
    console().print(shown)


def _status(item: Artifact) -> str:
    """The status, and what else has to be known before somebody uses it."""
    bound = bound_of(item.verdict)
    return ", ".join([item.status, *["degraded"] * bool(item.rung), *[bound] * bool(bound)])


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
    store = store_of(workspace_dir, store_url)
    known = released(store, channel=channel, workspace_dir=workspace_dir)
    found = fitting(known, address)
    if not found:
        raise UsageError(
            f"nothing released has the address {address}", hint=closest_released(known, address)
        )
    modules = {one.artifact.digest for one in found if one.artifact.kind == "vmfb"}
    benchmarks = benchmarks_of(store, modules - {""}) if modules - {""} else {}
    if as_json:
        say_json([{**one.as_dict(), **_benchmarks(one, benchmarks)} for one in found])
        return
    for one in found:
        _show(one)
        for record in benchmarks.get(one.artifact.digest, ()):
            _show_benchmark(record)


def _benchmarks(
    one: Listed, benchmarks: Mapping[str, Sequence[ActionResult]], /
) -> dict[str, list[dict[str, Any]]]:
    """The field of a VMFB that says what was measured of it, where anything was."""
    records = benchmarks.get(one.artifact.digest, ())
    told = [{"finished_at": record.finished_at, **record.facts} for record in records]
    return {"benchmarks": told} if told else {}


def _show_benchmark(record: ActionResult) -> None:
    say(f"  measured {record.finished_at}")
    for one in measured(record.address, record.facts):
        for line in lines(one):
            say(f"    {line}")


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
    words = "holds" if verdict.get("holds") else "fails"
    lines = [("verdict", f"{verdict.get('kind')}, {words} {bound_of(verdict)}".rstrip())]
    if numbers:
        lines.append(("numbers", numbers))
    if narrowed := (verdict.get("quantisation") or {}).get("perplexity"):
        words = f"{narrowed['float']:.5g} before, {narrowed['narrowed']:.5g} after quantisation"
        lines.append(("perplexity", words))
    if greedy := verdict.get("greedy"):
        lines.append(("greedy", f"{greedy.get('equal')} of {greedy.get('tokens')} tokens equal"))
        said = (text for one in greedy.get("samples") or () for text in one.get("text") or ())
        lines += [("text", text.strip()) for text in said]
    return lines


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
    listed = released(store, channel=channel, workspace_dir=workspace_dir)
    for item in (one.artifact for one in listed):
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
