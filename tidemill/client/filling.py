"""Fills a folder with files of a release: what is right stays, the rest comes in parallel."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tidemill.client.choose import Resolved
from tidemill.client.fetch import Fetcher
from tidemill.client.folder import (
    Others,
    PullRecord,
    make_folders,
    others_in,
    remove,
    take_record_away,
    write_record,
)
from tidemill.client.parallel import Stop, run_all
from tidemill.client.seen import SeenFiles
from tidemill.records import Artifact
from tidemill.store.scratch import sweep, temporary_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One artifact is done. Counts are of this whole pull; bytes include files that were kept."""

    artifact: Artifact
    copied: bool
    files: int
    files_total: int
    bytes: int
    bytes_total: int


class Filling:
    """One pull of ``targets`` (path below the folder → artifact) into the folder ``to``.

    ``progress`` hears of every file, one call at a time, from several threads; ``start`` once, of
    the bytes that have to come.
    """

    def __init__(
        self,
        to: Path,
        targets: Mapping[str, Artifact],
        *,
        seen: SeenFiles,
        fetcher: Fetcher,
        progress: Callable[[Progress], None],
        start: Callable[[int], None],
    ) -> None:
        self._to = to
        self._targets = targets
        self._seen = seen
        self._fetcher = fetcher
        self._tell = progress
        self._start = start
        self._lock = threading.Lock()
        self._files = self._bytes = 0
        self._bytes_total = sum(one.size for one in targets.values())
        self.kept: frozenset[str] = frozenset()

    def run(self, resolved: Resolved, *, store_url: str, jobs: int, stop: Stop) -> Others:
        """Do it; what earlier pulls left there is returned. Raises StoreError and OSError."""
        self.kept = frozenset(
            file
            for file, one in self._targets.items()
            if self._seen.holds(file, digest=one.digest, size=one.size)
        )
        others = others_in(
            self._to, resolved=resolved, targets=self._targets, kept=self.kept, seen=self._seen
        )
        if others.broken:
            take_record_away(self._to)
        self._bring(others.stale, jobs=jobs, stop=stop)
        record = PullRecord(
            store=store_url,
            channel=resolved.channel,
            sequence=resolved.sequence,
            release=resolved.digest,
            artifacts=(*self._targets.values(), *others.current),
        )
        write_record(self._to, record)
        self._seen.save()
        return others

    def _bring(self, stale: tuple[str, ...], *, jobs: int, stop: Stop) -> None:
        lacking = {file: one for file, one in self._targets.items() if file not in self.kept}
        self._fetcher.check_offline(lacking.values())
        self._start(sum({one.digest: one.size for one in lacking.values()}.values()))
        for file, one in self._targets.items():
            if file in self.kept:
                self._done(one, copied=False)
        if not self._fetcher.keeps:
            self._fetcher.check_there(lacking.values())
            self._change(stale, any_file=bool(lacking))
        made = make_folders({(self._to / file).parent for file in lacking})
        try:
            self._bring_files(lacking, stale=stale, jobs=jobs, stop=stop)
        except BaseException:
            for folder in made:
                with suppress(OSError):  # what has come is in it
                    folder.rmdir()
            raise

    def _bring_files(
        self, lacking: Mapping[str, Artifact], *, stale: tuple[str, ...], jobs: int, stop: Stop
    ) -> None:
        for folder in {(self._to / file).parent for file in lacking}:
            sweep(folder)
        if not self._fetcher.keeps:
            places = {file: self._to / file for file in lacking}
            self._fetch(lacking, places, jobs=jobs, stop=stop)
            return
        places = {file: (self._to / file).with_name(temporary_name()) for file in lacking}
        try:
            self._fetch(lacking, places, jobs=jobs, stop=stop)
            self._change(stale, any_file=bool(lacking))
            for file, place in places.items():
                place.replace(self._to / file)
                self._seen.copied(file, digest=lacking[file].digest)
        finally:
            for place in places.values():
                place.unlink(missing_ok=True)

    def _change(self, stale: tuple[str, ...], *, any_file: bool) -> None:
        """From here on the folder is not what its record says."""
        if stale or any_file:
            take_record_away(self._to)
        remove(self._to, stale)

    def _fetch(
        self,
        lacking: Mapping[str, Artifact],
        places: Mapping[str, Path],
        *,
        jobs: int,
        stop: Stop,
    ) -> None:
        same: dict[str, list[str]] = {}
        for file, one in lacking.items():
            same.setdefault(one.digest, []).append(file)
        self._fetcher.use(same)
        work = [partial(self._fetch_one, files, lacking, places) for files in same.values()]
        run_all(work, threads=jobs, stop=stop)

    def _fetch_one(
        self, files: Sequence[str], lacking: Mapping[str, Artifact], places: Mapping[str, Path]
    ) -> None:
        self._fetcher.copy(lacking[files[0]], [places[file] for file in files])
        for file in files:
            if places[file] == self._to / file:
                self._seen.copied(file, digest=lacking[file].digest)
            self._done(lacking[file], copied=True)

    def _done(self, one: Artifact, *, copied: bool) -> None:
        with self._lock:
            self._files += 1
            self._bytes += one.size
            self._tell(
                Progress(
                    artifact=one,
                    copied=copied,
                    files=self._files,
                    files_total=len(self._targets),
                    bytes=self._bytes,
                    bytes_total=self._bytes_total,
                )
            )
