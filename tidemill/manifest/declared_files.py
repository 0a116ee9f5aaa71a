"""Whether the files that ``file:`` sources declare lie there, with the bytes that are declared.

Reads the disk, and changes nothing there. The fetch of a source checks all of it again.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.digest import digest_file, is_digest
from tidemill.manifest.problems import Location, Problem, known_words
from tidemill.manifest.yaml_source import Document
from tidemill.sources import parse_source

#: Larger files are hashed only where the caller asks for it: each command reads all manifests.
LARGE = 64 << 20
#: How many names of a folder are looked at for one that was meant, and how many are told.
_LOOKED_AT, _TOLD = 2000, 8

_Finding = tuple[Location, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    """The folder of a source: as written, where it is, and up to what size files are hashed."""

    origin: str
    base: Path
    limit: float


def declared(
    document: Document, folder: Path, *, workspace: Path, everything: bool = False
) -> list[Problem]:
    """Problems of the files of a manifest that lies in ``folder``.

    Without ``everything``, large files are not hashed, and folders outside the ``workspace`` are
    left to the fetch: they may be on another machine, and what was fetched there in the store.
    """
    findings: list[_Finding] = []
    for name, raw in _mapping(_mapping(document.data).get("sources")).items():
        source = _mapping(raw)
        if not (origin := _folder_of(source.get("from"))):
            continue
        base = folder / origin
        if everything or base.resolve().is_relative_to(workspace.resolve()):
            place = _Folder(origin=origin, base=base, limit=math.inf if everything else LARGE)
            findings += _files(_mapping(source.get("files")), place, ("sources", name))
    return [document.problem(location, message) for location, message in findings]


def _folder_of(origin: object) -> str:
    """The folder of a ``file:`` source; "" for anything else."""
    try:
        source = parse_source(origin) if isinstance(origin, str) else None
    except ValueError:
        return ""
    return source.name if source and source.scheme == "file" else ""


def _files(files: dict[str, Any], place: _Folder, at: Location) -> Iterator[_Finding]:
    base = place.base
    if files and not base.is_dir():
        beside = [one.name for one in _listed(base.parent) if one.is_dir()]
        where = f"at {base}" if "/" in place.origin else "beside the manifest"
        words = f"there is no folder '{base.name}' {where} {_names(base.name, beside)}"
        yield (*at, "from"), words.rstrip()
        return
    for name, raw in files.items():
        entry, here = _mapping(raw), (*at, "files", name)
        inner = entry.get("path")
        if not isinstance(inner, str) or inner.startswith("/") or ".." in inner.split("/"):
            continue  # said where paths are checked
        try:
            yield from _file(inner, entry.get("sha256"), place, here)
        except OSError as error:
            yield (*here, "path"), f"'{inner}' cannot be read: {error.strerror}"
        except (ValueError, RuntimeError) as error:  # a NUL; a loop of links, before Python 3.13
            yield (*here, "path"), f"{inner!r} cannot be read: {error}"


def _file(inner: str, digest: object, place: _Folder, at: Location) -> Iterator[_Finding]:
    path = place.base / inner
    if not path.is_file():
        there = [one for one in _listed(place.base, deep=True) if one.is_file()]
        names = _names(inner, [one.relative_to(place.base).as_posix() for one in there])
        yield (*at, "path"), f"there is no file '{inner}' in file:{place.origin} {names}".rstrip()
    elif not path.resolve().is_relative_to(place.base.resolve()):
        yield (*at, "path"), f"'{inner}' is a link that leaves file:{place.origin}"
    elif (
        isinstance(digest, str)
        and is_digest(digest)
        and path.stat().st_size <= place.limit
        and (got := digest_file(path)) != digest
    ):
        yield (
            (*at, "sha256"),
            f"'{inner}' in file:{place.origin} has sha256 {got}: either the file or the manifest"
            " is wrong, look at both",
        )


def _names(name: str, there: list[str]) -> str:
    """What could have been meant; all that is there only where it is little."""
    words = known_words(name, there)
    if 0 < len(there) <= _TOLD:
        return words
    meant, _, _ = words.partition("? known:")
    return f"{meant}?)" if meant != words else ""


def _listed(folder: Path, *, deep: bool = False) -> list[Path]:
    try:
        return list(itertools.islice(folder.rglob("*") if deep else folder.iterdir(), _LOOKED_AT))
    except OSError:
        return []


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
