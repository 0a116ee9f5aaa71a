"""torch-models: a release as the tests of iree-test-suites; no producer's imports."""

import shlex
from pathlib import Path

import click

from tidemill.cli.listing import trust_of
from tidemill.cli.output import say, say_json
from tidemill.cli.pulling import (
    cache_to_use,
    complain_of,
    lock_to_obey,
    open_view,
    say_refused,
    source_options,
    store_to_pull,
)
from tidemill.client.torch_models import FILES, Export, export
from tidemill.errors import ExitCode


@click.command()
@click.argument("patterns", nargs=-1, metavar="ADDRESS...")
@click.option("--to", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option(
    "--base-url",
    default="",
    metavar="URL",
    help="Name files below this URL (https://ACCOUNT.blob.core.windows.net/…), not relatively;"
    f" upload DIR/{FILES} there.",
)
@click.option(
    "--lock", "lock_file", type=click.Path(path_type=Path), help="The lock file of --locked."
)
@source_options
def torch_models(
    patterns: tuple[str, ...],
    *,
    channel: str,
    release_digest: str,
    to: Path,
    base_url: str,
    require_validated: bool,
    allow_missing: bool,
    lock_file: Path | None,
    locked: bool,
    offline: bool,
    any_runtime: bool,
    jobs: int,
    cache_dir: Path | None,
    no_cache: bool,
    no_progress: bool,
    as_json: bool,
    workspace_dir: Path | None,
    store_url: str | None,
) -> int:
    """Write the VMFBs that ADDRESS... names as modules and tests of iree-test-suites torch_models.

    DIR, the folder of --to, gets all that the suite's own runner needs, and may be moved. What is
    there is written. Exit 3 when something else that was asked for is not there.
    """
    lock = lock_to_obey(lock_file, locked=locked, named=(channel, release_digest))
    store = store_to_pull(workspace_dir, store_url, lock=lock, offline=offline)
    with open_view(quiet=as_json, plain=no_progress) as view:
        done = export(
            store,
            patterns,
            to=to,
            base_url=base_url,
            cache=cache_to_use(cache_dir, no_cache=no_cache),
            offline=offline,
            channel=channel,
            release=release_digest,
            require_validated=require_validated,
            locked=lock,
            any_runtime=any_runtime,
            jobs=jobs,
            trust=None if lock or release_digest else trust_of(workspace_dir, store),
            progress=view.progress,
            start=view.start,
            moved=view.moved,
        )
    (_say_json if as_json else _say)(done, base_url)
    return ExitCode.GOOD if allow_missing or not done.refused else complain_of(done.refused)


def _say_json(done: Export, base_url: str) -> None:
    found = {"release": done.resolved.digest, "folder": str(done.folder), "base_url": base_url}
    say_json({**found, "modules": done.modules, "refused": done.refused, "command": done.command})


def _say(done: Export, base_url: str) -> None:
    tests = sum(len(one.tests) for one in done.modules)
    say(f"{done.resolved.title}: {len(done.modules)} modules and {tests} tests in {done.folder}")
    for one in done.modules:
        for note in one.notes:
            say(f"{one.address}: {note}")
    say_refused(done.refused)
    say("In a checkout of iree-test-suites, with the tools of IREE in PATH:")
    say(f"  {shlex.join(done.command)}")
    if base_url:
        say(f"It compiles the MLIR itself. Upload {done.folder / FILES} to {base_url} first.")
        say("With --cache-modules it tests the published VMFB itself, and compiles nothing.")
    else:
        say("--cache-modules makes it test the published VMFB itself; without, it can do nothing.")
