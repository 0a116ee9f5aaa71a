"""A night into a folder, killed with SIGKILL before every effect on the disk, one by one.

The writer is a forked process that kills itself, for real, at the n-th call that changes the disk;
so the store is as the calls before left it. Then a second writer may be killed as well, and the
third must come to the end. A reader looks in between.
"""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.nights import CHANNEL, Reader, after, publish
from tests.faults.spoiled import Tally
from tidemill.channels import latest
from tidemill.errors import StoreError
from tidemill.store.folder import FolderStore
from tidemill.trust.follow import Trust

#: What changes a disk, as Python's audit events name it (docs.python.org/3/library/audit_events).
_EFFECTS = {"os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"}


class _Killer:
    """Counts effects on the disk, and ends this process before a chosen one."""

    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0
        self._fsync = os.fsync

    def arm(self) -> None:
        sys.addaudithook(self._heard)
        setattr(os, "fsync", self._flush)  # noqa: B010 - it has no audit event

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
        if event in _EFFECTS or (event == "open" and int(arguments[2] or 0) & writes):
            self._effect()

    def _flush(self, descriptor: int) -> None:
        self._effect()
        self._fsync(descriptor)

    def _effect(self) -> None:
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


def night_in_a_child(store: Path, number: int, *, scratch: Path, kill_at: int) -> int | None:
    """Do a night in a fork; the effects that it had, or None when it was killed before one."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        killer = _Killer(kill_at)
        try:
            opened = FolderStore(store)
            killer.arm()
            publish(opened, number, scratch=scratch)
            os.write(writing, str(killer.count).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        told = stream.read()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return None if killed else int(told or -1)


def pairs(effects: int) -> Iterator[tuple[int, int]]:
    """Every first kill alone, then with every second one."""
    yield from ((first, -1) for first in range(effects))
    yield from ((first, second) for first in range(effects) for second in range(effects))


@dataclass
class Killing:
    """Nights one after the other, each killed as planned."""

    root: Path
    tally: Tally
    _number: int = 0
    _per_store: int = 40

    def effects_of_a_night(self) -> int:
        """How many effects on the disk a night has that nobody disturbs."""
        for _ in range(2):
            self._number += 1
            effects = self._child(-1)
            assert effects, "a night alone does not end well"
        return effects or 0

    def run(self, plan: tuple[int, int]) -> None:
        """One night, killed at each of ``plan`` that is not -1, then to its end."""
        if self._number % self._per_store == 0:
            shutil.rmtree(self.root, ignore_errors=True)
        self._number += 1
        self.root.mkdir(parents=True, exist_ok=True)
        opened = FolderStore(self.root / "store")
        reader = Reader(opened, Trust(self.root / f"trust-{self._number}"))
        before = latest(opened, CHANNEL)
        problems = []
        for kill_at in plan:
            if kill_at >= 0:
                self.tally.faults += self._child(kill_at) is None
                problems.append(reader.look())
        if self._child(-1) is None:
            problems.append("the last writer was killed, though nobody meant it")
        try:
            problems += [after(opened, self._number, before=before), reader.look(again=True)]
        except StoreError as error:
            problems.append(error.message)
        self.tally.schedules += 1
        self.tally.looks += reader.looks
        self.tally.published += 1
        for problem in problems:
            self.tally.add(problem, plan)

    def _child(self, kill_at: int) -> int | None:
        self.root.mkdir(parents=True, exist_ok=True)
        store = self.root / "store"
        return night_in_a_child(store, self._number, scratch=self.root, kill_at=kill_at)
