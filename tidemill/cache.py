"""Is an action's result there and sound? ``look_up`` → Hit or Miss(reason); ``record`` keeps one.

A hit needs the record and every blob that it names, with bytes that were hashed and found right.
Any trouble with the cache is a miss, counted, never a failed build. A local index spares reading
records again, and copies of them spare it where the store is far away; both are keyed by each
record's stamp, so losing them costs time and nothing else.
"""

import contextlib
import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tidemill.copies import Copies
from tidemill.digest import Digest, digest_bytes
from tidemill.errors import StoreError
from tidemill.keeping import Keeper
from tidemill.records import ActionResult, Failure, Output, encode
from tidemill.store.contract import Entry, Store
from tidemill.store.layout import action_name, blob_name, failure_name
from tidemill.store.verified import Verified


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """The action's outputs are in the store, sound."""

    key: str
    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """The action must run. ``damaged``: a record exists but cannot be used, so it is replaced."""

    reason: str
    damaged: bool = False


class _Indexed(msgspec.Struct, frozen=True, array_like=True):
    stamp: str
    key: str
    outputs: tuple[Output, ...]


class _Index(msgspec.Struct, array_like=True):
    url: str
    records: dict[str, _Indexed]


def seal_of(result: ActionResult) -> str:
    """The digest of everything in a record but its seal: a flipped byte cannot pass unseen."""
    return digest_bytes(encode(msgspec.structs.replace(result, seal="")))


def _sealed(data: bytes | None) -> ActionResult | None:
    """The record in ``data``, or None when it is not as it was written."""
    try:
        result = msgspec.json.decode(data or b"", type=ActionResult)
    except ValueError:  # msgspec's errors, and bytes that are not UTF-8
        return None
    return result if result.seal == seal_of(result) else None


