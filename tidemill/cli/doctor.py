"""doctor: what this host can do, what is missing, and what for."""

import shutil
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import click

from tidemill.cli.output import say, workspace_of, workspace_options
from tidemill.cli.produce import pipelines_of
from tidemill.cli.workspace import locks_of
from tidemill.errors import ExitCode, ManifestError, TidemillError, UsageError
from tidemill.manifest.load import Manifests, load_manifests
from tidemill.manifest.problems import Problem
from tidemill.manifest.targets import TargetsPart
from tidemill.manifest.validation import validate
from tidemill.manifest.yaml_source import read_yaml
from tidemill.report.text import plural, size_text
from tidemill.toolchain.environment import folder_of, locate, require
from tidemill.toolchain.lock import read_lock
from tidemill.toolchain.probe import probe
from tidemill.workspace import Workspace

OWN = "default"


@click.command()
@workspace_options
def doctor(*, workspace_dir: Path | None, store_url: str | None) -> int:
    """Say what this host can build and validate, and what is missing.

    Exit 0 when the default toolchain is built here and the manifests are right.
    """
    workspace = workspace_of(workspace_dir, store_url)
    say(f"workspace  {workspace.root}")
    say(f"store      {workspace.store_url}")
    free = shutil.disk_usage(workspace.root).free
    say(f"disk       {size_text(free)} free")
    for tool, why in (("git", "checkouts"), ("npm", "npm: sources")):
        say(f"{tool:10} {shutil.which(tool) or f'not installed (needed for {why})'}")
    say(f"toolchains {folder_of(workspace.state)}")
    built = set()
    for lock in locks_of(workspace):
        here = locate(workspace.state, lock) is not None
        built |= {lock.name} if here else set()
        say(f"  {lock.name}: {'built' if here else f'run: tidemill toolchain sync {lock.name}'}")
    try:
        _say_targets(workspace)
    except TidemillError as error:
        say(f"targets    unknown: {error.message}")
    try:
        manifests = load_manifests(workspace.root)
    except ManifestError as error:
        *problems, _ = error.message.splitlines()
        say(f"manifests  {plural(len(problems), 'problem')}, shown by: tidemill manifest check")
        return ExitCode.USAGE if OWN in built else ExitCode.STORE
    try:
        package = pipelines_of(workspace)
    except UsageError as error:
        say(f"pipelines  none: {error.message}")
    else:
        say(_readiness(package, manifests, built=built))
    return ExitCode.GOOD if OWN in built else ExitCode.STORE


def _say_targets(workspace: Workspace) -> None:
    """Every target of targets.yaml, whatever the other manifests say."""
    environment = require(workspace.state, read_lock(workspace.lock_file(OWN)))
    devices = probe(environment)
    file, problems = workspace.root / "manifests/targets.yaml", list[Problem]()
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        part = None
    else:
        part = validate(read_yaml(text, file=file.name), TargetsPart, problems)
    if part is None:
        say("targets    unknown: manifests/targets.yaml cannot be used")
        return
    say("targets")
    for name, target in part.targets.items():
        why = devices.absent(needs=target.needs, chip=target.chip)
        say(f"  {name:10} {why or 'can be validated here'}")


def _readiness(package: Any, manifests: Manifests, *, built: Set[str]) -> str:
    """Which pipelines the toolchains here can build, and what the others also need."""
    if OWN not in built:
        return f"ready for nothing yet: tidemill toolchain sync {OWN}"
    wanted = {name: set(_toolchains(package.load(name), manifests)) for name in package.names()}
    ready = [name for name, needed in wanted.items() if needed <= built]
    said = [f"ready for {', '.join(ready) or 'no pipeline'}"]
    said += [
        f"{name} also needs: tidemill toolchain sync --for {name}"
        for name in wanted
        if name not in ready
    ]
    return "; ".join(said)


def _toolchains(pipeline: Any, manifests: Manifests) -> Iterator[str]:
    """The toolchains that components of a pipeline's models name."""
    for name, model in manifests.models.items():
        if pipeline.models is None or name in pipeline.models:
            yield from (part.toolchain or OWN for part in model.components.values())
