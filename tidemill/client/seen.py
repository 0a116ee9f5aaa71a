"""Remembers which files of a folder were hashed, so that pulling what is there reads nothing."""

import time
from contextlib import suppress
from pathlib import Path

import msgspec

from tidemill.client.stamps import file_stamp
from tidemill.digest import digest_bytes, digest_file
from tidemill.store.listing import SETTLE_SECONDS
from tidemill.store.scratch import temporary_name

_Files = dict[str, tuple[str, str]]


class SeenFiles:
    """The files of one folder: path below it → digest and stamp.

    ``memory`` is where such memories are kept, None to keep none. It must not be in the folder: a
    copy of that would bring stamps which are not its own.
    """

    def __init__(self, folder: Path, *, memory: Path | None) -> None:
        self._folder = folder.absolute()
        name = digest_bytes(str(self._folder).encode())[:32]
        self._file = memory / f"{name}.msgpack" if memory else None
        self._before: _Files = _load(self._file) if self._file else {}
        self._now: _Files = {}
        self._copied = False

    def holds(self, file: str, *, digest: str, size: int) -> bool:
        """Whether ``file`` is there with these bytes; hashed unless it was. Raises OSError."""
        path = self._folder / file
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        if not path.is_file() or status.st_size != size:
            return False
        stamp = file_stamp(status, now=time.time_ns())
        known = stamp is not None and self._before.get(file) == (digest, stamp)
        if not known and digest_file(path) != digest:
            return False
        if stamp is not None:
            self._now[file] = (digest, stamp)
        return True

    def copied(self, file: str, *, digest: str) -> None:
        """``file`` has just been put there with the bytes of ``digest``. Raises OSError."""
        # ``save`` waits until a later change could not have the same stamp.
        stamp = file_stamp((self._folder / file).stat(), now=time.time_ns() + 10**9)
        if stamp is not None:
            self._now[file] = (digest, stamp)
            self._copied = True

    def save(self) -> None:
        """Keep the memory. Trouble is ignored: it costs time and nothing else."""
        if self._file is None or self._now == self._before:
            return
        if self._copied:
            time.sleep(SETTLE_SECONDS)
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._file.parent / temporary_name()
            temporary.write_bytes(msgspec.msgpack.encode(self._now))
            temporary.replace(self._file)


def _load(file: Path) -> _Files:
    with suppress(OSError, ValueError):  # ValueError: damaged
        return msgspec.msgpack.decode(file.read_bytes(), type=_Files)
    return {}
