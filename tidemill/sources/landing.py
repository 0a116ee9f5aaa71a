"""Bytes on their way in: named, hashed while they are copied, and kept aside until all are right.

A file that does not have its declared digest is removed at once. Nothing here reaches ``out/``;
``publish`` moves the files there when every one of them has passed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from tidemill.digest import copy_hashing, is_digest
from tidemill.errors import FailureClass, WorkError

DIGEST_HINT = (
    "either upstream changed the bytes or the manifest is wrong: look at both; "
    "never edit the digest without looking"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One declared file: its ``name`` below out/, its ``path`` in the source, its sha256."""

    name: str
    path: str
    digest: str


def fetch_error(message: str, *, hint: str) -> WorkError:
    """A failure that the author of the manifest, or the owner of a token, must act on."""
    return WorkError(FailureClass.FETCH, message, hint=hint)


def infrastructure_error(message: str, *, hint: str) -> WorkError:
    """A failure of the network, of a server or of the disk: trying again may help."""
    return WorkError(FailureClass.INFRASTRUCTURE, message, hint=hint)


def host_error(message: str, *, hint: str) -> WorkError:
    """A failure that whoever set this machine up must act on."""
    return WorkError(FailureClass.HOST, message, hint=hint)


def mismatch(what: str, *, expected: str, got: str) -> WorkError:
    """The one message for bytes that are not those that were declared."""
    # Each digest in a line of its own, so that no report cuts it: people copy it from there.
    return fetch_error(
        f"{what}: another sha256 than declared\nexpected {expected}\ngot      {got}",
        hint=DIGEST_HINT,
    )


def wanted_files(
    files: Mapping[str, Mapping[str, str]], *, pinned: bool = False
) -> tuple[Wanted, ...]:
    """The declared files in order of name.

    A digest may be "" where the source's version has ``pinned`` the bytes. Raises WorkError when
    there are none, a path is unsafe, or a digest is not one.
    """
    if not files:
        raise fetch_error("no files are declared", hint="declare each file with its sha256")
    wanted = tuple(
        Wanted(name=name, path=entry["path"], digest=entry["sha256"])
        for name, entry in sorted(files.items())
    )
    for file in wanted:
        for path in (file.name, file.path):
            if not is_inner_path(path):
                raise fetch_error(
                    f"file {file.name}: {path!r} leaves its folder or is not a plain path",
                    hint="use a relative path with / between its parts, without . and ..",
                )
        if not is_digest(file.digest) and not (pinned and file.digest == ""):
            raise fetch_error(
                f"file {file.name}: {file.digest!r} is not a sha256",
                hint="expected 64 lower-case hex digits",
            )
    return wanted


def is_inner_path(path: str) -> bool:
    """Whether ``path`` is relative, already normal, and names something below its folder."""
    parts = PurePosixPath(path).parts
    return (
        bool(parts)
        and not path.startswith("/")
        and ".." not in parts
        and not any(c in "\\\0" for c in path)
        and "/".join(parts) == path
    )


def land(stream: IO[bytes], wanted: Wanted, *, folder: Path) -> int:
    """Copy ``stream`` to ``folder``/name while hashing; return the size.

    Raises WorkError, and leaves no file, when the digest is not the declared one.
    """
    target = folder / wanted.name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("xb") as sink:
            got, size = copy_hashing(cast("BinaryIO", stream), sink)
        if got != wanted.digest:
            raise mismatch(f"file {wanted.name}", expected=wanted.digest, got=got)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    say(f"{wanted.name}: {size} bytes, sha256 {got}")
    return size


def publish(wanted: Iterable[Wanted], *, folder: Path, out: Path) -> None:
    """Move every landed file below ``out``. Raises OSError."""
    for file in wanted:
        target = out / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / file.name).rename(target)


def say(line: str) -> None:
    """One line for the log. Flushed, so that a killed fetch shows how far it came."""
    print(line, flush=True)  # noqa: T201  the standard output of a step's child is its log
