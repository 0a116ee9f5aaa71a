"""Transfers that were cut, kept so that a later pull goes on from where they stopped.

While a process fills a part, the file carries that process's name, so that nobody else writes to
it; one that stops calls it ``<sha256>.part``. Taking such a file is a rename, which one taker wins.
Parts of processes that were killed are found by their names and taken like the others.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

from tidemill.digest import is_digest, read_chunks
from tidemill.store.scratch import leftovers, temporary_name


class Part:
    """A file that this process fills. What is there already is hashed once, on opening."""

    def __init__(self, path: Path, *, rest: Path) -> None:
        self.path = path
        self._rest = rest
        self._stream = path.open("r+b")
        self._hasher = hashlib.sha256()
        self.size = 0
        for chunk in read_chunks(self._stream):
            self._took(chunk)

    def write(self, chunk: bytes) -> None:
        """Append ``chunk``. Raises OSError."""
        self._stream.write(chunk)
        self._stream.flush()  # so that who is killed leaves all that came
        self._took(chunk)

    def is_right(self, digest: str) -> bool:
        """Whether the bytes so far are the whole blob; they are in the file then."""
        return self._hasher.hexdigest() == digest

    def close(self) -> None:
        """Leave the file to the caller."""
        self._stream.close()

    def keep(self) -> None:
        """Leave what there is for whoever wants the rest."""
        with suppress(OSError):  # a full disk: then it is not kept
            self._stream.close()
        with suppress(OSError):
            if self.size:
                self.path.replace(self._rest)
            else:
                self.path.unlink()

    def drop(self) -> None:
        """Throw it away: its bytes are wrong."""
        self._stream.close()
        self.path.unlink(missing_ok=True)

    def _took(self, chunk: bytes) -> None:
        self._hasher.update(chunk)
        self.size += len(chunk)


def new_name(folder: Path, digest: str) -> Path:
    """A path in ``folder`` that only this call has; it tells of its process and of its blob."""
    return folder / f"{temporary_name()}-{digest}"


def take(folder: Path, digest: str) -> Part:
    """The part of a blob that is in ``folder``, or an empty one. Raises OSError."""
    path, rest = new_name(folder, digest), folder / f"{digest}.part"
    try:
        rest.rename(path)
    except FileNotFoundError:
        path.touch(exist_ok=False)
    return Part(path, rest=rest)


def recover(folder: Path) -> None:
    """Give the parts of processes that are gone to whoever wants them."""
    for path in leftovers(folder):
        digest = path.name.rpartition("-")[2]
        with suppress(OSError):  # somebody else was quicker
            if is_digest(digest) and not (folder / f"{digest}.part").exists():
                path.rename(folder / f"{digest}.part")
            else:
                path.unlink()
