"""What a pull folder holds: ``tidemill-pull.json``, and the files of earlier pulls beside ours.

The record is taken away before the first file changes and written after the last, so a folder that
has one is complete. It carries no time: the same pull gives the same bytes.
"""

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from tidemill.client.choose import Resolved
from tidemill.client.seen import SeenFiles
from tidemill.errors import StoreError
from tidemill.records import FORMAT, Artifact, encode
from tidemill.store.scratch import temporary_name

RECORD = "tidemill-pull.json"


class PullRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder holds: ``tidemill-pull.json``. No channel and sequence 0: pulled by release."""

    store: str
    channel: str
    sequence: int
    release: str
    artifacts: tuple[Artifact, ...]
    format: int = FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """Files of an earlier pull: not of this release; still of it; changed by somebody else.

    ``broken``: the folder no longer holds what its record says.
    """

    stale: tuple[str, ...]
    current: tuple[Artifact, ...]
    changed: tuple[str, ...]
    broken: bool

    @property
    def left_over(self) -> tuple[str, ...]:
        """The files that stay although they are not asked for."""
        return tuple(sorted((*self.changed, *(one.file for one in self.current))))


def safe_path(artifact: Artifact, resolved: Resolved) -> str:
    """The path of an artifact below a folder. Raises StoreError for one that leads elsewhere."""
    if not _is_safe(artifact.file):
        raise StoreError(
            f"{resolved.title} names the file {artifact.file!r}, which may not be written",
            hint="do not use this release; tell those who made it",
        )
    return str(PurePosixPath(artifact.file))


def _is_safe(file: str) -> bool:
    path = PurePosixPath(file)
    return (
        not path.is_absolute()
        and bool(path.parts)
        and ".." not in path.parts
        and "\\" not in file
        and str(path) != RECORD
        and file.isprintable()
    )


def others_in(
    to: Path,
    *,
    resolved: Resolved,
    targets: Mapping[str, Artifact],
    kept: Collection[str],
    seen: SeenFiles,
) -> Others:
    """What an earlier pull left in ``to`` besides ``targets``, judged by the release of this one.

    ``kept`` are the targets that are right already. A record that points out of the folder is not
    believed. Raises OSError.
    """
    earlier = _read_record(to)
    released = {(one.file, one.digest): one for one in resolved.release.artifacts}
    stale, current, changed, broken = [], [], [], False
    for one in earlier.artifacts if earlier else ():
        file = one.file
        if not _is_safe(file):
            continue
        if target := targets.get(str(PurePosixPath(file))):
            broken |= target.digest == one.digest and file not in kept
        elif not (to / file).is_file():
            broken = True
        elif not seen.holds(file, digest=one.digest, size=one.size):
            changed.append(file)
        elif again := released.get((file, one.digest)):
            current.append(again)
        else:
            stale.append(file)
    return Others(
        stale=tuple(sorted(stale)),
        current=tuple(current),
        changed=tuple(sorted(changed)),
        broken=broken or bool(changed),
    )


def take_record_away(to: Path) -> None:
    """Say that the folder is not complete. Raises OSError."""
    (to / RECORD).unlink(missing_ok=True)


def remove(to: Path, stale: tuple[str, ...]) -> None:
    """Remove ``stale`` and folders that become empty. Raises OSError."""
    for file in stale:
        (to / file).unlink(missing_ok=True)
        with suppress(OSError):  # a folder that is not empty stays
            for folder in PurePosixPath(file).parents:
                if folder.parts:
                    (to / folder).rmdir()


def write_record(to: Path, record: PullRecord) -> None:
    """Write the record, unless it is there already. Raises OSError."""
    data = encode(record)
    with suppress(FileNotFoundError):
        if (to / RECORD).read_bytes() == data:
            return
    temporary = to / temporary_name()
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(to / RECORD)
    finally:
        temporary.unlink(missing_ok=True)


def make_folders(folders: set[Path]) -> list[Path]:
    """Make these folders and what is above them; the new ones, deepest first. Raises OSError."""
    made: list[Path] = []
    for folder in sorted(folders):
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent  # noqa: PLW2901 - walks up
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            made.append(path)
    return made[::-1]


def _read_record(to: Path) -> PullRecord | None:
    with suppress(FileNotFoundError, ValueError):  # ValueError: damaged, so it tells nothing
        return msgspec.json.decode((to / RECORD).read_bytes(), type=PullRecord)
    return None
