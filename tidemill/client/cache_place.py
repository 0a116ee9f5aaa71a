"""Where the cache lies and how big it may grow: what the environment and the platform say."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from tidemill.client.cache import Cache
from tidemill.errors import StoreError, UsageError

FOLDER, SIZE = "TIDEMILL_CACHE", "TIDEMILL_CACHE_SIZE"
DEFAULT_LIMIT = "20 GiB"

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(?:i?B)?|B)?", re.IGNORECASE)
_EXPONENTS = {"K": 1, "M": 2, "G": 3, "T": 4}


def open_cache(folder: Path | None = None) -> Cache | None:
    """The cache in ``folder``, else in $TIDEMILL_CACHE, else in the platform's cache folder.

    None when no folder was named and the platform's cannot be written: a pull needs no cache.
    Raises StoreError when the named one cannot be, UsageError for a size that is none.
    """
    limit = parse_size(os.environ.get(SIZE) or DEFAULT_LIMIT)
    named = folder or (Path(os.environ[FOLDER]) if os.environ.get(FOLDER) else None)
    root = named or default_folder(os.environ, platform=sys.platform)
    if root is None:
        return None
    cache = Cache(root.expanduser().absolute(), limit_bytes=limit)
    try:
        cache.prepare()
    except StoreError:
        if named is None:
            return None
        raise
    return cache


def default_folder(environ: Mapping[str, str], *, platform: str) -> Path | None:
    """The folder that the platform means for caches; None when it does not say."""
    home = environ.get("HOME")
    if platform == "darwin":
        return Path(home) / "Library" / "Caches" / "tidemill" if home else None
    # XDG base directory specification: a path that is not absolute is to be ignored.
    named = environ.get("XDG_CACHE_HOME", "")
    if named.startswith("/"):
        return Path(named) / "tidemill"
    return Path(home) / ".cache" / "tidemill" if home else None


def parse_size(text: str) -> int:
    """Bytes, from ``1073741824``, ``20G`` or ``1.5 GiB``; K, M, G, T are powers of 1024.

    Raises UsageError.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{SIZE}={text!r} is not a size", hint="write it as 20G or 500M")
    return int(float(found[1]) * 1024 ** _EXPONENTS.get((found[2] or "").upper(), 0))
