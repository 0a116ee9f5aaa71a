"""Stores by URL. Importing this loads no client of any remote store."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tidemill.errors import UsageError
from tidemill.store.contract import BlobMissing, Entry, Store
from tidemill.store.folder import FolderStore

__all__ = ["BlobMissing", "Entry", "Store", "open_store"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_store(url: str, *, must_exist: bool = False) -> Store:
    """The store at ``url``: ``file:///…`` or the path of a folder. Opening changes nothing.

    Each task opens its own: what a later kind of store holds open need not survive a fork.
    ``must_exist`` is for readers, to whom a mistyped path would look like an empty store. Raises
    UsageError for a URL that this version cannot open.
    """
    root = _folder_of(url)
    if must_exist and not root.is_dir():
        raise UsageError(
            f"there is no store at {url}", hint="check --store or TIDEMILL_STORE, and mounts"
        )
    return FolderStore(root)


def _folder_of(url: str) -> Path:
    scheme = _SCHEME.match(url)
    if scheme is None:
        if not url:
            raise UsageError("the store has no name", hint="give --store a folder")
        return Path(url).expanduser()
    if scheme[1] != "file":
        raise UsageError(
            f"this version of tidemill has no {scheme[1]} store: {url}",
            hint="use a folder: --store PATH or --store file:///PATH",
        )
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise UsageError(
            f"{url} names the host {parts.netloc!r}",
            hint="a folder has three slashes: file:///PATH",
        )
    return Path(unquote(parts.path))
