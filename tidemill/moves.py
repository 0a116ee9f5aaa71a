"""Moves channels: the next entry is created, signed, by one of all who try.

What a channel is stands in ``channels``. Nothing here is needed by readers.
"""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from tidemill.channels import (
    DAYS,
    Hint,
    entry_at,
    latest,
    read_release,
    roots_of,
    sequences_of,
    usable_at,
    words_of,
)
from tidemill.errors import StoreError, UsageError
from tidemill.keeping import Keeper
from tidemill.records import ChannelEntry, encode
from tidemill.store.contract import Store
from tidemill.store.layout import channel_name, hint_name, release_name, short

if TYPE_CHECKING:  # cryptography and tuf take a tenth of a second, and few callers need them
    from securesystemslib.signer import Signer
    from tuf.api.metadata import Root


class LostRace(StoreError):  # noqa: N818 - named as BlobDamaged is
    """Somebody else moved the channel first. Look at its new head, then decide again."""


class ChannelPinned(StoreError):  # noqa: N818 - named as BlobDamaged is
    """A person holds the channel where it is."""


def move(
    store: Store,
    channel: str,
    *,
    release: str,
    expecting: int,
    run: str,
    reason: str,
    signer: "Signer",
    pinned: str = "",
    unpin: bool = False,
    provenance: str = "",
) -> ChannelEntry:
    """Make ``release`` the head of ``channel`` and return the entry that is now the head.

    ``expecting`` is the sequence that the caller decided upon, 0 for a channel not moved yet. When
    the head says the same already and holds long enough nothing is written, and the head is
    returned, whoever moved it there: several hosts of one run make the same release. ``pinned``
    says why the channel is to stay there; ``unpin`` moves one that is pinned. ``provenance`` is the
    digest of the statement about the release.

    Raises LostRace when the head is not the one expected, ChannelPinned, NotOurs when the signer's
    key is not one that the store's root names, StoreError when the release is not in the store, or
    a blob that it names is not.
    """
    from tidemill.trust.authority import root_for  # noqa: PLC0415 - see above

    at = latest(store, channel)
    root = root_for(store, signer)
    held = usable_at(store, channel, at, roots=(root,)) if at else None
    same = held is not None and (held.release, held.pinned) == (release, pinned)
    if held is not None and same and at >= expecting and not _old(held):
        return held
    if at != expecting:
        raise _lost(channel, expecting=expecting, found=at)
    written = store.stat(release_name(release))
    if written is None:
        raise StoreError(
            f"release {short(release)} is not in {store.url}",
            hint="write the release first, then move the channel",
        )
    if held is not None and held.pinned and not unpin:
        raise ChannelPinned(
            f"channel {channel!r} is pinned at sequence {at}: {held.pinned}",
            hint=f"when that reason is gone: tidemill channel unpin {channel} --reason WHY",
        )
    if held is None or held.release != release:
        # Its blobs are there and stay: gc and this move never miss each other (ADR 13).
        Keeper(store).hold(read_release(store, release))
    entry = ChannelEntry(
        channel=channel,
        sequence=at + 1,
        release=release,
        run=run,
        moved_at=datetime.now(UTC).isoformat(timespec="seconds"),
        reason=reason,
        pinned=pinned,
        provenance=provenance,
    )
    return _publish(store, entry, length=written.size, signers=(signer,))


def _publish(
    store: Store, entry: ChannelEntry, *, length: int, signers: "Sequence[Signer]"
) -> ChannelEntry:
    from tidemill.trust.documents import decode, sign_entry, told  # noqa: PLC0415 - see above

    data = sign_entry(entry, length=length, days=DAYS, signers=signers)
    channel, sequence = entry.channel, entry.sequence
    if not store.create(channel_name(channel, sequence), data):
        raise _lost(channel, expecting=sequence - 1, found=sequence)
    # Only a hint, for readers of a web server that cannot list: they look for newer ones from it.
    with contextlib.suppress(StoreError):
        store.replace(hint_name(channel), encode(Hint(sequence)))
    what = words_of(channel, sequence)
    return told(decode(data, what=what), what=what)


def resign(
    store: Store, channel: str, *, signer: "Signer", reason: str, successor: "Signer | None" = None
) -> ChannelEntry:
    """Give ``channel`` a newer entry that says the same and holds for DAYS days from now.

    ``successor`` signs beside ``signer``: readers then believe the entry before and after the key
    is changed. Raises UsageError for a channel that has never been moved, NotSigned for a head
    that the store's keys do not vouch for, LostRace, NotOurs.
    """
    from tidemill.trust.authority import root_for  # noqa: PLC0415 - see above

    root = root_for(store, signer)
    at = latest(store, channel)
    if not at:
        raise UsageError(f"{store.url} has no channel {channel!r}")
    held = entry_at(store, channel, at, roots=(root,))
    read_release(store, held.release)  # it is there, and its bytes are right
    entry = msgspec.structs.replace(
        held,
        sequence=at + 1,
        moved_at=datetime.now(UTC).isoformat(timespec="seconds"),
        reason=reason,
    )
    signers = (signer, successor) if successor else (signer,)
    return _publish(store, entry, length=held.length, signers=signers)


def rollback(
    store: Store, channel: str, *, to: int = 0, run: str, reason: str, signer: "Signer"
) -> ChannelEntry:
    """Point a new sequence of ``channel`` at the release of the older sequence ``to``.

    0 means the newest entry with another release than the head's. A damaged head does not stand in
    the way, a pin does. Raises UsageError when there is nothing to go back to; else as ``move``.
    """
    sequences = sequences_of(store, channel)
    if to and to not in sequences[1:]:
        older = ", ".join(map(str, sequences[1:])) or "none"
        raise UsageError(
            f"channel {channel!r} cannot go back to sequence {to}",
            hint=f"its older sequences are: {older}",
        )
    roots = roots_of(store)
    target = (
        entry_at(store, channel, to, roots=roots)
        if to
        else _before(store, channel, sequences, roots=roots)
    )
    return move(
        store,
        channel,
        release=target.release,
        provenance=target.provenance,
        expecting=sequences[0],
        run=run,
        reason=reason,
        signer=signer,
    )


def _before(
    store: Store, channel: str, sequences: tuple[int, ...], *, roots: "Sequence[Root]"
) -> ChannelEntry:
    current = usable_at(store, channel, sequences[0], roots=roots[:1]) if sequences else None
    for number in sequences[1:]:
        entry = entry_at(store, channel, number, roots=roots)
        if current is None or entry.release != current.release:
            return entry
    raise UsageError(
        f"channel {channel!r} has no older release to go back to",
        hint="see `tidemill channel list`",
    )


def _old(entry: ChannelEntry) -> bool:
    left = datetime.fromisoformat(entry.expires) - datetime.now(UTC)
    return left < timedelta(days=DAYS * 2 / 3)


def _lost(channel: str, *, expecting: int, found: int) -> LostRace:
    return LostRace(
        f"channel {channel!r} is at sequence {found}, not at {expecting}",
        hint="another run moved it; look at its head and run again",
    )
