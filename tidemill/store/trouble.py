"""Turns what the operating system says about a disk into an error that says what to do. Pure."""

import errno
import os
from pathlib import Path

from tidemill.errors import StoreError

_AGAIN = "then run the same command again: what is whole is kept"
_ADVICE = {
    errno.ENOSPC: ("the disk is full", f"free space there or choose another folder; {_AGAIN}"),
    errno.EDQUOT: (
        "the quota is used up",
        f"free space, have the quota raised or choose another folder; {_AGAIN}",
    ),
    errno.EROFS: (
        "the file system is read-only",
        f"mount it for writing or choose another folder; {_AGAIN}",
    ),
    errno.EXDEV: (
        "its folders are on different file systems",
        "keep tmp/ and the rest of a store on one file system",
    ),
}
_DENIED = frozenset({errno.EACCES, errno.EPERM})


def disk_error(error: OSError, *, doing: str, where: Path) -> StoreError:
    """``error`` as a StoreError: what ``doing`` names was tried at the folder or file ``where``."""
    code = error.errno or 0
    if code in _DENIED:
        return StoreError(
            f"{where}: cannot {doing}: user {os.geteuid()} is not permitted to",
            hint=f"give that user the permission, or choose another folder; {_AGAIN}",
        )
    said = (error.strerror or str(error)).lower()
    why, hint = _ADVICE.get(code, (said, f"see whether that disk is sound and mounted; {_AGAIN}"))
    return StoreError(f"{where}: cannot {doing}: {why}", hint=hint)
