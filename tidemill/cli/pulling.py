"""pull: what a downstream suite needs most; no producer's imports."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import click

from tidemill.cli.listing import bound_of, store_of, trust_of
from tidemill.cli.output import (
    Command,
    complain,
    console,
    json_option,
    say,
    say_json,
    workspace_of,
    workspace_options,
)
from tidemill.client import (
    Cache,
    Lock,
    Progress,
    PullReport,
    lock_of,
    open_cache,
    open_store,
    read_lock,
    write_lock,
)
from tidemill.client import pull as pull_artifacts
from tidemill.client.lock import DEFAULT_FILE
from tidemill.client.pull import JOBS
from tidemill.errors import ExitCode, UsageError
from tidemill.records import Artifact
from tidemill.store.contract import Store


def source_options(command: Command) -> Command:
    """Where a command that pulls reads from, what it accepts, and how it shows its work."""
    options = (
        click.option("--channel", default="", help="The channel to pull from."),
        click.option(
            "--release", "release_digest", default="", help="A release instead of a channel."
        ),
        click.option(
            "--require-validated", is_flag=True, help="Refuse what no device has validated."
        ),
        click.option(
            "--allow-missing", is_flag=True, help="Exit 0 even if something is not there."
        ),
        click.option(
            "--locked",
            is_flag=True,
            help=f"Pull what the lock file says [{DEFAULT_FILE}], nothing newer.",
        ),
        click.option("--offline", is_flag=True, help="Ask nobody: pull from the cache."),
        click.option(
            "--any-runtime", is_flag=True, help="Also VMFBs that the IREE here cannot load."
        ),
        click.option(
            "--jobs", type=click.IntRange(1, 64), default=JOBS, help=f"Transfers [{JOBS}]."
        ),
        click.option(
            "--cache",
            "cache_dir",
            type=click.Path(path_type=Path),
            help="The cache (or TIDEMILL_CACHE) [the user's]; TIDEMILL_CACHE_SIZE bounds it"
            " [20 GiB].",
        ),
        click.option("--no-cache", is_flag=True, help="Use no cache."),
        click.option("--no-progress", is_flag=True, help="Plain lines instead of a bar."),
        json_option,
        workspace_options,
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("patterns", nargs=-1, metavar="ADDRESS...")
@click.option("--to", type=click.Path(path_type=Path), required=True, help="The folder to pull to.")
@click.option("--kind", "kinds", multiple=True, help="Only this kind (may be repeated).")
@click.option("--lock", "lock_file", type=click.Path(path_type=Path), help="Write this lock file.")
@source_options
def pull(
    patterns: tuple[str, ...],
    *,
    channel: str,
    release_digest: str,
    to: Path,
    kinds: tuple[str, ...],
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
    """Copy what ADDRESS... names, with the MLIR, parameters and reference it needs, verified.

    What is there is copied. Exit 3 when something else that was asked for is not there. With
    --locked, without ADDRESS: all that the lock file names.
    """
    lock = lock_to_obey(lock_file, locked=locked, named=(channel, release_digest))
    store = store_to_pull(workspace_dir, store_url, lock=lock, offline=offline)
    with open_view(quiet=as_json, plain=no_progress) as view:
        report = pull_artifacts(
            store,
            patterns,
            to=to,
            channel=channel,
            release=release_digest,
            kinds=frozenset(kinds),
            require_validated=require_validated,
            locked=lock,
            cache=cache_to_use(cache_dir, no_cache=no_cache),
            offline=offline,
            any_runtime=any_runtime,
            jobs=jobs,
            trust=None if lock or release_digest else trust_of(workspace_dir, store),
            progress=view.progress,
            start=view.start,
            moved=view.moved,
        )
    complete = allow_missing or not report.refused
    if lock_file and lock is None and complete:
        pulled = (*report.copied, *report.kept)
        made = lock_of(report.resolved, pulled, store=store.url, patterns=patterns, kinds=kinds)
        if write_lock(lock_file, made) and not as_json:
            complain(f"locked: {lock_file}: release {report.resolved.digest[:12]}")
    (_say_pull_json if as_json else _say_pull)(report)
    return ExitCode.GOOD if complete else complain_of(report.refused)


def lock_to_obey(file: Path | None, *, locked: bool, named: tuple[str, str]) -> Lock | None:
    """The lock of ``--locked``; without one, a channel or a release must be ``named``."""
    if locked:
        return read_lock(file or Path(DEFAULT_FILE))
    if all(named) or not any(named):
        raise UsageError("give either --channel or --release")
    return None


def store_to_pull(
    workspace_dir: Path | None, store_url: str | None, *, lock: Lock | None, offline: bool
) -> Store:
    """The store that an option, the environment, a lock file or a workspace names."""
    url = store_url or os.environ.get("TIDEMILL_STORE") or (lock.store if lock else "")
    if not url and not offline:
        return store_of(workspace_dir, None)
    url = url or workspace_of(workspace_dir, None).store_url
    # Whether a remote store is there costs a request, and is seen anyway when it is read.
    is_remote = "://" in url and not url.startswith("file:")
    return open_store(url, must_exist=not offline and not is_remote)


def cache_to_use(folder: Path | None, *, no_cache: bool) -> Cache | None:
    """The cache that the options name; says so when there can be none."""
    if no_cache:
        return None
    cache = open_cache(folder)
    if cache is None:
        complain("no cache: the user's cache folder cannot be written; name one with --cache")
    return cache


class _View:
    """Shows nothing of a pull while it runs; its methods are called from several threads."""

    def progress(self, done: Progress) -> None:
        """A file is done."""

    def start(self, total: int) -> None:
        """So many bytes have to come."""

    def moved(self, number: int) -> None:
        """So many bytes came."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class _Lines(_View):
    """One line for each file, for logs."""

    def progress(self, done: Progress) -> None:
        """The file, and how many there are."""
        word = "copied" if done.copied else "kept"
        complain(f"[{done.files}/{done.files_total}] {word} {done.artifact.file}")


