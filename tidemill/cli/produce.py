"""plan, run, release: the producer's commands."""

import fnmatch
import sys
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from tidemill.cli.output import (
    Command,
    complain,
    console,
    json_option,
    say_json,
    workspace_of,
    workspace_options,
)
from tidemill.cli.selecting import named_nodes, selection_options
from tidemill.errors import ExitCode, UsageError
from tidemill.graph import NodeId, Selection
from tidemill.mill import Mill
from tidemill.opening import open_mill
from tidemill.records import RunReport
from tidemill.report.live import NullView, open_view
from tidemill.report.terminal import table
from tidemill.workspace import Workspace


def toolchain_option(command: Command) -> Command:
    """--toolchain."""
    return click.option(
        "--toolchain", default="default", show_default=True, help="A lock below toolchains/."
    )(command)


def pipelines_of(workspace: Workspace) -> Any:
    """The checkout's ``pipelines`` package: it belongs to the workspace, not to the wheel."""
    if str(workspace.root) not in sys.path:
        sys.path.insert(0, str(workspace.root))
    try:
        import pipelines  # noqa: PLC0415 - found only once the workspace is known
    except ModuleNotFoundError:
        raise UsageError(f"{workspace.root} has no pipelines/ package") from None
    return pipelines


def open_selected(
    workspace: Workspace, pipeline: str, *, toolchain: str, retry_failed: bool = False
) -> tuple[Mill, Any]:
    """The mill over a pipeline, and the pipeline."""
    chosen = pipelines_of(workspace).load(pipeline)
    mill = open_mill(
        workspace,
        toolchain=toolchain,
        models=chosen.models,
        targets=frozenset(chosen.targets) if chosen.targets is not None else None,
        retry_failed=retry_failed,
    )
    return mill, chosen


def _named(mill: Mill, selection: Selection, *, pipeline: str) -> set[NodeId]:
    """The nodes that a selection names. Raises UsageError when it names none."""
    return named_nodes(
        mill.graph,
        selection,
        pipeline=pipeline,
        having=lambda axis, pattern: _having(mill, axis, pattern, beside=pipeline),
    )


def _having(mill: Mill, axis: str, pattern: str, *, beside: str) -> list[str]:
    """The pipelines ``beside`` this one that take a model or a target of that name."""
    package, manifests = pipelines_of(mill.workspace), mill.manifests
    known = {"model": {*manifests.models, *manifests.suites}, "target": manifests.targets.targets}
    fitting = set(fnmatch.filter(known[axis], pattern))
    taken = {name: getattr(package.load(name), f"{axis}s") for name in package.names()}
    return [
        name
        for name, of in taken.items()
        if name != beside and fitting & set(fitting if of is None else of)
    ]


_STATE_STYLES = {"up-to-date": "green", "build": "yellow", "blocked": "dim"}


@click.command()
@click.argument("pipeline")
@selection_options
@toolchain_option
@click.option("--retry-failed", is_flag=True, help="Plan failed actions again.")
@click.option("--why", is_flag=True, help="Give the reason for each node, up to date or not.")
@json_option
@workspace_options
def plan(
    pipeline: str,
    *,
    selection: Selection,
    toolchain: str,
    retry_failed: bool,
    why: bool,
    as_json: bool,
    workspace_dir: Path | None,
    store_url: str | None,
) -> int:
    """Show what `run PIPELINE` would do, and build nothing. A damaged blob goes to quarantine."""
    workspace = workspace_of(workspace_dir, store_url)
    mill, _ = open_selected(workspace, pipeline, toolchain=toolchain, retry_failed=retry_failed)
    wanted = mill.graph.ancestors(_named(mill, selection, pipeline=pipeline))
    nodes = []
    for name, node in mill.graph.nodes.items():
        if name in wanted:
            state = mill.states.of(name)
            reasons = mill.why(name, state) if why or as_json else list(state.reasons)
            if why and state.state == "up-to-date" and state.bound:
                reasons = [f"recorded under key {state.bound.key[:12]}, and its files are sound"]
            nodes.append(
                {
                    "address": str(node.address),
                    "stage": node.stage,
                    "state": state.state,
                    "reasons": reasons,
                }
            )
    mill.save()
    if as_json:
        say_json({"nodes": nodes})
    else:
        _show_plan(nodes, why=why, notes=mill.notes)
    if (trouble := mill.cache.trouble) is None:
        return ExitCode.GOOD
    complain(
        f"error: the store could not answer {mill.cache.errors} times, so what is said to be built"
        f" may be there: {trouble.message}",
        hint=trouble.hint,
    )
    return ExitCode.STORE


