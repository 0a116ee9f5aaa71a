"""Channels point at releases, and move by one compare-and-swap.

A channel is a row of entries, ``channels/<name>/<sequence>.json``, and the highest sequence is its
head. Moving means creating the next sequence, which only one writer can. Entries are never changed
or removed, so a rollback is a *newer* sequence that points at an older release. A release is there,
whole, before a channel points at it.
"""

from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from tidemill.digest import Digest, digest_bytes, is_digest
from tidemill.errors import BlobDamaged, StoreError, UsageError
from tidemill.records import FORMAT, ChannelEntry, Release, encode
from tidemill.store.contract import Store
from tidemill.store.layout import (
    channel_folder,
    channel_name,
    release_name,
    sequence_of,
    short,
)

_Record = TypeVar("_Record", ChannelEntry, Release)


class _Formatted(msgspec.Struct):
    format: int


class LostRace(StoreError):  # noqa: N818 - named as BlobDamaged is
    """Somebody else moved the channel first. Look at its new head, then decide again."""


def head(store: Store, channel: str) -> ChannelEntry | None:
    """Where ``channel`` points now; None when it has never been moved.

    Raises StoreError when its newest entry is damaged: an older one would be a silent rollback.
    """
    at = latest(store, channel)
    return _entry(store, channel, at) if at else None


def latest(store: Store, channel: str) -> int:
    """The sequence of the head, damaged or not, for ``move`` to expect; 0 when there is none."""
    return max(_sequences(store, channel), default=0)


def history(store: Store, channel: str) -> tuple[ChannelEntry, ...]:
    """All entries of ``channel``, newest first. Raises StoreError when one is damaged."""
    return tuple(_entry(store, channel, number) for number in _sequences(store, channel))


def names(store: Store) -> tuple[str, ...]:
    """The channels that the store has, sorted."""
    listed = (entry.name.split("/") for entry in store.list("channels"))
    return tuple(sorted({parts[1] for parts in listed if len(parts) == 3}))  # noqa: PLR2004


def move(
    store: Store, channel: str, *, release: str, expecting: int, run: str, reason: str
) -> ChannelEntry:
    """Make ``release`` the head of ``channel`` and return the entry that is now the head.

    ``expecting`` is the sequence that the caller decided upon, 0 for a channel not moved yet. When
    the head already points at ``release`` nothing is written, and the entry returned has the
    sequence ``expecting``; after a move it has the next one. Raises LostRace when the head is not
    the one expected, StoreError when the release is not in the store.
    """
    at = latest(store, channel)
    if at != expecting:
        raise _lost(channel, expecting=expecting, found=at)
    if store.stat(release_name(release)) is None:
        raise StoreError(
            f"release {short(release)} is not in {store.url}",
            hint="write the release first, then move the channel",
        )
    held = _readable(store, channel, at)
    if held is not None and held.release == release:
        return held
    entry = ChannelEntry(
        channel=channel,
        sequence=at + 1,
        release=release,
        run=run,
        moved_at=datetime.now(UTC).isoformat(timespec="seconds"),
        reason=reason,
    )
    if not store.create(channel_name(channel, entry.sequence), encode(entry)):
        raise _lost(channel, expecting=expecting, found=entry.sequence)
    return entry


def rollback(store: Store, channel: str, *, to: int = 0, run: str, reason: str) -> ChannelEntry:
    """Point a new sequence of ``channel`` at the release of the older sequence ``to``.

    0 means the newest entry with another release than the head's. A damaged head does not stand in
    the way. Raises UsageError when there is nothing to go back to, LostRace as ``move`` does.
    """
    sequences = _sequences(store, channel)
    if to and to not in sequences[1:]:
        older = ", ".join(map(str, sequences[1:])) or "none"
        raise UsageError(
            f"channel {channel!r} cannot go back to sequence {to}",
            hint=f"its older sequences are: {older}",
        )
    target = _entry(store, channel, to) if to else _before(store, channel, sequences)
    return move(
        store, channel, release=target.release, expecting=sequences[0], run=run, reason=reason
    )


def put_release(store: Store, release: Release) -> Digest:
    """Write a release under its own digest, which is returned; writing it again changes nothing."""
    data = encode(release)
    digest = digest_bytes(data)
    name = release_name(digest)
    if not store.create(name, data) and store.read(name) != data:
        store.replace(name, data)
    return digest


def read_release(store: Store, digest: str) -> Release:
    """A release by its digest, verified. Raises StoreError for one that cannot be used."""
    data = store.read(release_name(digest))
    if data is None:
        raise StoreError(
            f"release {short(digest)} is missing in {store.url}",
            hint="run its pipeline again, or choose another release",
        )
    if digest_bytes(data) != digest:
        raise BlobDamaged(
            f"release {short(digest)} in {store.url} is damaged: its bytes have another sha256",
            hint="run its pipeline again: the release is written again",
        )
    what = f"release {short(digest)}"
    try:
        return _decoded(data, Release, what=what)
    except ValueError as error:
        raise StoreError(f"{what} cannot be read: {error}", hint="upgrade tidemill") from error


def _before(store: Store, channel: str, sequences: tuple[int, ...]) -> ChannelEntry:
    current = _readable(store, channel, sequences[0]) if sequences else None
    for number in sequences[1:]:
        entry = _entry(store, channel, number)
        if current is None or entry.release != current.release:
            return entry
    raise UsageError(
        f"channel {channel!r} has no older release to go back to",
        hint="see `tidemill channel list`",
    )


def _sequences(store: Store, channel: str) -> tuple[int, ...]:
    listed = (sequence_of(entry.name) for entry in store.list(channel_folder(channel)))
    return tuple(sorted((number for number in listed if number), reverse=True))


def _readable(store: Store, channel: str, sequence: int) -> ChannelEntry | None:
    # Whoever moves a channel past a damaged head heals it.
    try:
        return _entry(store, channel, sequence) if sequence else None
    except BlobDamaged:
        return None


def _entry(store: Store, channel: str, sequence: int) -> ChannelEntry:
    what = f"entry {sequence} of channel {channel!r}"
    data = store.read(channel_name(channel, sequence))
    try:
        entry = _decoded(data or b"", ChannelEntry, what=what)
    except ValueError as error:
        raise _damaged(what) from error
    if (entry.channel, entry.sequence) != (channel, sequence) or not is_digest(entry.release):
        raise _damaged(what)
    return entry


def _decoded(data: bytes, kind: type[_Record], *, what: str) -> _Record:
    # ValueError covers msgspec's errors and the UnicodeDecodeError of a flipped byte in a string.
    written = msgspec.json.decode(data, type=_Formatted).format
    if written > FORMAT:
        raise StoreError(
            f"{what} has format {written}; this tidemill reads up to {FORMAT}",
            hint="upgrade tidemill",
        )
    return msgspec.json.decode(data, type=kind)


def _damaged(what: str) -> BlobDamaged:
    return BlobDamaged(
        f"{what} is damaged",
        hint="move the channel on with `tidemill channel promote` or `rollback`",
    )


def _lost(channel: str, *, expecting: int, found: int) -> LostRace:
    return LostRace(
        f"channel {channel!r} is at sequence {found}, not at {expecting}",
        hint="another run moved it; look at its head and run again",
    )
