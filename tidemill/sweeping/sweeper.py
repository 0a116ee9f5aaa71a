"""One gc: looks, marks, and sweeps what earlier marks have condemned. docs/adr/0013-retention.md.

A mark removes nothing. A sweep removes blobs in short windows that are announced before they begin,
and looks at everything that may keep a blob again after each announcement. However a gc ends, and
however many there are, no blob that something keeps is removed.
"""

import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tidemill import keeping
from tidemill.errors import StoreError
from tidemill.keeping import Clock, Keeper, last_window, read_marks
from tidemill.records import encode
from tidemill.retention import (
    GRACE,
    SETTLED,
    SWEPT_KINDS,
    WINDOW_OVER_SECONDS,
    WINDOW_SECONDS,
    Condemned,
    Lease,
    Mark,
    Survey,
    survey,
    sweepable_from,
    unclaimed,
    waits_for,
)
from tidemill.store.contract import Store
from tidemill.store.layout import (
    blob_name,
    mark_folder,
    mark_name,
    window_name,
)
from tidemill.sweeping.leases import note, read_leases, remove_folder, tidy
from tidemill.sweeping.roots import Roots, kinds_of, read_blobs

Progress = Callable[["Step"], None]


class Outrun(StoreError):  # noqa: N818 - named as LostRace is
    """Another gc sweeps the same mark."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something a sweep does: it waits ``seconds`` and says why, or has removed ``blob``."""

    why: str = ""
    seconds: float = 0.0
    blob: Condemned | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMark:
    """A mark, from when it may be swept, and the runs at work that it has to wait for now."""

    mark: Mark
    sweepable_from: datetime
    waits_for: tuple[Lease, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a gc would do now. ``fresh`` are the candidates that no open mark has condemned yet."""

    survey: Survey
    marks: tuple[OpenMark, ...]
    fresh: tuple[Condemned, ...]


@dataclass(slots=True, kw_only=True)
class Swept:
    """What a sweep did. With ``waits_for`` it removed nothing, and the mark stays open.

    ``spared`` counts candidates by why they stay.
    """

    mark: Mark
    removed: list[Condemned] = field(default_factory=list)
    spared: Counter[str] = field(default_factory=Counter)
    waits_for: tuple[Lease, ...] = ()

    @property
    def size(self) -> int:
        """The bytes that were freed."""
        return sum(one.size for one in self.removed)


class Sweeper:
    """gc of one store."""

    def __init__(
        self,
        store: Store,
        *,
        roots: Roots,
        kinds: frozenset[str] = SWEPT_KINDS,
        grace: timedelta = GRACE,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._roots = roots
        self._kinds = kinds
        self._grace = grace
        self._clock = clock or keeping.CLOCK

    def plan(self) -> Plan:
        """Look, and write nothing. Raises StoreError when what is kept cannot be known."""
        blobs = read_blobs(self._store)
        claims = self._roots.claims(today=self._clock.now().date())
        rest = unclaimed(blobs, claims)
        found = survey(blobs, claims=claims, kinds=kinds_of(self._store, rest), swept=self._kinds)
        leases = read_leases(self._store)
        marks = read_marks(self._store)
        condemned = {one.digest for mark in marks for one in mark.candidates}
        return Plan(
            survey=found,
            marks=tuple(
                OpenMark(
                    mark=mark,
                    sweepable_from=sweepable_from(mark, grace=self._grace),
                    waits_for=tuple(waits_for(mark, leases, now=self._clock.now())),
                )
                for mark in marks
            ),
            fresh=tuple(one for one in found.candidates if one.digest not in condemned),
        )

    def mark(self, plan: Plan) -> Mark | None:
        """Condemn what a plan found and no open mark has; None when that is nothing."""
        tidy(self._store, clock=self._clock)
        if not plan.fresh:
            return None
        moment = self._clock.moment()
        mark = Mark(
            id=f"{moment.at:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}",
            at=moment.at,
            host=moment.host,
            candidates=plan.fresh,
        )
        self._store.create(mark_name(mark.id), encode(mark))
        return mark

    def due(self) -> list[Mark]:
        """The open marks that were made a grace period ago or more, oldest first."""
        now = self._clock.now()
        return [mark for mark in read_marks(self._store) if now >= mark.at + self._grace]

    def sweep(self, mark: Mark, *, progress: Progress = lambda _: None) -> Swept:
        """Remove what a mark that is due has condemned and nothing keeps; then close the mark.

        Whenever this dies, a later call goes on. Raises Outrun when another gc sweeps the same
        mark, and StoreError when what is kept cannot be known (any more).
        """
        self._settle(mark, progress=progress)
        number = self._wait_out(mark, progress=progress)
        done, pending = Swept(mark=mark), deque(mark.candidates)
        while True:
            number, left = number + 1, len(pending)
            if self._window(number, pending=pending, done=done, progress=progress):
                return done
            if pending and len(pending) == left:
                raise StoreError(
                    f"reading what is kept in {self._store.url} takes longer than the"
                    f" {WINDOW_SECONDS:.0f} s within which gc may remove blobs",
                    hint="run gc nearer to the store; nothing was removed in this try",
                )

    def _settle(self, mark: Mark, *, progress: Progress) -> None:
        left = (mark.at + SETTLED - self._clock.now()).total_seconds()
        if left > 0:
            progress(Step(why="so that every host has seen the mark", seconds=left))
            self._clock.sleep(left)

    def _wait_out(self, mark: Mark, *, progress: Progress) -> int:
        _, ended = last_window(self._store, mark.id)
        if not ended:
            why = "another sweep of this mark is at work, or was killed"
            progress(Step(why=why, seconds=WINDOW_OVER_SECONDS))
        return Keeper(self._store, clock=self._clock).wait_out(mark.id)

    def _window(
        self, number: int, *, pending: deque[Condemned], done: Swept, progress: Progress
    ) -> bool:
        """Announce, look at what is kept, remove the rest in time. Whether the sweep is over."""
        mark, until = done.mark, self._clock.elapsed() + WINDOW_SECONDS
        self._announce(window_name(mark.id, number), mark=mark)
        if self._store.stat(mark_name(mark.id)) is None:  # another gc came to its end meanwhile
            remove_folder(self._store, mark_folder(mark.id))
            return True
        # In this order: a run says what it relies on and moves its channel, and then ends.
        leases = read_leases(self._store)
        note(self._store, leases, clock=self._clock)
        done.waits_for = tuple(waits_for(mark, leases, now=self._clock.now()))
        if not done.waits_for:
            self._remove(pending, until=until, done=done, progress=progress)
            if not pending and self._clock.elapsed() < until:
                # While the window is open nobody else can have one. The mark goes first: a folder
                # without it is closed for good.
                self._store.remove(mark_name(mark.id))
                remove_folder(self._store, mark_folder(mark.id))
                return True
        self._announce(window_name(mark.id, number, ended=True), mark=mark)
        return bool(done.waits_for)

    def _announce(self, name: str, *, mark: Mark) -> None:
        if not self._store.create(name, encode(self._clock.moment())):
            raise Outrun(
                f"another gc is sweeping mark {mark.id} of {self._store.url}",
                hint="leave it to that one, or run again later",
            )

    def _remove(
        self, pending: deque[Condemned], *, until: float, done: Swept, progress: Progress
    ) -> None:
        why_kept = self._why_kept(done.mark)
        while pending and self._clock.elapsed() < until:
            one = pending[0]
            why = why_kept.get(one.digest) or self._changed(one)
            if self._clock.elapsed() >= until:
                return
            if why:
                done.spared[why] += 1
            else:
                self._store.remove(blob_name(one.digest))
                done.removed.append(one)
            pending.popleft()
            progress(Step(why=why, blob=one))

    def _why_kept(self, mark: Mark) -> Mapping[str, str]:
        """Candidate → why it stays after all."""
        kept = dict[str, str]()
        for entry in self._store.list(mark_folder(mark.id)):
            word, _, digest = entry.name.rpartition("/")[2].removesuffix(".json").partition("-")
            if word == "kept":
                kept[digest] = "a run relies on it"
        for claim in self._roots.claims(today=self._clock.now().date()):
            named = (one.digest for one in mark.candidates if one.digest in claim.digests)
            kept.update(dict.fromkeys(named, claim.reason))
        return kept

    def _changed(self, one: Condemned) -> str:
        entry = self._store.stat(blob_name(one.digest))
        if entry is None:
            return "gone already"
        return "" if entry.stamp == one.stamp else "written again since the mark"
