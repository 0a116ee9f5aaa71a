"""What a reader believes of a channel: python-tuf's client over any store.

A reader keeps, per store, the first root that it saw (or was given) and, per channel, the newest
metadata that it has verified. So it notices a channel that goes back, stands still past its expiry,
mixes what does not belong together, or is signed by somebody else.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from tuf.api import exceptions as tuf_errors
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from tidemill.digest import digest_bytes
from tidemill.errors import StoreError
from tidemill.records import ChannelEntry
from tidemill.store.contract import Denied, Store
from tidemill.store.layout import root_name, short
from tidemill.store.scratch import temporary_name
from tidemill.store.trouble import disk_error
from tidemill.trust.documents import LARGEST_BYTES, ChannelDocument, told

_CONFIG = UpdaterConfig(
    root_max_length=LARGEST_BYTES,
    timestamp_max_length=LARGEST_BYTES,
    snapshot_max_length=LARGEST_BYTES,
    targets_max_length=LARGEST_BYTES,
)
_ROLES = ("timestamp.json", "snapshot.json", "targets.json")
_ABSENT = 404
Said = Callable[[str], None]


class ChannelRefused(StoreError):  # noqa: N818 - named as BlobDamaged is
    """What the store says of a channel is not what its signer said, or is too old."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What this machine believes of stores. ``folder`` is local; it need not exist.

    ``said`` hears of a root that is trusted because nothing was known before. ``root`` is the first
    root, given by a person instead.
    """

    folder: Path
    said: Said = lambda _words: None
    root: Path | None = None

    def accept(self, store: Store, document: ChannelDocument, *, channel: str) -> ChannelEntry:
        """The entry of ``document``, once everything about it holds. Raises ChannelRefused.

        Then this is the newest that is known of the channel, and nothing older is accepted.
        """
        state = self._of(store, channel)
        title = f"channel {channel!r} of {store.url}"
        try:
            first = self._first_root(store)
            with tempfile.TemporaryDirectory(prefix="tidemill-") as scratch:
                work = Path(scratch)
                lent = self._lend(work, store, state)
                _refresh(work, store, document, first=first)
                entry = told(_verified(work), what=title)
                _expect(entry, channel=channel, title=title)
                self._keep(work, store, state, lent=lent)
        except tuf_errors.DownloadError as error:
            if isinstance(error.__cause__, StoreError):
                raise error.__cause__ from error
            raise _refused(error, title=title) from error
        except tuf_errors.RepositoryError as error:
            raise _refused(error, title=title) from error
        except OSError as error:
            raise disk_error(error, doing="keep what is trusted", where=self.folder) from error
        return entry

    def seen(self, store: Store, channel: str) -> int:
        """The newest sequence that was accepted of a channel; 0 when there was none."""
        return _version(self._of(store, channel) / "timestamp.json")

    @staticmethod
    def vanished(store: Store, channel: str, *, seen: int) -> ChannelRefused:
        """The error for a channel that was there and is not."""
        return ChannelRefused(
            f"channel {channel!r} of {store.url} is refused: it was at sequence {seen}, and now it"
            " is not there at all",
            hint="if the store was made anew on purpose: tidemill channel forget",
        )

    def held(self, store: Store, channel: str) -> ChannelEntry | None:
        """The entry that was accepted last; None when it cannot be read any more."""
        try:
            return told(_verified(self._of(store, channel)), what="what was seen of it before")
        except (OSError, StoreError):
            return None

    def forget(self, store: Store) -> None:
        """Know nothing of a store any more: it was made anew, or its keys were lost."""
        shutil.rmtree(self._store(store), ignore_errors=True)

    def _store(self, store: Store) -> Path:
        return self.folder / digest_bytes(store.url.encode())[:16]

    def _of(self, store: Store, channel: str) -> Path:
        return self._store(store) / "channels" / channel

    def _first_root(self, store: Store) -> bytes:
        held = self._store(store) / "root.json"
        if self.root is not None:
            return self.root.read_bytes()
        if held.exists():
            return held.read_bytes()
        data = store.read(root_name(1))
        if data is None:
            raise StoreError(
                f"{store.url} has no root that says who signs its channels",
                hint="its producer makes one with the first run; ask whoever owns the store",
            )
        self.said(f"trusting {store.url} on first use (root {short(digest_bytes(data))})")
        _write(held, data)
        return data

    def _lend(self, work: Path, store: Store, state: Path) -> bytes:
        """Put copies of what is known into ``work``; the timestamp among them, b"" for none.

        Updater is for one process at a time: each reader works on copies.
        """
        roots = self._store(store) / "root_history"
        if roots.is_dir():
            shutil.copytree(roots, work / "root_history")
        for name in _ROLES:
            if (state / name).is_file():
                shutil.copyfile(state / name, work / name)
        return _bytes(work / "timestamp.json")

    def _keep(self, work: Path, store: Store, state: Path, *, lent: bytes) -> None:
        for path in sorted((work / "root_history").iterdir()):
            _write(self._store(store) / "root_history" / path.name, path.read_bytes())
        there = state / "timestamp.json"
        if _version(work / "timestamp.json") < _version(there) and _bytes(there) != lent:
            return  # another reader has seen a newer one meanwhile
        # What was lent and is newer was signed with a key that is not trusted any more.
        # The timestamp last: it is what the next reader compares with.
        for name in reversed(_ROLES):
            _write(state / name, (work / name).read_bytes())


def _version(timestamp: Path) -> int:
    try:
        return int(msgspec.json.decode(timestamp.read_bytes())["signed"]["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(temporary_name())
    try:
        temporary.write_bytes(data)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _refresh(work: Path, store: Store, document: ChannelDocument, *, first: bytes) -> None:
    updater = Updater(
        metadata_dir=str(work),
        metadata_base_url="tidemill:///",
        fetcher=_Fetcher(store, document),
        config=_CONFIG,
        bootstrap=first,
    )
    updater.refresh()


class _Fetcher(FetcherInterface):
    """Serves a channel's three files from one document, and roots from the store."""

    def __init__(self, store: Store, document: ChannelDocument) -> None:
        self._store, self._document = store, document

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.rpartition("/")[2].removesuffix(".json")
        version, _, role = name.rpartition(".")
        if role == "root":
            try:
                data = self._store.read(root_name(int(version)))
            except Denied:  # what many public buckets say of what is not there
                data = None
            if data is None:
                raise tuf_errors.DownloadHTTPError(f"no root {version}", _ABSENT)
            return iter((data,))
        return iter((str(getattr(self._document, role)).encode(),))