@dataclass(slots=True)
class Cache:
    """Looks results up in one store. ``index_file`` may be absent, stale or damaged.

    ``keeper`` says of everything that is found, before it is looked at, that it is relied on.
    ``trouble`` is the first of the ``errors`` that the store gave.
    ``copies`` is where records of a store that is far away are kept; None for one that is near.
    """

    store: Store
    verified: Verified
    index_file: Path
    copies: Copies | None = None
    errors: int = 0
    trouble: StoreError | None = None
    keeper: Keeper = field(init=False)
    _index: dict[str, _Indexed] = field(default_factory=dict)
    _listed: dict[str, Entry] | None = None
    _changed: bool = False

    def __post_init__(self) -> None:
        self.keeper = Keeper(self.store)

    def prime(self) -> None:
        """Take the local index, and ``list_again``."""
        self._load_index()
        self.list_again()

    def list_again(self) -> None:
        """List records and blobs once, so that looking up thousands of keys costs no more calls.

        It holds for what nobody else is writing meanwhile, until ``forget_listing``.
        """
        self._listed = None
        self.verified.refresh()
        try:
            rooms = [self.store.list(room) for room in ("actions/", "blobs/", "failures/")]
            listed = {entry.name: entry for entry in itertools.chain.from_iterable(rooms)}
        except StoreError as error:
            self._missed(error)
            return
        self._listed = listed

    def forget_listing(self) -> None:
        """Ask the store itself from now on: other processes are writing."""
        self._listed = None

    def _entry(self, name: str) -> Entry | None:
        if self._listed is not None:
            return self._listed.get(name)
        return self.store.stat(name)

    def look_up(self, step: str, key: str) -> Hit | Miss:
        """The result under a key, or why there is none that can be used."""
        name = action_name(step, key)
        try:
            entry = self._entry(name)
            if entry is None:
                return Miss(reason="not built yet")
            indexed = self._indexed(name, entry)
            if indexed is None or indexed.key != key:
                return Miss(reason="its record is damaged", damaged=True)
            condemned = self.keeper.keep(output.digest for output in indexed.outputs)
            for output in indexed.outputs:
                digest = Digest(output.digest)
                # What was listed before it was kept may be gone.
                blob = None if digest in condemned else self._entry(blob_name(digest))
                if why := self.verified.is_sound(self.store, digest, size=output.size, entry=blob):
                    return Miss(reason=f"{output.name}: {why}", damaged=True)
        except StoreError as error:
            self._missed(error)
            return Miss(reason=f"the store cannot say: {error.message}")
        return Hit(key=key, outputs=indexed.outputs)

    def _missed(self, error: StoreError) -> None:
        self.errors += 1
        self.trouble = self.trouble or error

    def _indexed(self, name: str, entry: Entry) -> _Indexed | None:
        known = self._index.get(name)
        if known is not None and known.stamp == entry.stamp:
            return known
        result = self._read_result(name, stamp=entry.stamp)
        if result is None:
            return None
        indexed = _Indexed(entry.stamp, result.key, (*result.outputs, result.log))
        self._index[name] = indexed
        self._changed = True
        return indexed

    def _read_result(self, name: str, *, stamp: str = "") -> ActionResult | None:
        """The record of that name; the copy that was made under ``stamp`` is as good."""
        copies = self.copies if stamp else None
        if copies and (kept := _sealed(copies.get(name, stamp=stamp))):
            return kept
        data = self.store.read(name)
        result = _sealed(data)
        if copies and result and data:
            copies.put(name, stamp=stamp, data=data)
        return result

    def result(self, step: str, key: str) -> ActionResult | None:
        """The whole record under a key, or None when it is absent or damaged. Raises StoreError."""
        name = action_name(step, key)
        entry = self._listed.get(name) if self._listed else None
        return self._read_result(name, stamp=entry.stamp if entry else "")

    def failure(self, step: str, key: str) -> Failure | None:
        """The recorded failure under a key, or None."""
        name = failure_name(step, key)
        try:
            if self._entry(name) is None:
                return None
            failure = msgspec.json.decode(self.store.read(name) or b"", type=Failure)
            self.keeper.keep(kept.digest for kept in (failure.log, failure.bundle) if kept)
        except StoreError as error:
            self._missed(error)
            return None
        except ValueError:
            self.errors += 1
            return None
        return failure if failure.key == key else None

    def record(self, result: ActionResult, *, replacing: bool) -> ActionResult:
        """Keep a result whose blobs are already stored; return the one that holds from now on.

        The first writer wins and the loser adopts the winner's record, unless ``replacing`` says
        that the record which is there cannot be used (or that a person forced the rebuild).
        """
        name = action_name(result.step, result.key)
        result = msgspec.structs.replace(result, seal=seal_of(result))
        held = result
        if replacing:
            self.store.replace(name, encode(result))
        elif not self.store.create(name, encode(result)):
            winner = self._read_result(name)
            if winner is None or winner.key != result.key:
                self.store.replace(name, encode(result))
            else:
                held = winner
        self.store.remove(failure_name(result.step, result.key))
        return held

    def record_failure(self, failure: Failure, *, superseding: bool = False) -> None:
        """Keep a failure beside the results; the newest one counts.

        ``superseding``: a forced rebuild has shown that an older result under the key does not
        hold, so its record goes.
        """
        self.store.replace(failure_name(failure.step, failure.key), encode(failure))
        if superseding:
            self.store.remove(action_name(failure.step, failure.key))

    def _load_index(self) -> None:
        try:
            seal, _, data = self.index_file.read_bytes().partition(b"\n")
            if seal.decode("ascii") != digest_bytes(data):
                return
            index = msgspec.msgpack.decode(data, type=_Index)
        except (OSError, ValueError):
            return
        if index.url == self.store.url:
            self._index = index.records

    def save_index(self) -> None:
        """Keep the index for the next start. Trouble is ignored: it only costs time."""
        self.verified.save()
        if self.copies:
            self.copies.tidy()
        if not self._changed:
            return
        temporary = self.index_file.with_name(f"{self.index_file.name}.{os.getpid()}")
        data = msgspec.msgpack.encode(_Index(self.store.url, self._index))
        with contextlib.suppress(OSError):
            self.index_file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(digest_bytes(data).encode("ascii") + b"\n" + data)
            temporary.replace(self.index_file)
        self._changed = False
