"""Channels point at releases, and move by one compare-and-swap.

A channel is a row of entries, ``channels/<name>/<sequence>.json``, and the highest sequence is its
head. Moving means creating the next sequence, which only one writer can. Entries are signed (see
``trust``), and never changed or removed while retention keeps them, so a rollback is a *newer*
sequence that points at an older release. A release is there, whole, before a channel points at it.
"""

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from tidemill.digest import Digest, digest_bytes, is_digest
from tidemill.errors import BlobDamaged, StoreError, UsageError
from tidemill.records import FORMAT, ChannelEntry, Release, encode
from tidemill.store.contract import Denied, Store, Unlistable
from tidemill.store.layout import (
    SEQUENCE_DIGITS,
    channel_folder,
    channel_name,
    hint_name,
    release_name,
    sequence_of,
    short,
)

if TYPE_CHECKING:  # cryptography and tuf take a tenth of a second, and few callers need them
    from collections.abc import Sequence

    from securesystemslib.signer import Signer
    from tuf.api.metadata import Root

    from tidemill.trust.documents import ChannelDocument
    from tidemill.trust.follow import Trust

#: How long an entry holds. A night that changes nothing signs anew once a third of it is gone.
DAYS = 30
#: A sequence that no channel reaches.
_NEVER = 10**SEQUENCE_DIGITS - 1


class LostRace(StoreError):  # noqa: N818 - named as BlobDamaged is
    """Somebody else moved the channel first. Look at its new head, then decide again."""


class ChannelPinned(StoreError):  # noqa: N818 - named as BlobDamaged is
    """A person holds the channel where it is."""


class _Formatted(msgspec.Struct):
    format: int


class _Hint(msgspec.Struct):
    sequence: int


def follow(store: Store, channel: str, *, trust: "Trust") -> ChannelEntry | None:
    """Where ``channel`` points, as a reader may believe it; None when it has never been moved.

    One request when nothing has changed. Raises ChannelRefused for what its signer has not said, or
    not lately; StoreError for the rest.
    """
    seen = trust.seen(store, channel)
    held = trust.held(store, channel)
    current = held is not None and not _ended(held)
    at = _newest(store, channel, known=seen if current else 0)
    if at == 0 and seen == 0:
        return None
    if at == seen and current:
        return held
    if not at:
        raise trust.vanished(store, channel, seen=seen)
    return trust.accept(store, _read(store, channel, at), channel=channel)


def head(store: Store, channel: str) -> ChannelEntry | None:
    """Where ``channel`` points, as its producer sees it; None when it has never been moved.

    Signatures are checked against the store's own root, freshness is not. Raises StoreError when
    its newest entry cannot be used: an older one would be a silent rollback.
    """
    at = _newest(store, channel, known=0)
    return _entry(store, channel, at, roots=_roots(store)[:1]) if at else None


def latest(store: Store, channel: str) -> int:
    """The sequence of the head, damaged or not, for ``move`` to expect; 0 when there is none."""
    return max(_sequences(store, channel), default=0)


def history(store: Store, channel: str) -> tuple[ChannelEntry, ...]:
    """All entries of ``channel`` that can be used, newest first.

    One that is damaged, or signed by a key that this store has never had, is left out.
    """
    roots = _roots(store)
    found = (_usable(store, channel, number, roots=roots) for number in _sequences(store, channel))
    return tuple(entry for entry in found if entry)


def names(store: Store) -> tuple[str, ...]:
    """The channels that the store has, sorted."""
    listed = (entry.name.split("/") for entry in store.list("channels"))
    return tuple(sorted({parts[1] for parts in listed if len(parts) == 3}))  # noqa: PLR2004


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
    from tidemill.keeping import Keeper  # noqa: PLC0415 - readers need none of it
    from tidemill.trust.authority import root_for  # noqa: PLC0415 - see above

    at = latest(store, channel)
    root = root_for(store, signer)
    held = _usable(store, channel, at, roots=(root,)) if at else None
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
            hint=f"tidemill channel unpin {channel}, when that reason is gone",
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
        store.replace(hint_name(channel), encode(_Hint(sequence)))
    what = _what(channel, sequence)
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
    held = _entry(store, channel, at, roots=(root,))
    read_release(store, held.release)  # its bytes are right
    written = store.stat(release_name(held.release))
    assert written is not None  # noqa: S101 - it was read above
    entry = msgspec.structs.replace(
        held,
        sequence=at + 1,
        moved_at=datetime.now(UTC).isoformat(timespec="seconds"),
        reason=reason,
    )
    signers = (signer, successor) if successor else (signer,)
    return _publish(store, entry, length=written.size, signers=signers)


