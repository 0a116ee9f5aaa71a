"""Copies an open file to a new one: shared blocks where the file system can, else in the kernel."""

import errno
import os
from pathlib import Path
from typing import BinaryIO

from tidemill.digest import CHUNK_BYTES
from tidemill.store.scratch import temporary_name

_AT_ONCE_BYTES = 1 << 28
#: What kernels and file systems answer that cannot copy between these two files.
_UNABLE = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})


def copy_to(source: BinaryIO, target: Path) -> None:
    """Make ``target`` a copy of ``source``, whole, by a rename. Raises OSError.

    A copy and no link: people may edit what they have pulled.
    """
    temporary = target.with_name(temporary_name())
    os.lseek(source.fileno(), 0, os.SEEK_SET)
    try:
        with temporary.open("xb") as stream:
            _copy_in_kernel(source.fileno(), stream.fileno())
            # Some file systems say that they are done before they are.
            while chunk := os.read(source.fileno(), CHUNK_BYTES):
                stream.write(chunk)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _copy_in_kernel(source: int, target: int) -> None:
    """Copy as much as the kernel will, from where both files stand."""
    if not hasattr(os, "copy_file_range"):
        return
    try:
        while os.copy_file_range(source, target, _AT_ONCE_BYTES):
            pass
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
