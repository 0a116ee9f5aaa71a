"""Whether the files that ``file:`` sources declare lie there, with the bytes that are declared.

For ``manifest check`` alone: a run needs the files on the host that fetches them, and elsewhere
what was fetched is in the store. Reads the disk, and changes nothing there.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.digest import digest_file, is_digest
from tidemill.manifest.problems import Location, Problem, known_words, mapping, nearest
from tidemill.manifest.yaml_source import Document
from tidemill.sources import parse_source

#: How many names of a folder are looked at for one that was meant, and how many are told.
_LOOKED_AT, _TOLD = 2000, 8

_Finding = tuple[Location, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    """The folder of a source: as written, and where it is."""

    origin: str
    base: Path


def declared(document: Document, folder: Path) -> list[Problem]:
    """Problems of the files of a manifest that lies in ``folder``."""
    findings: list[_Finding] = []
    for name, raw in mapping(mapping(document.data).get("sources")).items():
        source = mapping(raw)
        if origin := _folder_of(source.get("from")):
            place = _Folder(origin=origin, base=folder / origin)
            findings += _files(mapping(source.get("files")), place, ("sources", name))
    return [document.problem(location, message) for location, message in findings]


def _folder_of(origin: object) -> str:
    """The folder of a ``file:`` source; "" for anything else."""
    try:
        source = parse_source(origin) if isinstance(origin, str) else None
    except ValueError:
        return ""
    return source.name if source and source.scheme == "file" else ""


def _files(files: dict[str, Any], place: _Folder, at: Location) -> Iterator[_Finding]:
    try:
        there = place.base.is_dir()
    except OSError as error:
        yield (*at, "from"), f"file:{place.origin} cannot be read: {error.strerror}"
        return
    if files and not there:
        yield (*at, "from"), _no_folder(place)
        return
    for name, raw in files.items():
        entry, here = mapping(raw), (*at, "files", name)
        inner = entry.get("path")
        if not isinstance(inner, str) or inner.startswith("/") or ".." in inner.split("/"):
            continue  # said where paths are checked
        try:
            yield from _file(inner, entry.get("sha256"), place, here)
        except OSError as error:
            yield (*here, "path"), f"'{inner}' cannot be read: {error.strerror}"
        except (ValueError, RuntimeError) as error:  # a NUL; a loop of links, before Python 3.13
            yield (*here, "path"), f"{inner!r} cannot be read: {error}"


def _no_folder(place: _Folder) -> str:
    base = place.base
    beside = [one.name for one in _listed(base.parent, folders=True)]
    where = f"at {base}" if "/" in place.origin else "beside the manifest"
    return f"there is no folder '{base.name}' {where} {_names(base.name, beside)}".rstrip()


def _file(inner: str, digest: object, place: _Folder, at: Location) -> Iterator[_Finding]:
    path = place.base / inner
    if not path.is_file():
        there = _listed(place.base, folders=False)
        names = _names(inner, [one.relative_to(place.base).as_posix() for one in there])
        yield (*at, "path"), f"there is no file '{inner}' in file:{place.origin} {names}".rstrip()
    elif not path.resolve().is_relative_to(place.base.resolve()):
        yield (*at, "path"), f"'{inner}' is a link that leaves file:{place.origin}"
    elif isinstance(digest, str) and is_digest(digest) and (got := digest_file(path)) != digest:
        yield (
            (*at, "sha256"),
            f"'{inner}' in file:{place.origin} has sha256 {got}: either the file or the manifest"
            " is wrong, look at both",
        )


def _names(name: str, there: list[str]) -> str:
    """What could have been meant; all that is there only where it is little."""
    if 0 < len(there) <= _TOLD:
        return known_words(name, there)
    meant = nearest(name, there)
    return f"(did you mean '{meant}'?)" if meant else ""


def _listed(folder: Path, *, folders: bool) -> list[Path]:
    """The folders in ``folder``, or all files below it, as far as they can be read."""
    try:
        if folders:
            return [one for one in itertools.islice(folder.iterdir(), _LOOKED_AT) if one.is_dir()]
        return [one for one in itertools.islice(folder.rglob("*"), _LOOKED_AT) if one.is_file()]
    except OSError:
        return []