def _show_plan(nodes: list[dict[str, Any]], *, why: bool, notes: tuple[str, ...]) -> None:
    shown = Table(box=None, pad_edge=False)
    for heading in ("stage", "address", "state", "why" if why else ""):
        shown.add_column(heading, overflow="fold")
    listed = 0
    for node in nodes:
        if why or node["state"] != "up-to-date":
            listed += 1
            reason = "; ".join(node["reasons"]) if why else ""
            state = Text(node["state"], style=_STATE_STYLES[node["state"]])
            shown.add_row(node["stage"], node["address"], state, reason)
    screen = console()
    if listed:
        screen.print(shown)
    counts = dict.fromkeys(_STATE_STYLES, 0)
    for node in nodes:
        counts[node["state"]] += 1
    for note in notes:
        screen.print(f"note: {note}")
    screen.print(
        f"{len(nodes)} nodes: {counts['up-to-date']} up to date, {counts['build']} to build,"
        f" {counts['blocked']} blocked"
    )


@click.command()
@click.argument("pipeline")
@selection_options
@toolchain_option
@click.option("--workers", type=click.IntRange(1, 256), help="Parallel steps [processors, max 4].")
@click.option("--scheduler", default="", metavar="URL", help="A luigid to share work through.")
@click.option("--force", is_flag=True, help="Build the selected nodes even if up to date.")
@click.option("--retry-failed", is_flag=True, help="Try recorded failures again.")
@click.option("--offline", is_flag=True, help="Refuse to fetch; everything else runs.")
@click.option("--no-release", is_flag=True, help="Build only; leave the channel alone.")
@click.option("--no-warm", is_flag=True, help="Every step imports for itself.")
@click.option("--no-progress", is_flag=True, help="Plain lines instead of a live view.")
@json_option
@workspace_options
def run(
    pipeline: str,
    *,
    selection: Selection,
    toolchain: str,
    workers: int | None,
    scheduler: str,
    force: bool,
    retry_failed: bool,
    offline: bool,
    no_release: bool,
    no_warm: bool,
    no_progress: bool,
    as_json: bool,
    workspace_dir: Path | None,
    store_url: str | None,
) -> int:
    """Build what is not up to date. A run of a whole pipeline also releases, moves its channel."""
    workspace = workspace_of(workspace_dir, store_url)
    mill, chosen = open_selected(
        workspace, pipeline, toolchain=toolchain, retry_failed=retry_failed
    )
    from pipelines.runner import Options, default_workers, run_pipeline  # noqa: PLC0415

    named = _named(mill, selection, pipeline=pipeline)
    mill.toolchains.require(_needed(mill, named, force=force))
    if offline:
        _refuse_fetches(mill, named)
    options = Options(
        selection=selection,
        workers=workers or default_workers(),
        scheduler=scheduler,
        force=force,
        publish=not no_release,
        warm=not no_warm,
    )
    with _view(quiet=as_json, progress=not no_progress) as view:
        report = run_pipeline(mill, chosen, options=options, view=view)
    _show_report(mill, report, as_json=as_json)
    if not selection.whole and chosen.channel and not as_json:
        complain(f"Part of the pipeline ran, so channel {chosen.channel} was left alone.")
    return report.exit_code


def _needed(mill: Mill, named: set[NodeId], *, force: bool) -> set[str]:
    """The toolchains of what may be built: what is up to date needs none."""
    above = [mill.graph.nodes[name] for name in mill.graph.ancestors(named)]
    return {node.toolchain for node in above if force or mill.states.of(node.id).state == "build"}


def _view(*, quiet: bool, progress: bool) -> Any:
    """What shows the run on standard error; nothing in a script that asks for JSON."""
    screen = console(stderr=True)
    return NullView() if quiet and not screen.is_terminal else open_view(screen, progress=progress)


def _refuse_fetches(mill: Mill, named: set[NodeId]) -> None:
    needed = [
        str(mill.graph.nodes[name].address)
        for name in sorted(mill.graph.ancestors(named))
        if mill.graph.nodes[name].stage == "fetch" and mill.states.of(name).state == "build"
    ]
    if needed:
        raise UsageError(
            f"--offline, but these sources are not in the store: {', '.join(needed)}",
            hint="Run once without --offline.",
        )


def _show_report(mill: Mill, report: RunReport, *, as_json: bool) -> None:
    if as_json:
        fields = ("address", "stage", "outcome", "seconds", "peak_memory_bytes", "key")
        nodes = [{name: getattr(node, name) for name in fields} for node in report.nodes]
        say_json(
            {
                "run": report.run,
                "nodes": nodes,
                "release": report.release,
                "channel": report.channel,
                "exit_code": report.exit_code,
                "problems": list(report.problems),
            }
        )
        return
    assert mill.folder is not None  # noqa: S101 - the run made it
    console().print(table(report, page=str(mill.folder / "index.html")))


@click.command()
@click.argument("pipeline")
@toolchain_option
@json_option
@workspace_options
def release(
    pipeline: str,
    *,
    toolchain: str,
    as_json: bool,
    workspace_dir: Path | None,
    store_url: str | None,
) -> int:
    """Release what the store holds for PIPELINE and move its channel. Builds nothing."""
    workspace = workspace_of(workspace_dir, store_url)
    mill, chosen = open_selected(workspace, pipeline, toolchain=toolchain)
    from pipelines.runner import publish_only  # noqa: PLC0415

    report = publish_only(mill, chosen, view=NullView())
    _show_report(mill, report, as_json=as_json)
    return report.exit_code
