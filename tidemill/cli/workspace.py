"""manifest, toolchain: the checkout itself."""

import json
from collections.abc import Mapping
from pathlib import Path

import click
from rich.table import Table

from tidemill.cli.output import (
    complain,
    console,
    json_option,
    say,
    say_json,
    workspace_of,
    workspace_options,
)
from tidemill.cli.produce import pipelines_of
from tidemill.errors import ExitCode, ManifestError
from tidemill.expectations import unmatched
from tidemill.graph_build import build_graph
from tidemill.manifest.load import Manifests, load_manifests
from tidemill.manifest.model import ManifestPart
from tidemill.opening import open_mill, read_toolchains
from tidemill.toolchain.environment import locate, sync
from tidemill.toolchain.lock import Lock, read_lock
from tidemill.toolchain.pin import pin as pin_requirements
from tidemill.toolchain.pin import read_requirements
from tidemill.workspace import Workspace


@click.group()
def manifest() -> None:
    """Check manifests; print their JSON Schema."""


@manifest.command("check")
@json_option
@workspace_options
def manifest_check(*, as_json: bool, workspace_dir: Path | None, store_url: str | None) -> int:
    """Read every file below manifests/ and report all problems, each with file, line and path.

    The files of file: sources are hashed, however large they are.
    """
    workspace = workspace_of(workspace_dir, store_url)
    try:
        manifests = load_manifests(workspace.root, files=True)
        _check_expectations(workspace, manifests)
    except ManifestError as error:
        if not as_json:
            raise
        *problems, _ = error.message.splitlines()
        say_json({"problems": problems})
        return ExitCode.USAGE
    if as_json:
        say_json({"problems": [], "models": sorted(manifests.models)})
        return ExitCode.GOOD
    components = sum(len(model.components) for model in manifests.models.values())
    say(
        f"{len(manifests.models)} models, {components} components,"
        f" {len(manifests.targets.targets)} targets,"
        f" {len(manifests.expectations)} expectations: no problem"
    )
    return ExitCode.GOOD


def _check_expectations(workspace: Workspace, manifests: Manifests) -> None:
    """Raise ManifestError that lists the expectations that fit no declared node.

    Which targets there are does not depend on the lock, but flags need a compiler's version.
    """
    if not workspace.lock_file("default").exists():
        return
    compilers = read_toolchains(workspace, manifests, own="default").compilers()
    graph = build_graph(
        manifests.models.values(),
        targets=manifests.targets.targets,
        compiler=compilers[""],
        compilers=compilers,
        suites=manifests.suites.values(),
    )
    nodes = [(node.stage, str(node.address)) for node in graph.nodes.values()]
    if lost := unmatched(manifests.expectations, nodes=nodes):
        lines = "\n".join(f"manifests/expectations.yaml: {line}" for line in lost)
        raise ManifestError(f"{lines}\n{len(lost)} expectations fit nothing")


@manifest.command("schema")
def manifest_schema() -> None:
    """Print the JSON Schema of a model manifest, for editors."""
    say(json.dumps(ManifestPart.model_json_schema(by_alias=True), indent=1))


@click.group()
def toolchain() -> None:
    """List, sync, pin and lint toolchains."""


def locks_of(workspace: Workspace) -> list[Lock]:
    """The locks below toolchains/."""
    return [read_lock(path) for path in sorted((workspace.root / "toolchains").glob("*.lock"))]


@toolchain.command("list")
@json_option
@workspace_options
def toolchain_list(*, as_json: bool, workspace_dir: Path | None, store_url: str | None) -> None:
    """List the locks, whether each is built here, and the versions that matter."""
    workspace = workspace_of(workspace_dir, store_url)
    shown = ("torch", "iree-turbine", "iree-base-compiler", "iree-base-runtime", "transformers")
    rows = []
    for lock in locks_of(workspace):
        built = locate(workspace.state, lock)
        rows.append(
            {
                "name": lock.name,
                "digest": lock.digest,
                "built": str(built.root) if built else "",
                "versions": {name: lock.pins[name].version for name in shown if name in lock.pins},
            }
        )
    if as_json:
        say_json(rows)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("toolchain", "digest", "built", *shown):
        table.add_column(heading, overflow="fold")
    for lock, row in zip(locks_of(workspace), rows, strict=True):
        versions = [lock.pins[name].version if name in lock.pins else "" for name in shown]
        built_word = "yes" if row["built"] else "no"
        table.add_row(lock.name, lock.digest[:12], built_word, *versions)
    console().print(table)


@toolchain.command("sync")
@click.argument("names", nargs=-1)
@click.option("--for", "pipeline", metavar="PIPELINE", help="What components of a pipeline name.")
@click.option("--force", is_flag=True, help="Build again even if complete.")
@workspace_options
def toolchain_sync(
    names: tuple[str, ...],
    *,
    pipeline: str | None,
    force: bool,
    workspace_dir: Path | None,
    store_url: str | None,
) -> None:
    """Build the environments of locks [default] that are not there already; print their folders."""
    workspace = workspace_of(workspace_dir, store_url)
    locks = {name: read_lock(workspace.lock_file(name)) for name in names or ("default",)}
    if pipeline is not None:
        locks |= _named_by(pipeline, workspace)
    for lock in locks.values():
        say(str(sync(workspace.state, lock, report=complain, force=force).root))


def _named_by(pipeline: str, workspace: Workspace, /) -> Mapping[str, Lock]:
    """The locks that components of a pipeline's models name."""
    models = pipelines_of(workspace).load(pipeline).models
    manifests = load_manifests(workspace.root)
    return read_toolchains(workspace, manifests, own="default", models=models).others


@toolchain.command("pin")
@click.argument("name", default="default")
@workspace_options
def toolchain_pin(name: str, *, workspace_dir: Path | None, store_url: str | None) -> None:
    """Resolve toolchains/NAME.in and write toolchains/NAME.lock with hashes."""
    workspace = workspace_of(workspace_dir, store_url)
    path = workspace.lock_file(name)
    header = f"Made by: tidemill toolchain pin {name}"
    text = pin_requirements(read_requirements(path.with_suffix(".in")), header=header)
    path.write_text(text, encoding="utf-8")
    say(f"{path}: {len(read_lock(path).pins)} packages")


@toolchain.command("lint")
@click.argument("name", default="default")
@workspace_options
def toolchain_lint(name: str, *, workspace_dir: Path | None, store_url: str | None) -> None:
    """Check every flag of every target and model against the toolchain's own compiler."""
    workspace = workspace_of(workspace_dir, store_url)
    mill = open_mill(workspace, toolchain=name)
    for note in mill.notes:
        say(f"translated: {note}")
    count = sum(node.stage == "compile" for node in mill.graph.nodes.values())
    say(f"{count} compile commands: every flag is known to iree-base-compiler")
