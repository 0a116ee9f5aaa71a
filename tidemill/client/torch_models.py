"""Writes a release as iree-test-suites' ``torch_models`` reads it: modules, tests and files.

::

    DIR/modules/<address>.json          flags and MLIR
    DIR/tests/<address>/*.json          quality, benchmark and compstat tests
    DIR/artifacts/modules/<address>/    the published VMFB, where the suite looks for cached ones
    DIR/artifacts/files/                what a pull brings, and references in the type of results

The folder appears whole, by a rename, or not at all, and may be moved. How a module was made is
read from records (``made_by``), and thresholds from verdicts (``suite_json``): see
docs/adr/0015-torch-models-export.md.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.client import suite_json as form
from tidemill.client.cache import Cache
from tidemill.client.choose import Resolved
from tidemill.client.fetch import Fetcher
from tidemill.client.lock import Lock
from tidemill.client.pull import pull, reader_of
from tidemill.client.suite_writer import Exported, Writer
from tidemill.errors import UsageError
from tidemill.records import Artifact
from tidemill.store.contract import Store
from tidemill.store.scratch import leftovers, temporary_name
from tidemill.store.trouble import disk_error

#: Where the files lie in the folder; what is uploaded for a base URL.
FILES = f"artifacts/{form.FOLDER}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What was written. ``refused`` was asked for and has no bytes, for the reason it carries.

    ``command`` runs the tests, in a checkout of the suite.
    """

    resolved: Resolved
    folder: Path
    modules: tuple[Exported, ...]
    refused: tuple[Artifact, ...]
    command: tuple[str, ...]


def export(
    store: Store,
    patterns: Sequence[str],
    *,
    to: Path,
    base_url: str = "",
    locked: Lock | None = None,
    cache: Cache | None = None,
    offline: bool = False,
    **options: Any,
) -> Export:
    """Write what ``patterns`` pick to the folder ``to``, which must be new or empty.

    Tests name files relatively or, for who uploads DIR/artifacts/files there, below ``base_url``.
    The ``options`` are those of ``pull``, and so is what is refused and raised. Raises besides
    UsageError for a URL that the suite cannot use, a folder that holds something, a lock of some
    kinds only and when no VMFB is picked, and StoreError for a record that is gone or damaged.
    """
    if base_url:
        form.check_base_url(base_url)
    if locked and locked.kinds:
        raise UsageError(
            f"the lock is for {', '.join(locked.kinds)} only, and a test needs every kind",
            hint="write it anew: pull without --kind",
        )
    to = to.absolute()
    stage = to.with_name(temporary_name())
    try:
        _make_room(to)
        try:
            files = stage / FILES
            report = pull(
                store,
                patterns,
                to=files,
                locked=locked,
                cache=cache,
                offline=offline,
                remember=False,
                **options,
            )
            fetcher = Fetcher(store, cache=cache, offline=offline)
            writer = Writer(stage, files, report.resolved, base_url=base_url, fetcher=fetcher)
            reader = reader_of(store, cache=cache, offline=offline)
            modules = writer.write(report.copied, reader)
            stage.replace(to)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    except OSError as error:
        raise disk_error(error, doing="write the tests", where=to) from error
    return Export(
        resolved=report.resolved,
        folder=to,
        modules=modules,
        refused=report.refused,
        command=_command(to, cached=not base_url),
    )


def _make_room(to: Path) -> None:
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UsageError(f"{to} is there already", hint="name a new folder, or remove that one")
    to.parent.mkdir(parents=True, exist_ok=True)
    for left in leftovers(to.parent):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)


def _command(to: Path, *, cached: bool) -> tuple[str, ...]:
    return (
        "pytest",
        "torch_models",
        f"--test-file-directory={to / 'tests'}",
        f"--module-directory={to / 'modules'}",
        f"--external-file-directory={to}",
        f"--artifact-directory={to / 'artifacts'}",
        f"--job-summary-path={to}",
        *(["--cache-modules"] if cached else []),
    )
