"""Stores by URL. Importing this loads no client of any remote store."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tidemill.errors import UsageError
from tidemill.store.contract import BlobMissing, Entry, Store
from tidemill.store.folder import FolderStore

__all__ = ["BlobMissing", "Entry", "Store", "open_store"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_WEB = frozenset({"http", "https"})


def open_store(url: str, *, must_exist: bool = False) -> Store:
    """The store at ``url``: a folder, ``file://``, ``s3://``, or ``https://`` (read-only).

    Opening changes nothing.

    Each task opens its own: what a later kind of store holds open need not survive a fork.
    ``must_exist`` is for readers, to whom a mistyped path would look like an empty store. Raises
    UsageError for a URL that this version cannot open.
    """
    scheme = _SCHEME.match(url)
    if scheme is not None and scheme[1].lower() in _WEB:
        from tidemill.store.https import HttpsStore  # noqa: PLC0415 - who needs no web loads no ssl

        return HttpsStore(url)
    if url.startswith("s3://"):
        return _open_s3(url, must_exist=must_exist)
    root = _folder_of(url)
    if must_exist and not root.is_dir():
        raise UsageError(
            f"there is no store at {url}", hint="check --store or TIDEMILL_STORE, and mounts"
        )
    return FolderStore(root)


def _open_s3(url: str, *, must_exist: bool) -> Store:
    # boto3 is slow to load, and an extra: a wrong URL is told without it.
    from tidemill.store.s3_address import parse_address  # noqa: PLC0415

    address = parse_address(url)
    try:
        from tidemill.store.s3 import S3Store  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(
            f"a store in S3 needs the Python package {error.name}",
            hint="install it: pip install 'tidemill[s3]'",
        ) from error
    store = S3Store(address.url)
    if must_exist and store.is_empty():
        raise UsageError(
            f"there is no store at {store.url}: nothing lies below that prefix",
            hint="check --store or TIDEMILL_STORE",
        )
    return store


def _folder_of(url: str) -> Path:
    scheme = _SCHEME.match(url)
    if scheme is None:
        if not url:
            raise UsageError("the store has no name", hint="give --store a folder")
        return Path(url).expanduser()
    if scheme[1] != "file":
        raise UsageError(
            f"this version of tidemill has no {scheme[1]} store: {url}",
            hint="use a folder or a web server: --store PATH or --store https://HOST/FOLDER",
        )
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise UsageError(
            f"{url} names the host {parts.netloc!r}",
            hint="a folder has three slashes: file:///PATH",
        )
    return Path(unquote(parts.path))