def rollback(
    store: Store, channel: str, *, to: int = 0, run: str, reason: str, signer: "Signer"
) -> ChannelEntry:
    """Point a new sequence of ``channel`` at the release of the older sequence ``to``.

    0 means the newest entry with another release than the head's. A damaged head does not stand in
    the way, a pin does. Raises UsageError when there is nothing to go back to; else as ``move``.
    """
    sequences = _sequences(store, channel)
    if to and to not in sequences[1:]:
        older = ", ".join(map(str, sequences[1:])) or "none"
        raise UsageError(
            f"channel {channel!r} cannot go back to sequence {to}",
            hint=f"its older sequences are: {older}",
        )
    roots = _roots(store)
    target = (
        _entry(store, channel, to, roots=roots)
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
        written = msgspec.json.decode(data, type=_Formatted).format
        if written > FORMAT:
            raise StoreError(
                f"{what} has format {written}; this tidemill reads up to {FORMAT}",
                hint="upgrade tidemill",
            )
        release = msgspec.json.decode(data, type=Release)
    except ValueError as error:  # msgspec's, and bytes that are not UTF-8
        raise StoreError(f"{what} cannot be read: {error}", hint="upgrade tidemill") from error
    # The digests become names of files: what is none comes from somebody who means harm.
    named = {one.digest for one in release.artifacts if one.digest}
    if not all(map(is_digest, named)) or any(one.size < 0 for one in release.artifacts):
        raise BlobDamaged(
            f"{what} in {store.url} names blobs by what is no sha256",
            hint="do not trust whoever wrote it; tell whoever owns the store",
        )
    return release


def _before(
    store: Store, channel: str, sequences: tuple[int, ...], *, roots: "Sequence[Root]"
) -> ChannelEntry:
    current = _usable(store, channel, sequences[0], roots=roots[:1]) if sequences else None
    for number in sequences[1:]:
        entry = _entry(store, channel, number, roots=roots)
        if current is None or entry.release != current.release:
            return entry
    raise UsageError(
        f"channel {channel!r} has no older release to go back to",
        hint="see `tidemill channel list`",
    )


def _sequences(store: Store, channel: str) -> tuple[int, ...]:
    listed = (sequence_of(entry.name) for entry in store.list(channel_folder(channel)))
    return tuple(sorted((number for number in listed if number), reverse=True))


def _newest(store: Store, channel: str, *, known: int) -> int:
    """The sequence of the head; where a store cannot list, names are tried from ``known`` on."""
    try:
        return latest(store, channel)
    except Unlistable:
        return _climbed(store, channel, start=known or _hinted(store, channel))


def _climbed(store: Store, channel: str, *, start: int) -> int:
    at = start
    while True:
        try:
            if store.stat(channel_name(channel, at + 1)) is None:
                return at
        except Denied:
            if not at:
                raise
            return at  # what many public buckets say of what is not there
        at += 1
        _refuse_echo(store, channel, at)


def _refuse_echo(store: Store, channel: str, sequence: int) -> None:
    """Raise StoreError for a server that answers for every name, as those of web pages may."""
    from tidemill.trust.documents import told  # noqa: PLC0415 - see above

    try:
        told(_read(store, channel, sequence), what=_what(channel, sequence))
    except BlobDamaged as damaged:
        with contextlib.suppress(Denied):
            if store.stat(channel_name(channel, _NEVER)) is not None:
                raise StoreError(
                    f"{store.url} answers for names that no store has, as servers of web pages do",
                    hint="have it answer 404 for what is not there, or look at the URL",
                ) from damaged


def _hinted(store: Store, channel: str) -> int:
    try:
        data = store.read(hint_name(channel))
        return msgspec.json.decode(data, type=_Hint).sequence if data else 0
    except ValueError:
        return 0


def _roots(store: Store) -> "tuple[Root, ...]":
    from tidemill.trust.authority import read_roots  # noqa: PLC0415 - see above

    return read_roots(store)


def _usable(
    store: Store, channel: str, sequence: int, *, roots: "Sequence[Root]"
) -> ChannelEntry | None:
    # Whoever moves a channel past a damaged head heals it.
    try:
        return _entry(store, channel, sequence, roots=roots)
    except BlobDamaged:
        return None


def _entry(store: Store, channel: str, sequence: int, *, roots: "Sequence[Root]") -> ChannelEntry:
    """An entry that one of ``roots`` vouches for."""
    from tidemill.trust.documents import NotSigned, damaged, told, verify  # noqa: PLC0415 - see above

    what = _what(channel, sequence)
    document = _read(store, channel, sequence)
    if not roots:
        raise NotSigned(f"{what}: its store has no root that says who signs", hint="see trust/")
    for older in roots[1:]:
        with contextlib.suppress(NotSigned):
            verify(document, root=older, what=what)
            break
    else:
        verify(document, root=roots[0], what=what)
    entry = told(document, what=what)
    if (entry.channel, entry.sequence) != (channel, sequence):
        raise damaged(what)
    return entry


def _read(store: Store, channel: str, sequence: int) -> "ChannelDocument":
    from tidemill.trust.documents import LARGEST_BYTES, damaged, decode  # noqa: PLC0415 - see above

    what = _what(channel, sequence)
    name = channel_name(channel, sequence)
    found = store.stat(name)
    if found is not None and found.size > LARGEST_BYTES:
        raise damaged(f"{what} ({found.size} bytes, more than any entry has)")
    return decode(store.read(name) or b"", what=what)


def _what(channel: str, sequence: int) -> str:
    return f"entry {sequence} of channel {channel!r}"


def _ended(entry: ChannelEntry) -> bool:
    """Whether an entry holds no more, or says that it holds longer than anybody signs for."""
    now = datetime.now(UTC)
    expires = datetime.fromisoformat(entry.expires)
    return expires <= now or expires > now + timedelta(days=2 * DAYS)


def _old(entry: ChannelEntry) -> bool:
    left = datetime.fromisoformat(entry.expires) - datetime.now(UTC)
    return left < timedelta(days=DAYS * 2 / 3)


def _lost(channel: str, *, expecting: int, found: int) -> LostRace:
    return LostRace(
        f"channel {channel!r} is at sequence {found}, not at {expecting}",
        hint="another run moved it; look at its head and run again",
    )
