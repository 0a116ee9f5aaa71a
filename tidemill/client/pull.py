"""Copies the artifacts of a release into a folder, hashing them, so that no file is ever torn.

``tidemill-pull.json`` says what the folder holds. It is taken away before the first file changes
and written after the last, so a folder that has one is complete. It carries no time: the same pull
gives the same bytes.
"""

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from tidemill.client.choose import Resolved, choose, resolve
from tidemill.digest import Digest, digest_file
from tidemill.errors import StoreError
from tidemill.records import FORMAT, Artifact, encode
from tidemill.store.contract import Store
from tidemill.store.layout import blob_name, short
from tidemill.store.scratch import sweep, temporary_name
from tidemill.store.trouble import disk_error

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
class Progress:
    """One artifact is done. Counts are of this whole pull; bytes include files that were kept."""

    artifact: Artifact
    copied: bool
    files: int
    files_total: int
    bytes: int
    bytes_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PullReport:
    """What a pull did. ``refused`` was asked for and has no bytes, for the reason it carries.

    Of the files of an earlier pull into the same folder that this one does not cover, ``removed``
    are those that the release does not have, or has with other bytes: they were stale.
    ``left_over`` were kept: the release has the same bytes, or somebody else changed the file.
    """

    resolved: Resolved
    folder: Path
    copied: tuple[Artifact, ...]
    kept: tuple[Artifact, ...]
    refused: tuple[Artifact, ...]
    left_over: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def copied_bytes(self) -> int:
        """The bytes that were copied."""
        return sum(one.size for one in self.copied)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Others:
    """Files of an earlier pull: not of this release; still of it; changed by somebody else."""

    stale: tuple[str, ...]
    current: tuple[Artifact, ...]
    changed: tuple[str, ...]

    @property
    def left_over(self) -> tuple[str, ...]:
        return tuple(sorted((*self.changed, *(one.file for one in self.current))))


def pull(
    store: Store,
    patterns: Sequence[str],
    *,
    to: Path,
    channel: str = "",
    release: str = "",
    kinds: Collection[str] = (),
    require_validated: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> PullReport:
    """Copy what ``patterns`` pick (see ``choose``) below the folder ``to``.

    Each file appears whole and verified, or not at all; one whose sha256 is right already is kept.
    Nothing is written before all blobs were seen. Unchanged files of an earlier pull that the
    release does not have are removed. Raises as ``choose`` does, and StoreError for trouble.
    """
    resolved = resolve(store, channel=channel, release=release)
    choice = choose(resolved, patterns, kinds=kinds, require_validated=require_validated)
    targets = {_safe_path(one, resolved): one for one in choice.wanted}
    if len(targets) < len(choice.wanted):
        raise StoreError(f"{resolved.title} has two artifacts with the same file")
    _check_blobs(store, choice.wanted)
    try:
        others = _others(to, resolved=resolved, targets=targets)
        kept = _kept(to, targets)
        _begin(to, stale=others.stale, complete=len(kept) == len(targets))
        _copy_all(store, to, targets=targets, kept=kept, progress=progress)
        _write_record(to, _record_of(store, resolved, (*choice.wanted, *others.current)))
    except OSError as error:
        raise disk_error(error, doing="write what is pulled", where=to) from error
    return PullReport(
        resolved=resolved,
        folder=to,
        copied=tuple(one for file, one in targets.items() if file not in kept),
        kept=tuple(one for file, one in targets.items() if file in kept),
        refused=choice.refused,
        left_over=others.left_over,
        removed=others.stale,
    )


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


def _safe_path(artifact: Artifact, resolved: Resolved) -> str:
    if not _is_safe(artifact.file):
        raise StoreError(
            f"{resolved.title} names the file {artifact.file!r}, which may not be written",
            hint="do not use this release; tell those who made it",
        )
    return str(PurePosixPath(artifact.file))


def _check_blobs(store: Store, wanted: Sequence[Artifact]) -> None:
    for one in wanted:
        entry = store.stat(blob_name(one.digest))
        if entry is None or entry.size != one.size:
            found = "is missing" if entry is None else f"has {entry.size} bytes, not {one.size}"
            raise StoreError(
                f"{one.address} {one.kind}: blob {short(one.digest)} {found} in {store.url}",
                hint="run the pipeline that made it again: it is rebuilt; nothing was pulled",
            )


def _kept(to: Path, targets: dict[str, Artifact]) -> set[str]:
    return {file for file, one in targets.items() if _holds(to / file, one)}


def _holds(path: Path, one: Artifact) -> bool:
    return path.is_file() and path.stat().st_size == one.size and digest_file(path) == one.digest


def _others(to: Path, *, resolved: Resolved, targets: dict[str, Artifact]) -> _Others:
    """What an earlier pull left in ``to`` besides ``targets``, judged by the release of this one.

    A record that points out of the folder is not believed.
    """
    earlier = _read_record(to)
    released = {(one.file, one.digest): one for one in resolved.release.artifacts}
    stale, current, changed = [], [], []
    for one in earlier.artifacts if earlier else ():
        file = one.file
        if not _is_safe(file) or str(PurePosixPath(file)) in targets or not (to / file).is_file():
            continue
        if not _holds(to / file, one):
            changed.append(file)
        elif again := released.get((file, one.digest)):
            current.append(again)
        else:
            stale.append(file)
    return _Others(
        stale=tuple(sorted(stale)), current=tuple(current), changed=tuple(sorted(changed))
    )


def _begin(to: Path, *, stale: tuple[str, ...], complete: bool) -> None:
    """Take the record away if anything changes; remove ``stale`` and folders that become empty."""
    if stale or not complete:
        (to / RECORD).unlink(missing_ok=True)
    for file in stale:
        (to / file).unlink(missing_ok=True)
        with suppress(OSError):  # a folder that is not empty stays
            for folder in PurePosixPath(file).parents:
                if folder.parts:
                    (to / folder).rmdir()


def _copy_all(
    store: Store,
    to: Path,
    *,
    targets: dict[str, Artifact],
    kept: set[str],
    progress: Callable[[Progress], None],
) -> None:
    for folder in {(to / file).parent for file in targets}:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
    total, done = sum(one.size for one in targets.values()), 0
    for number, (file, one) in enumerate(targets.items(), start=1):
        if file not in kept:
            _copy(store, one, target=to / file)
        done += one.size
        progress(
            Progress(
                artifact=one,
                copied=file not in kept,
                files=number,
                files_total=len(targets),
                bytes=done,
                bytes_total=total,
            )
        )


def _copy(store: Store, one: Artifact, *, target: Path) -> None:
    try:
        store.fetch_blob(Digest(one.digest), target)
    except StoreError as error:
        message = f"{one.address} {one.kind}: {error.message}"
        raise type(error)(message, hint=error.hint) from error


def _record_of(store: Store, resolved: Resolved, wanted: tuple[Artifact, ...]) -> PullRecord:
    return PullRecord(
        store=store.url,
        channel=resolved.channel,
        sequence=resolved.sequence,
        release=resolved.digest,
        artifacts=wanted,
    )


def _read_record(to: Path) -> PullRecord | None:
    with suppress(FileNotFoundError, ValueError):  # ValueError: damaged, so it tells nothing
        return msgspec.json.decode((to / RECORD).read_bytes(), type=PullRecord)
    return None


def _write_record(to: Path, record: PullRecord) -> None:
    temporary = to / temporary_name()
    try:
        with temporary.open("xb") as stream:
            stream.write(encode(record))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(to / RECORD)
    finally:
        temporary.unlink(missing_ok=True)
