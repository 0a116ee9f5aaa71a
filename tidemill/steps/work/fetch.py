"""Fetch: the declared files of one source, each with its declared digest, and nothing else.

Runs under the orchestrator's own interpreter, with the network. Either every file is right and
whole and lies in ``out/``, or ``out/`` stays empty and a WorkError says who must act.
"""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tidemill.digest import is_digest
from tidemill.sources import ARCHIVED, Source, archives, folder, hub, npm, parse_source, pypi
from tidemill.sources.inspect import check_file
from tidemill.sources.landing import (
    Wanted,
    fetch_error,
    infrastructure_error,
    publish,
    say,
    wanted_files,
)
from tidemill.sources.retry import Patience
from tidemill.steps.work.protocol import OUT, Made, Request, Response

LANDING = Path("landing")
ARCHIVE = Path("archive")


def run(request: Request, *, patience: Patience = Patience()) -> Response:  # noqa: B008  frozen
    """Fetch what ``request.fields`` declares into the work folder's ``out/``.

    Fields: ``from`` (see tidemill.sources), ``files`` (name → path and sha256, which ``hf:`` may
    leave empty: the commit pins the bytes and the server names their sha256), ``sha256`` of the
    archive for ``pypi:`` and ``npm:``, ``base`` for a relative ``file:``, and ``pickle``, the
    reason why pickle-based files are allowed. Facts: ``bytes`` in all files, and ``package``.
    """
    fields = request.fields
    try:
        source = parse_source(fields["from"])
    except ValueError as error:
        raise fetch_error(str(error), hint="correct `from` in the manifest") from error
    wanted = wanted_files(fields["files"], pinned=source.scheme == "hf")
    say(f"fetching {len(wanted)} files of {source.text}")
    LANDING.mkdir()
    with full_disk_named():
        total = _bring(request, source, wanted=wanted, patience=patience)
        for file in wanted:
            check_file(LANDING / file.name, name=file.name, pickle_reason=fields.get("pickle", ""))
        publish(wanted, folder=LANDING, out=Path(OUT))
    say(f"fetched {total} bytes")
    return Response(
        made=tuple(Made(name=file.name, kind="source") for file in wanted),
        facts={"bytes": total, "package": source.label},
    )


def _bring(
    request: Request, source: Source, *, wanted: Sequence[Wanted], patience: Patience
) -> int:
    """Land every wanted file; return their total size."""
    digest = request.fields.get("sha256", "")
    if source.scheme in ARCHIVED and not is_digest(digest):
        raise fetch_error(
            f"archive {source.label}: {digest!r} is not a sha256",
            hint="declare the archive's sha256",
        )
    match source.scheme:
        case "pypi":
            wheel = pypi.download(source, digest=digest, folder=ARCHIVE)
            return archives.unpack_wheel(wheel, wanted, folder=LANDING)
        case "npm":
            tarball = npm.download(source, digest=digest, folder=ARCHIVE)
            return archives.unpack_tarball(tarball, wanted, folder=LANDING)
        case "hf":
            return hub.download(source, wanted, folder=LANDING, patience=patience)
        case "file":
            base = request.fields.get("base", "")
            return folder.copy_files(source, wanted, base=base, folder=LANDING)
    raise fetch_error(
        f"{source.text}: there is nothing to fetch",
        hint="synthetic weights are made by the steps that use them",
    )


@contextmanager
def full_disk_named() -> Iterator[None]:
    """Turn a full disk (or quota) into a WorkError of class infrastructure."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise infrastructure_error(
            f"the disk is full: {error}", hint="make room on the work folder's disk, run again"
        ) from error
