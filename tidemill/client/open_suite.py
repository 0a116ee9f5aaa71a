"""Opens a suite: finds its store, cache and release; the workers of one run agree on the last."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from tidemill.client.cache import Cache
from tidemill.client.cache_place import DEFAULT_LIMIT, open_cache, parse_size
from tidemill.client.choose import Resolved, resolve
from tidemill.client.lock import Lock, read_lock, resolve_locked
from tidemill.client.remember import RememberingStore
from tidemill.client.suite import Suite
from tidemill.client.trusting import open_trust
from tidemill.errors import UsageError
from tidemill.store import open_store
from tidemill.store.contract import Store
from tidemill.store.scratch import temporary_name


class _Agreed(msgspec.Struct, frozen=True):
    store: str
    channel: str
    sequence: int
    release: str


def open_suite(
    *,
    store: str,
    channel: str,
    lock_file: Path | None,
    offline: bool,
    any_runtime: bool,
    scratch: Path,
    agreement: Path | None,
    said: Callable[[str], None],
) -> Suite:
    """The suite of a channel or of a lock file. ``store`` may be "", then the environment counts.

    ``scratch`` is where the cache lies when the user's cannot be written. All who give the same
    file ``agreement`` get the release of the first. Raises UsageError and StoreError.
    """
    lock = read_lock(lock_file) if lock_file else None
    opened = _store(store, lock)
    cache = open_cache() or Cache(scratch, limit_bytes=parse_size(DEFAULT_LIMIT))
    reader = RememberingStore(opened, cache.root / "documents", offline=offline)

    def look() -> Resolved:
        return resolve(reader, channel=channel, trust=open_trust(said))

    if lock is not None:
        resolved = resolve_locked(reader, lock, channel=channel, release="")
    elif not channel:
        raise UsageError(
            "no channel is named", hint="set tidemill_channel or tidemill_lock in the ini file"
        )
    elif agreement is not None:
        resolved = _agree(agreement, reader, channel=channel, look=look)
    else:
        resolved = look()
    return Suite(
        store=opened,
        resolved=resolved,
        cache=cache,
        lock=lock,
        offline=offline,
        any_runtime=any_runtime,
    )


def _store(named: str, lock: Lock | None) -> Store:
    url = named or os.environ.get("TIDEMILL_STORE") or (lock.store if lock else "")
    if not url:
        raise UsageError(
            "no store is named", hint="set tidemill_store in the ini file, or TIDEMILL_STORE"
        )
    return open_store(url)


def _agree(file: Path, reader: Store, *, channel: str, look: Callable[[], Resolved]) -> Resolved:
    if not file.exists():
        found = look()
        said = _Agreed(reader.url, channel, found.sequence, found.digest)
        temporary = file.with_name(temporary_name())
        temporary.write_bytes(msgspec.json.encode(said))
        with suppress(FileExistsError):  # another worker was first: its release it is
            os.link(temporary, file)
        temporary.unlink()
    agreed = msgspec.json.decode(file.read_bytes(), type=_Agreed)
    if (agreed.store, agreed.channel) != (reader.url, channel):
        raise UsageError(
            f"the workers of this run are told of different channels: {agreed.channel!r} of"
            f" {agreed.store}, and {channel!r} of {reader.url}"
        )
    return replace(
        resolve(reader, release=agreed.release), channel=channel, sequence=agreed.sequence
    )
