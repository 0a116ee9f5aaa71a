"""What a run leaves for people and for CI: JSON, an HTML page, a Markdown summary, JUnit XML.

All are drawn from one RunReport. Importing this package loads neither rich nor jinja2.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tidemill.errors import StoreError
from tidemill.records import RunReport, encode


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPaths:
    """The files that ``write_reports`` made."""

    json: Path
    html: Path
    summary: Path
    junit: Path


def write_reports(report: RunReport, folder: Path) -> ReportPaths:
    """Write report.json, index.html, summary.md and junit.xml into ``folder``; replace older ones.

    Each file is whole or as it was before: it is drawn first, written beside and renamed. Raises
    StoreError when the disk refuses.
    """
    from tidemill.report.html import page  # noqa: PLC0415 - jinja2 is slow to import
    from tidemill.report.junit import junit_xml  # noqa: PLC0415
    from tidemill.report.markdown import job_summary  # noqa: PLC0415

    paths = ReportPaths(
        json=folder / "report.json",
        html=folder / "index.html",
        summary=folder / "summary.md",
        junit=folder / "junit.xml",
    )
    drawn = (
        (paths.json, encode(report)),
        (paths.html, page(report).encode()),
        (paths.summary, job_summary(report).encode()),
        (paths.junit, junit_xml(report)),
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, data in drawn:
            _replace(path, data)
    except OSError as error:
        raise StoreError(
            f"the reports cannot be written to {folder}: {error.strerror or error}",
            hint="free space there or make the folder writable, then run again",
        ) from error
    return paths


def _replace(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` in one step, readable by everybody. Raises OSError."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files that only the owner reads; a report is for everybody that may see
        # the folder.
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
