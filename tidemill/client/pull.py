"""Brings the artifacts of a release into a folder, so that no file is ever torn.

With a cache, the folder changes only once everything is here; without one, file by file, so that
what has come is kept when a later file cannot be had.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.client.cache import Cache
from tidemill.client.choose import Choice, Resolved, choose, resolve
from tidemill.client.fetch import Fetcher
from tidemill.client.filling import Filling, Progress
from tidemill.client.folder import safe_path
from tidemill.client.lock import Lock, choose_locked, missing_of, resolve_locked
from tidemill.client.parallel import Stop
from tidemill.client.remember import RememberingStore
from tidemill.client.runtime import check_runtime
from tidemill.client.seen import SeenFiles
from tidemill.errors import StoreError, UsageError
from tidemill.records import Artifact
from tidemill.store.contract import BlobMissing, Store
from tidemill.store.trouble import disk_error

if TYPE_CHECKING:
    from tidemill.trust.follow import Trust

#: Files at a time. Their bytes are used as they come, so more than processors do no harm.
JOBS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PullReport:
    """What a pull did. ``refused`` was asked for and has no bytes, for the reason it carries.

    Of the files of an earlier pull into the same folder that this one does not cover, ``removed``
    are those that the release does not have, or has with other bytes: they were stale.
    ``left_over`` were kept: the release has the same bytes, or somebody else changed the file.
    Of ``copied``, ``uncached`` did not fit into the cache.
    """

    resolved: Resolved
    folder: Path
    copied: tuple[Artifact, ...]
    uncached: tuple[Artifact, ...]
    kept: tuple[Artifact, ...]
    refused: tuple[Artifact, ...]
    left_over: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def copied_bytes(self) -> int:
        """The bytes that were copied."""
        return sum(one.size for one in self.copied)


def pull(
    store: Store,
    patterns: Sequence[str],
    *,
    to: Path,
    channel: str = "",
    release: str = "",
    kinds: Collection[str] = (),
    require_validated: bool = False,
    locked: Lock | None = None,
    cache: Cache | None = None,
    offline: bool = False,
    any_runtime: bool = False,
    jobs: int = JOBS,
    trust: "Trust | None" = None,
    remember: bool = True,
    progress: Callable[[Progress], None] = lambda _: None,
    start: Callable[[int], None] = lambda _: None,
    moved: Callable[[int], None] = lambda _: None,
) -> PullReport:
    """Copy what ``patterns`` pick (see ``choose``) below the folder ``to``.

    Each file appears whole and verified, or not at all; one whose sha256 is right already is kept.
    Unchanged files of an earlier pull that the release does not have are removed. ``locked`` takes
    the place of channel and release and, where they are not given, of patterns and kinds.
    ``offline`` asks the store nothing. ``jobs`` files come at a time. ``remember`` what is in the
    folder, so that the next pull into it is quick.

    ``progress`` hears of every file that is done, ``start`` once of the bytes that have to come,
    ``moved`` of bytes that came; from several threads, one call at a time.

    Raises as ``resolve``, ``choose`` and ``choose_locked`` do, ToolError for a VMFB that the
    installed runtime cannot load (unless ``any_runtime``), and StoreError for trouble.
    """
    reader = reader_of(store, cache=cache, offline=offline)
    if locked:
        resolved = resolve_locked(reader, locked, channel=channel, release=release)
        choice = choose_locked(
            locked, resolved, patterns=patterns, kinds=kinds, require_validated=require_validated
        )
    else:
        resolved = resolve(reader, channel=channel, release=release, trust=trust)
        choice = choose(resolved, patterns, kinds=kinds, require_validated=require_validated)
    if not any_runtime:
        check_runtime(resolved.release, choice.wanted)
    targets = _targets(choice, resolved)
    stop = Stop()
    fetcher = Fetcher(store, cache=cache, offline=offline, stop=stop, moved=_one_at_a_time(moved))
    filling = Filling(
        to,
        targets,
        seen=SeenFiles(to, memory=cache.root / "folders" if cache and remember else None),
        fetcher=fetcher,
        progress=progress,
        start=start,
    )
    try:
        others = filling.run(resolved, store_url=store.url, jobs=jobs, stop=stop)
    except OSError as error:
        raise disk_error(error, doing="write what is pulled", where=to) from error
    except BlobMissing as error:
        if locked is None:
            raise
        raise missing_of(locked, error) from error
    copied = tuple(one for file, one in targets.items() if file not in filling.kept)
    return PullReport(
        resolved=resolved,
        folder=to,
        copied=copied,
        uncached=tuple(one for one in copied if one.digest in fetcher.uncached),
        kept=tuple(one for file, one in targets.items() if file in filling.kept),
        refused=choice.refused,
        left_over=others.left_over,
        removed=others.stale,
    )


def _targets(choice: Choice, resolved: Resolved) -> dict[str, Artifact]:
    """Where each wanted artifact goes, below the folder."""
    targets = {safe_path(one, resolved): one for one in choice.wanted}
    if len(targets) < len(choice.wanted):
        raise StoreError(f"{resolved.title} has two artifacts with the same file")
    return targets


def reader_of(store: Store, *, cache: Cache | None, offline: bool) -> Store:
    """``store`` with the cache's memory of its documents. Raises UsageError offline without one."""
    if cache is not None:
        return RememberingStore(store, cache.root / "documents", offline=offline)
    if offline:
        raise UsageError(
            "offline, and there is no cache to pull from", hint="name one: --cache DIR"
        )
    return store


def _one_at_a_time(tell: Callable[[int], None]) -> Callable[[int], None]:
    lock = threading.Lock()

    def told(number: int) -> None:
        with lock:
            tell(number)

    return told
