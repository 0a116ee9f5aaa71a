"""Lock files: which artifacts of which release a suite uses, to be committed beside it.

The same pull writes the same bytes. What is locked is pulled from its release, by digest, wherever
the channel points now.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from tidemill.client.choose import Choice, Resolved, choose, resolve
from tidemill.digest import is_digest
from tidemill.errors import StoreError, UsageError
from tidemill.records import FORMAT, Artifact, encode
from tidemill.store.contract import Store
from tidemill.store.layout import release_name, short
from tidemill.store.scratch import temporary_name
from tidemill.store.trouble import disk_error

DEFAULT_FILE = "tidemill.lock"


class LockedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a lock; the fields are those of Artifact."""

    address: str
    kind: str
    file: str
    digest: str
    size: int


class Lock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a lock file says. No channel and sequence 0: locked from a release by digest."""

    store: str
    channel: str
    sequence: int
    release: str
    patterns: tuple[str, ...]
    kinds: tuple[str, ...]
    artifacts: tuple[LockedFile, ...]
    format: int = FORMAT


class _Formatted(msgspec.Struct):
    format: int


def lock_of(
    resolved: Resolved,
    pulled: Sequence[Artifact],
    *,
    store: str,
    patterns: Collection[str],
    kinds: Collection[str],
) -> Lock:
    """The lock of a pull of ``pulled`` from the store of that URL."""
    return Lock(
        store=store,
        channel=resolved.channel,
        sequence=resolved.sequence,
        release=resolved.digest,
        patterns=tuple(sorted(set(patterns))),
        kinds=tuple(sorted(set(kinds))),
        artifacts=tuple(sorted(map(_locked, pulled), key=lambda one: one.file)),
    )


def read_lock(path: Path) -> Lock:
    """The lock in a file. Raises UsageError for one that is missing or cannot be used."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no lock file {path}", hint="write it: pull once without --locked"
        ) from error
    except OSError as error:
        raise disk_error(error, doing="read the lock file", where=path) from error
    try:
        written = msgspec.json.decode(data, type=_Formatted).format
        if written > FORMAT:
            raise UsageError(
                f"{path}: it has format {written}; this tidemill reads up to {FORMAT}",
                hint="upgrade tidemill",
            )
        return _checked(msgspec.json.decode(data, type=Lock))
    except ValueError as error:  # msgspec's errors, too, and bytes that are no text
        raise UsageError(
            f"{path}: it is not a lock file: {error}",
            hint="take it from version control again, or write it anew without --locked",
        ) from error


def _checked(lock: Lock) -> Lock:
    if not is_digest(lock.release):
        raise ValueError(f"{lock.release!r} is not the digest of a release")
    for one in lock.artifacts:
        if not is_digest(one.digest) or one.size < 0:
            raise ValueError(f"{one.file!r} has the digest {one.digest!r} and {one.size} bytes")
    return lock


def write_lock(path: Path, lock: Lock) -> bool:
    """Write a lock file; True when it changed. Raises StoreError."""
    data = encode(lock)
    try:
        with suppress(FileNotFoundError):
            if path.read_bytes() == data:
                return False
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(temporary_name())
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise disk_error(error, doing="write the lock file", where=path) from error
    return True


def resolve_locked(store: Store, lock: Lock, *, channel: str, release: str) -> Resolved:
    """The locked release; ``channel`` and ``release``, where given, must be those of the lock.

    Raises UsageError when they are not, StoreError when the store does not have the release.
    """
    for what, asked, has in (
        ("channel", channel, lock.channel),
        ("release", release, lock.release),
    ):
        if asked and asked != has:
            raise UsageError(
                f"the lock is for {what} {has or 'none'}, not {asked}",
                hint="pull without --locked to write it anew",
            )
    try:
        found = resolve(store, release=lock.release)
    except StoreError as error:
        if not _is_gone(store, lock):
            raise
        raise missing_of(lock, error) from error
    return replace(found, channel=lock.channel, sequence=lock.sequence)


def choose_locked(
    lock: Lock,
    resolved: Resolved,
    *,
    patterns: Sequence[str],
    kinds: Collection[str],
    require_validated: bool,
) -> Choice:
    """What ``choose`` picks in the locked release, all of which must be in the lock.

    Without patterns or kinds those of the lock count. Raises as ``choose`` does, and UsageError for
    what the lock does not have.
    """
    choice = choose(
        resolved,
        patterns or lock.patterns,
        kinds=kinds or lock.kinds,
        require_validated=require_validated,
    )
    beyond = sorted({one.file for one in choice.wanted if _locked(one) not in lock.artifacts})
    if beyond:
        more = f" and {len(beyond) - 1} more" if len(beyond) > 1 else ""
        raise UsageError(
            f"the lock does not have {beyond[0]}{more}, which is asked for",
            hint=f"it is for {' '.join(lock.patterns)}; pull without --locked to write it anew",
        )
    if not patterns and not kinds and len(choice.wanted) != len(lock.artifacts):
        raise UsageError(
            f"the lock has {len(lock.artifacts)} files, but its release"
            f" {short(lock.release)} gives {len(choice.wanted)} for it",
            hint="it was edited: take it from version control again, or write it anew",
        )
    return choice


def missing_of(lock: Lock, error: StoreError) -> StoreError:
    """``error`` about something that a store no longer has, for who pulls by a lock."""
    return type(error)(
        f"{error.message}, and the lock wants it (release {short(lock.release)})",
        hint="the store has dropped it, or is another one; pull without --locked to move on",
    )


def _is_gone(store: Store, lock: Lock) -> bool:
    try:
        return store.stat(release_name(lock.release)) is None
    except StoreError:
        return False


def _locked(one: Artifact) -> LockedFile:
    return LockedFile(
        address=one.address, kind=one.kind, file=one.file, digest=one.digest, size=one.size
    )
