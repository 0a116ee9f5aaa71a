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
from tidemill.errors import BlobDamaged, StoreError
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

    from tuf.api.metadata import Root

    from tidemill.trust.documents import ChannelDocument
    from tidemill.trust.follow import Trust

#: How long an entry holds. A night that changes nothing signs anew once a third of it is gone.
DAYS = 30
#: A sequence that no channel reaches.
_NEVER = 10**SEQUENCE_DIGITS - 1


class _Formatted(msgspec.Struct):
    format: int


class Hint(msgspec.Struct):
    """``channels/<name>/head.json``: where readers who cannot list begin to look."""

    sequence: int


def follow(store: Store, channel: str, *, trust: "Trust") -> ChannelEntry | None:
    """Where ``channel`` points, as a reader may believe it; None when it has never been moved.

    One request when nothing has changed. Raises ChannelRefused for what its signer has not said, or
    not lately; StoreError for the rest.
    """
    seen = trust.seen(store, channel)
    held = trust.held(store, channel)
    current = held is not None and not _ended(held)
    try:
        at = _newest(store, channel, known=seen if current else 0)
    except Denied:
        if not current:
            raise
        return held  # offline, with a cache that was begun after it was seen
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
    return entry_at(store, channel, at, roots=roots_of(store)[:1]) if at else None


def latest(store: Store, channel: str) -> int:
    """The sequence of the head, damaged or not, for ``move`` to expect; 0 when there is none."""
    return max(sequences_of(store, channel), default=0)


def history(store: Store, channel: str) -> tuple[ChannelEntry, ...]:
    """All entries of ``channel`` that can be used, newest first.

    One that is damaged, or signed by a key that this store has never had, is left out.
    """
    roots = roots_of(store)
    found = (
        usable_at(store, channel, number, roots=roots) for number in sequences_of(store, channel)
    )
    return tuple(entry for entry in found if entry)


def names(store: Store) -> tuple[str, ...]:
    """The channels that the store has, sorted."""
    listed = (entry.name.split("/") for entry in store.list("channels"))
    return tuple(sorted({parts[1] for parts in listed if len(parts) == 3}))  # noqa: PLR2004


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


def sequences_of(store: Store, channel: str) -> tuple[int, ...]:
    """The sequences that are there, damaged or not, newest first."""
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
        told(_read(store, channel, sequence), what=words_of(channel, sequence))
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
        return msgspec.json.decode(data, type=Hint).sequence if data else 0
    except ValueError:
        return 0


def roots_of(store: Store) -> "tuple[Root, ...]":
    """Every root of the store, newest first; who is in none of them has never signed for it."""
    from tidemill.trust.authority import read_roots  # noqa: PLC0415 - see above

    return read_roots(store)


def usable_at(
    store: Store, channel: str, sequence: int, *, roots: "Sequence[Root]"
) -> ChannelEntry | None:
    """As ``entry_at``; None for one that is damaged, or that nobody vouches for.

    Whoever moves a channel past a damaged head heals it.
    """
    try:
        return entry_at(store, channel, sequence, roots=roots)
    except BlobDamaged:
        return None


def entry_at(store: Store, channel: str, sequence: int, *, roots: "Sequence[Root]") -> ChannelEntry:
    """An entry that one of ``roots`` vouches for."""
    from tidemill.trust.documents import NotSigned, damaged, told, verify  # noqa: PLC0415 - see above

    what = words_of(channel, sequence)
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

    what = words_of(channel, sequence)
    name = channel_name(channel, sequence)
    found = store.stat(name)
    if found is not None and found.size > LARGEST_BYTES:
        raise damaged(f"{what} ({found.size} bytes, more than any entry has)")
    return decode(store.read(name) or b"", what=what)


def words_of(channel: str, sequence: int) -> str:
    """An entry, in a message."""
    return f"entry {sequence} of channel {channel!r}"


def _ended(entry: ChannelEntry) -> bool:
    """Whether an entry holds no more, or says that it holds longer than anybody signs for."""
    now = datetime.now(UTC)
    expires = datetime.fromisoformat(entry.expires)
    return expires <= now or expires > now + timedelta(days=2 * DAYS)
