"""Reads what is kept, and why: channels, pins, lock files. And what the rest is.

What cannot be read might name anything, so gc stops there: it never guesses.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import msgspec

from tidemill import channels
from tidemill.address import matches
from tidemill.digest import is_digest
from tidemill.errors import StoreError, UsageError
from tidemill.records import Output, Release
from tidemill.retention import (
    ENTRIES_KEPT,
    Blob,
    Claim,
    Pin,
    digests_in,
    holds,
    locked_releases,
)
from tidemill.store.contract import Store
from tidemill.store.layout import blob_name, channel_folder, release_name, sequence_of, short
from tidemill.store.reading import read_many

_DAMAGED_ENTRY = "restore it from a copy, or move the channel on until it is too old to be kept"


class _Result(msgspec.Struct):
    outputs: tuple[Output, ...]
    log: Output


class _Failed(msgspec.Struct):
    log: Output | None
    bundle: Output | None


@dataclass(slots=True, kw_only=True)
class Roots:
    """What one gc keeps. ``locks`` is what ``read_locks`` gives; releases are read once."""

    store: Store
    entries: int = ENTRIES_KEPT
    locks: Mapping[str, frozenset[str]] = field(default_factory=dict)
    _named: dict[str, frozenset[str]] = field(default_factory=dict)

    def claims(self, *, today: date) -> list[Claim]:
        """Everything that is kept now. Raises StoreError when something cannot be read."""
        return [*self._of_channels(), *self._of_pins(today=today), *self._of_locks()]

    def _of_channels(self) -> Iterator[Claim]:
        documents = dict(
            read_many(self.store, sorted(entry.name for entry in self.store.list("channels")))
        )
        # Listed after: a release is there before a channel points at it.
        there = {_stem(entry.name) for entry in self.store.list("releases")}
        for name in channels.names(self.store):
            # By what they say, not by who signed it: a key that is not trusted (any more) is no
            # reason to remove anything.
            entries = [each for each in documents if each.startswith(f"{channel_folder(name)}/")]
            kept = sorted(filter(sequence_of, entries), reverse=True)[: self.entries]
            releases = set[str]()
            for each in kept:
                named = digests_in(documents[each]) & there
                if not named:
                    raise _unknown(f"{each} names no release of the store", hint=_DAMAGED_ENTRY)
                releases |= named
            what = f"the last {len(kept)} entries" if len(kept) > 1 else "the only entry"
            reason = f"released: {what} of channel {name}"
            yield Claim(reason, self._blobs_of(releases, why=f"channel {name} has it"))
        # Whatever else a channel's documents name, today or some day, belongs to it.
        everything = frozenset[str]().union(*map(digests_in, documents.values()))
        yield Claim("named by a channel's documents", everything)

    def _of_pins(self, *, today: date) -> Iterator[Claim]:
        for pin in read_pins(self.store):
            if not holds(pin, today=today):
                continue
            reason = f"pinned as {pin.name} by {pin.owner}: {pin.reason}"
            if pin.release:
                yield Claim(reason, self._blobs_of({pin.release}, why=f"pin {pin.name} has it"))
            else:
                yield Claim(reason, self.picked(pin))

    def picked(self, pin: Pin) -> frozenset[str]:
        """What an address picks in any release, and what its targets share, as a pull brings.

        Raises StoreError when a release cannot be read.
        """
        found = set[str]()
        for entry in self.store.list("releases"):
            release = self._release(_stem(entry.name), why=f"pin {pin.name} asks for {pin.address}")
            picked = {one.address for one in release.artifacts if matches(pin.address, one.address)}
            picked |= {address.rpartition("/")[0] for address in picked}
            named = (one for one in release.artifacts if one.address in picked)
            found |= {one.digest for one in named if one.digest}
        return frozenset(found)

    def _of_locks(self) -> Iterator[Claim]:
        for file, releases in self.locks.items():
            yield Claim(f"locked by {file}", self._blobs_of(releases, why=f"{file} locks it"))

    def _blobs_of(self, releases: Iterable[str], *, why: str) -> frozenset[str]:
        named = frozenset[str]()
        for digest in releases:
            if digest not in self._named:
                self._release(digest, why=why)  # whole, and of a format that we know
                self._named[digest] = digests_in(self.store.read(release_name(digest)) or b"")
            named |= self._named[digest]
        return named

    def _release(self, digest: str, *, why: str) -> Release:
        try:
            return channels.read_release(self.store, digest)
        except StoreError as error:
            raise _unknown(f"{error.message} ({why})", hint=error.hint) from error


def _stem(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".json")


def _unknown(trouble: str, *, hint: str) -> StoreError:
    return StoreError(
        f"gc cannot know what is to be kept: {trouble}",
        hint=f"{hint}; until then nothing is removed",
    )


def read_locks(store: Store, files: Sequence[Path]) -> dict[str, frozenset[str]]:
    """File → the releases that it names. Raises UsageError for one that names none of ``store``."""
    locks = {}
    for file in files:
        try:
            releases = locked_releases(file.read_bytes())
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error.strerror}") from error
        if not releases:
            raise UsageError(f"{file} names no release", hint="give the lock file of a suite")
        for digest in sorted(releases):
            if store.stat(release_name(digest)) is None:
                raise UsageError(
                    f"{file} locks release {short(digest)}, which is not in {store.url}",
                    hint="name lock files of this store only",
                )
        locks[str(file)] = releases
    return locks


def read_pins(store: Store) -> list[Pin]:
    """All pins, expired ones too, by name. Raises StoreError when one is damaged."""
    pins = []
    for name, data in read_many(store, sorted(entry.name for entry in store.list("pins"))):
        try:
            pins.append(msgspec.json.decode(data, type=Pin))
        except ValueError as error:
            raise _unknown(
                f"{name} is damaged: {error}",
                hint=f"remove it with `tidemill pin remove {_stem(name)}`, and pin again",
            ) from error
    return pins


def read_blobs(store: Store) -> dict[str, Blob]:
    """Every blob of the store, by digest. Whatever else lies there is none, and none of ours."""
    listed = ((entry.name.rpartition("/")[2], entry) for entry in store.list("blobs"))
    return {
        digest: Blob(entry.size, entry.stamp)
        for digest, entry in listed
        if is_digest(digest) and entry.name == blob_name(digest)
    }


def kinds_of(store: Store, wanted: frozenset[str]) -> dict[str, frozenset[str]]:
    """What the blobs ``wanted`` are, by the records of actions and failures, and by releases.

    A blob that none of these names is left out. A record that is damaged says nothing.
    """
    kinds = dict[str, frozenset[str]]()
    if not wanted:
        return kinds
    for digest, kind in (*_recorded(store), *_failed(store)):
        if digest in wanted:
            kinds[digest] = kinds.get(digest, frozenset()) | {kind}
    if wanted - kinds.keys():
        # A record that was replaced since may have left its outputs to an old release.
        for digest, kind in _released(store):
            if digest in wanted:
                kinds[digest] = kinds.get(digest, frozenset()) | {kind}
    return kinds


def _recorded(store: Store) -> Iterator[tuple[str, str]]:
    for _, data in read_many(store, [entry.name for entry in store.list("actions")]):
        with contextlib.suppress(ValueError):
            result = msgspec.json.decode(data, type=_Result)
            yield from ((one.digest, one.kind) for one in (*result.outputs, result.log))


def _failed(store: Store) -> Iterator[tuple[str, str]]:
    for _, data in read_many(store, [entry.name for entry in store.list("failures")]):
        with contextlib.suppress(ValueError):
            failed = msgspec.json.decode(data, type=_Failed)
            yield from ((one.digest, "failure") for one in (failed.log, failed.bundle) if one)


def _released(store: Store) -> Iterator[tuple[str, str]]:
    for _, data in read_many(store, [entry.name for entry in store.list("releases")]):
        with contextlib.suppress(ValueError):
            release = msgspec.json.decode(data, type=Release)
            yield from ((one.digest, one.kind) for one in release.artifacts if one.digest)
