"""Stamps: equal ones mean that a file which was hashed need not be hashed again.

A stamp holds the boot of the machine. Nothing here is flushed to disk, so after a power failure a
file may have its size and its times, but not its bytes: what was seen before a boot is hashed anew.
"""

import os
from functools import lru_cache
from pathlib import Path

from tidemill.store.listing import stamp_of

_SECOND_NS = 10**9


def content_stamp(status: os.stat_result) -> str:
    """The stamp of a blob in the cache: size, time of modification, inode.

    Not the change time, which a hard link and a touch change, too. Only a program that sets the
    time of modification back deceives it, and the cache holds nothing that is ever edited.
    """
    return f"{_boot()}-{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


def file_stamp(status: os.stat_result, *, now: int) -> str | None:
    """The stamp of a pulled file, which people may edit: size, change time, inode.

    None when it changed too shortly before ``now`` (ns), and on a file system that counts whole
    seconds: a later change could then look the same.
    """
    stamp = stamp_of(status, now=now)
    if stamp is None or status.st_ctime_ns % _SECOND_NS == 0:
        return None
    return f"{_boot()}-{stamp}"


@lru_cache(maxsize=1)
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