class _Moving(_View):
    """One bar of bytes, for terminals; it is gone when the pull ends."""

    def __init__(self) -> None:
        from rich import progress  # noqa: PLC0415 - nobody else pays for it

        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(binary_units=True),
            progress.TransferSpeedColumn(),
            console=console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("looking", total=None)

    def start(self, total: int) -> None:
        """The bar has its length."""
        self._bar.update(self._task, total=total, description="pulling")

    def moved(self, number: int) -> None:
        """The bar grows."""
        self._bar.advance(self._task, number)

    def progress(self, done: Progress) -> None:
        """The count of files."""
        self._bar.update(self._task, description=f"pulling {done.files}/{done.files_total}")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def open_view(*, quiet: bool, plain: bool) -> _View:
    """What shows a pull: nothing, a line for each file, or a bar on a terminal."""
    if quiet:
        return _View()
    if plain:
        return _Lines()
    screen = console(stderr=True)
    return _Moving() if screen.is_terminal and not screen.is_dumb_terminal else _Lines()


def complain_of(refused: Sequence[Artifact]) -> ExitCode:
    """Say what was asked for and is not there."""
    names = ", ".join(item.file for item in refused)
    complain(
        f"error: {len(refused)} of what was asked for is not there: {names}",
        hint="Give --allow-missing to accept that, or ask for other addresses.",
    )
    return ExitCode.TOOL


def _say_pull_json(report: PullReport) -> None:
    artifacts = {
        "copied": report.copied,
        "kept": report.kept,
        "refused": report.refused,
        "uncached": report.uncached,
    }
    files = {"removed": report.removed, "left_over": report.left_over}
    found = {"release": report.resolved.digest, "folder": str(report.folder)}
    say_json({**found, **artifacts, **files})


def _say_pull(report: PullReport) -> None:
    say(f"{report.resolved.title}: {len(report.copied)} copied, {len(report.kept)} unchanged")
    say_refused(report.refused)
    for item in report.uncached:
        say(f"not cached: {item.file}: the cache has no room for it (see TIDEMILL_CACHE_SIZE)")
    for item in (*report.copied, *report.kept):
        if item.kind == "vmfb" and (bound := bound_of(item.verdict)):
            say(f"note: {item.file} holds {bound} only")
    for file in report.removed:
        say(f"removed: {file}: pulled earlier, and this release does not have it")
    for file in report.left_over:
        say(f"left over: {file}: pulled earlier, and not asked for now")


def say_refused(refused: Sequence[Artifact]) -> None:
    """One line for each file that was asked for and has no bytes."""
    for item in refused:
        say(f"not there: {item.file}: {item.status}: {item.reason}")