def _verified(work: Path) -> ChannelDocument:
    """What the updater has kept: it keeps nothing that it has not verified."""
    timestamp, snapshot, targets = ((work / name).read_text(encoding="utf-8") for name in _ROLES)
    return ChannelDocument(timestamp=timestamp, snapshot=snapshot, targets=targets)


def _expect(entry: ChannelEntry, *, channel: str, title: str) -> None:
    if entry.channel != channel:
        raise ChannelRefused(
            f"{title}: what is there was signed for channel {entry.channel!r}",
            hint="somebody has moved files in the store; tell whoever owns it",
        )


_OWNER = "tell whoever owns the store; until then use what was pulled before"
_EXPIRED = (
    "an expired channel may hide a newer one: if you are --offline, ask the store; else its"
    " producer must run the pipeline, or `tidemill channel sign`"
)
_REASONS: tuple[tuple[type[Exception], str, str], ...] = (
    (
        tuf_errors.BadVersionNumberError,
        "an older state is offered than was seen before (a rollback), or versions disagree",
        "if the store was made anew on purpose: tidemill channel forget",
    ),
    (
        tuf_errors.ExpiredMetadataError,
        "what is there has expired (nobody has signed it anew)",
        _EXPIRED,
    ),
    (
        tuf_errors.LengthOrHashMismatchError,
        "its files do not belong together (their sizes or hashes differ from what was signed)",
        _OWNER,
    ),
    (
        tuf_errors.UnsignedMetadataError,
        "it is not signed by a key that this machine trusts for the store",
        "if its key was changed on purpose without a rotation: tidemill channel forget",
    ),
    (tuf_errors.DownloadLengthMismatchError, "it is bigger than any channel can be", _OWNER),
)


def _refused(error: Exception, *, title: str) -> ChannelRefused:
    for kind, words, hint in _REASONS:
        if isinstance(error, kind):
            return ChannelRefused(f"{title} is refused: {words}: {error}", hint=hint)
    return ChannelRefused(f"{title} is refused: it cannot be read: {error}", hint=_OWNER)
