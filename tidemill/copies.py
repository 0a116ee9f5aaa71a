"""Keeps copies of documents of a store that is far away, so that a quiet night reads none again.

A copy is known by the document's name and stamp, so it is never an old one. Who takes one checks
its seal, as that of what the store gives. Losing copies costs time and nothing else, and several
processes may keep them together.
"""

import contextlib
import time
from pathlib import Path

from tidemill.digest import digest_bytes
from tidemill.store.scratch import sweep, temporary_name

#: After this long a copy goes, used or not; the document is then read once more.
KEPT_SECONDS = 90 * 24 * 3600.0


class Copies:
    """Copies of the documents of the store at ``url`` in a local folder, which need not exist."""

    def __init__(self, folder: Path, *, url: str) -> None:
        self._folder = folder
        self._url = url
        self._added = False

    def get(self, name: str, *, stamp: str) -> bytes | None:
        """The bytes that the document had under that stamp, or None when there is no copy."""
        try:
            return self._file(name, stamp).read_bytes()
        except OSError:
            return None

    def put(self, name: str, *, stamp: str, data: bytes) -> None:
        """Keep a copy. Trouble is ignored: it only costs time."""
        temporary = self._folder / temporary_name()
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            temporary.replace(self._file(name, stamp))
            self._added = True

    def tidy(self) -> None:
        """Remove what is old, if this process has added anything."""
        if not self._added:
            return
        self._added = False
        sweep(self._folder)
        old = time.time() - KEPT_SECONDS
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < old:
                    path.unlink()

    def _file(self, name: str, stamp: str) -> Path:
        return self._folder / digest_bytes("\n".join((self._url, name, stamp)).encode())
