"""The lock of a toolchain: the version of every package, and the sha256 of every accepted file.

The file is in pip's requirements format with ``--hash``, so pip itself can install it without us.
Parsing is pure and reports every problem of the file at once. Comments and the order of lines are
not part of the identity: neither changes what is installed. One comment is read nevertheless,
``# taken without its requirements: NAME``, which says whose complaints are known.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from tidemill.digest import Digest, digest_json, is_digest
from tidemill.errors import ManifestError, UsageError

_PIN = re.compile(r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==(?P<version>\S+)")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.!+_-]*")
_HASH = "--hash=sha256:"
#: How a lock marks a package that is there although its own requirements say otherwise.
ALONE_MARK = "taken without its requirements:"
_ALONE = re.compile(rf"^#\s*{re.escape(ALONE_MARK)}\s*(\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One package: its version without a local part, and the sha256 of each accepted file."""

    version: str
    hashes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A parsed lock. ``pins`` is keyed by normalised package name; ``digest`` covers all of it.

    ``alone`` are the packages whose own requirements are not what was resolved.
    """

    name: str
    digest: Digest
    pins: Mapping[str, Pin] = field(hash=False)
    alone: frozenset[str] = frozenset()

    def version(self, package: str) -> str:
        """The pinned version of ``package``. Raises UsageError when there is none."""
        pin = self.pins.get(normalise(package))
        if pin is None:
            raise UsageError(
                f"toolchain {self.name} pins no package {normalise(package)}",
                hint=f"add it to toolchains/{self.name}.in; tidemill toolchain pin {self.name}",
            )
        return pin.version


def normalise(name: str) -> str:
    """A package name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_lock(text: str, *, name: str, file: str) -> Lock:
    """Read a lock. ``file`` is how messages call it. Raises ManifestError listing every problem."""
    pins: dict[str, Pin] = {}
    problems: list[str] = []
    for number, line in _logical_lines(text):
        where = f"{file}:{number}"
        package, pin, wrong = _parse_line(line)
        problems += [f"{where}: {problem}" for problem in wrong]
        if pin is None:
            continue
        if package in pins:
            problems.append(f"{where}: {package} is pinned twice")
        pins.setdefault(package, pin)
    if not pins and not problems:
        problems.append(f"{file}: pins no package")
    alone = frozenset(normalise(package) for package in _ALONE.findall(text))
    for package in sorted(alone - pins.keys()):
        problems.append(f"{file}: says that {package} is {ALONE_MARK[:-1]}, but does not pin it")
    if problems:
        raise ManifestError(
            "\n".join(problems), hint=f"make it anew: tidemill toolchain pin {name}"
        )
    return Lock(name=name, digest=_digest(pins), pins=MappingProxyType(pins), alone=alone)


def read_lock(path: Path) -> Lock:
    """Read ``toolchains/<name>.lock``. Raises UsageError if absent, ManifestError if wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        known = sorted(lock.stem for lock in path.parent.glob("*.lock"))
        raise UsageError(
            f"no toolchain {path.stem} in {path.parent}",
            hint=f"known: {', '.join(known)}"
            if known
            else "there is none; write a .in file, then pin it",
        ) from error
    return parse_lock(text, name=path.stem, file=f"{path.parent.name}/{path.name}")


def _digest(pins: Mapping[str, Pin]) -> Digest:
    return digest_json(
        {package: [pin.version, sorted(pin.hashes)] for package, pin in pins.items()}
    )


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with continuations joined and comments gone, with the number they begin at."""
    start, parts = 0, []
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        start = start or number
        parts.append(line.removesuffix("\\").strip())
        if line.endswith("\\"):
            continue
        if joined := " ".join(part for part in parts if part):
            yield start, joined
        start, parts = 0, []
    if joined := " ".join(part for part in parts if part):
        yield start, joined


def _parse_line(line: str) -> tuple[str, Pin | None, list[str]]:
    """One requirement as (package, pin, problems); the pin is None when there is a problem."""
    requirement, *options = line.split()
    match = _PIN.fullmatch(requirement)
    if match is None or not _VERSION.fullmatch(match["version"]):
        return "", None, [f"expected name==version, found {requirement!r}"]
    package, version = normalise(match["name"]), match["version"]
    problems = []
    if "+" in version:
        problems.append(
            f"{package}: leave out the local part of {version}; the hashes tell builds apart"
        )
    hashes = []
    for option in options:
        digest = option.removeprefix(_HASH)
        if option == digest or not is_digest(digest):
            problems.append(f"{package}: expected {_HASH}<64 hex digits>, found {option!r}")
        else:
            hashes.append(digest)
    if not options:
        problems.append(f"{package}: has no --hash")
    if problems:
        return package, None, problems
    return package, Pin(version=version, hashes=tuple(hashes)), []
