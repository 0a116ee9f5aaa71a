"""status, explain, report: looking at runs and keys."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from tidemill.address import closest, matches
from tidemill.cli.output import (
    console,
    json_option,
    say,
    say_json,
    workspace_of,
    workspace_options,
)
from tidemill.cli.produce import open_selected, toolchain_option
from tidemill.errors import UsageError
from tidemill.graph import Graph
from tidemill.records import STAGES, RunReport
from tidemill.report import write_reports
from tidemill.report.terminal import table
from tidemill.workspace import Workspace


def reports(workspace: Workspace, *, run: str = "") -> Iterator[RunReport]:
    """The reports on this machine, newest first; of one run where it is named."""
    folder = workspace.state / "runs"
    for path in sorted(folder.glob("*/report.json"), reverse=True):
        if not run or path.parent.name == run:
            with contextlib.suppress(ValueError):  # torn by a full disk: as if it were not there
                yield msgspec.json.decode(path.read_bytes(), type=RunReport)


def last_report(workspace: Workspace, *, pipeline: str = "", run: str = "") -> RunReport:
    """The newest report on this machine of a pipeline, or of one run. Raises UsageError."""
    for report in reports(workspace, run=run):
        if not pipeline or report.pipeline == pipeline:
            return report
    wanted = f"run {run}" if run else f"run of pipeline {pipeline}" if pipeline else "run"
    raise UsageError(
        f"no {wanted} on this machine", hint=f"Run one: tidemill run {pipeline or 'PIPELINE'}"
    )


@click.command()
@click.argument("pipeline")
@json_option
@workspace_options
def status(
    pipeline: str, *, as_json: bool, workspace_dir: Path | None, store_url: str | None
) -> int:
    """Show the last run of PIPELINE on this machine; exits as that run did."""
    workspace = workspace_of(workspace_dir, store_url)
    report = last_report(workspace, pipeline=pipeline)
    if as_json:
        say_json(msgspec.to_builtins(report))
    else:
        page = workspace.run_folder(report.run) / "index.html"
        console().print(table(report, page=str(page)))
    return report.exit_code


@click.command()
@click.argument("address")
@click.option("--stage", type=click.Choice(STAGES), help="Only this stage.")
@click.option("--pipeline", default="nightly", show_default=True, help="Whose nodes to look at.")
@toolchain_option
@json_option
@workspace_options
def explain(
    address: str,
    *,
    stage: str | None,
    pipeline: str,
    toolchain: str,
    as_json: bool,
    workspace_dir: Path | None,
    store_url: str | None,
) -> None:
    """Say why ADDRESS (globs allowed) is or is not up to date, and what changed."""
    workspace = workspace_of(workspace_dir, store_url)
    mill, _ = open_selected(workspace, pipeline, toolchain=toolchain)
    explained: list[dict[str, Any]] = []
    for name, node in mill.graph.nodes.items():
        if not matches(address, str(node.address)) or (stage and node.stage != stage):
            continue
        state = mill.states.of(name)
        explained.append(
            {
                "address": str(node.address),
                "stage": node.stage,
                "state": state.state,
                "reasons": mill.why(name, state),
                "key": state.bound.key if state.bound else "",
                "parts": dict(state.bound.parts) if state.bound else {},
            }
        )
    if not explained:
        raise _unexplained(mill.graph, address, stage=stage, pipeline=pipeline)
    if as_json:
        say_json(explained)
        return
    for item in explained:
        _say_explained(item)


def _unexplained(graph: Graph, address: str, *, stage: str | None, pipeline: str) -> UsageError:
    """What to say where no node is meant: the stage may be wrong, or the address."""
    here = [node for node in graph.nodes.values() if matches(address, str(node.address))]
    if here:
        stages = ", ".join(one for one in STAGES if any(node.stage == one for node in here))
        return UsageError(f"{address} has no stage {stage}", hint=f"its stages: {stages}")
    return UsageError(
        f"no node of pipeline {pipeline} has the address {address}",
        hint=closest(address, (str(node.address) for node in graph.nodes.values())),
    )


def _say_explained(item: dict[str, Any]) -> None:
    say(f"{item['stage']} {item['address']}: {item['state']}")
    for reason in item["reasons"]:
        say(f"  because {reason}")
    if not item["key"]:
        say("  its key is known once its inputs are built")
        return
    parts = item["parts"]
    say(f"  key {item['key']}")
    say(f"    step code {parts['code'][:12]}")
    for name, version in sorted(parts["tools"].items()):
        say(f"    tool {name} {version}")
    for role, files in sorted(parts["inputs"].items()):
        for file, digest in sorted(files.items()):
            say(f"    input {role}/{file} {digest[:12]}")
    for name, value in parts["fields"].items():
        text = " ".join(value) if name == "flags" else str(value)
        say(f"    field {name}: {text if len(text) < 400 else text[:400] + '…'}")  # noqa: PLR2004


@click.command()
@click.option("--run", default="", help="The run [the newest].")
@click.option("--to", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@workspace_options
def report(*, run: str, to: Path, workspace_dir: Path | None, store_url: str | None) -> None:
    """Write a run's HTML page, Markdown summary, JUnit XML and JSON to a folder."""
    workspace = workspace_of(workspace_dir, store_url)
    to.mkdir(parents=True, exist_ok=True)
    paths = write_reports(last_report(workspace, run=run), to)
    say(str(paths.html))
