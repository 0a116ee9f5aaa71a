"""`make faults`: thousands of fault schedules, counted, and every violation printed.

Two processes spoil requests to real S3 servers, a third kills writers of a folder store. Then six
writers race for one channel on each kind. Exit code 1 when anything was violated.
"""

import argparse
import itertools
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.faults.killed import Killing, pairs
from tests.faults.proxy import running_proxy
from tests.faults.spoiled import Spoiling, Tally, random_plans, single_plans
from tests.faults.store_helpers import race_for_a_channel, release_named, run_in_processes
from tests.servers import WRITER, running_server
from tidemill.channels import history, put_release
from tidemill.store import open_store

_EVERY_SECONDS = 10.0
_WRITERS = 6
_SPOILERS = 2
#: A killed process leaves what it has written to the kernel, whatever is below: memory is quicker.
_MEMORY = Path("/dev/shm")  # noqa: S108 - only folders with names of their own are made there


def spoil(share: int, least: int) -> Tally:
    """Schedules of spoiled requests: at least ``least`` over all shares, and in them each fault at
    each request.
    """
    tally = Tally()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(running_server("seaweedfs"))
        proxy = stack.enter_context(running_proxy(server.endpoint))
        spoiling = Spoiling(server, proxy, "night", folder, tally)
        requests = spoiling.requests_of_a_night()
        singles = list(single_plans(requests))[share::_SPOILERS]
        lacking = max(0, least // _SPOILERS - len(singles))
        more = itertools.islice(random_plans(requests, seed=share), lacking)
        _say(f"S3 {share}: {requests} requests a night, {len(singles)} single plans, then random")
        _all(spoiling.run, itertools.chain(singles, more), tally, f"S3 {share}")
        tally.looks += spoiling.looks
    return tally


def kill() -> Tally:
    """Every kill, and every pair of kills."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        killing = Killing(Path(folder) / "work", tally)
        effects = killing.effects_of_a_night()
        _say(f"folder: {effects} effects a night, every pair of kills")
        _all(killing.run, pairs(effects), tally, "folder")
    return tally


def race(url: str, *, rounds: int) -> int:
    """Six writers who each try so often to move one channel: how often it moved.

    Raises AssertionError when a sequence has not exactly one winner, who is the one it tells of.
    """
    store = open_store(url)
    releases = [str(put_release(store, release_named(name))) for name in ("a", "b")]
    wins = run_in_processes(
        race_for_a_channel,
        [(store.url, tuple(releases), number, rounds) for number in range(_WRITERS)],
    )
    won = sorted(sequence for one in wins for sequence in one)
    # Who loses has lost to one winner, and each of the others can lose to that one but once.
    assert won == list(range(1, len(won) + 1)), "not exactly one winner of each sequence"
    assert len(won) >= rounds, f"{_WRITERS} writers won only {len(won)} of {rounds} rounds"
    winner = {sequence: f"writer-{number}" for number, one in enumerate(wins) for sequence in one}
    told = {one.sequence: one.run for one in history(store, "nightly")}
    assert told == winner, "the channel tells of other winners"
    return len(won)


def _all(run: Callable[[Any], None], plans: Any, tally: Tally, what: str) -> None:
    said = time.monotonic()
    for plan in plans:
        run(plan)
        if time.monotonic() - said > _EVERY_SECONDS:
            said = time.monotonic()
            _say(f"{what}: {tally.schedules} schedules, {len(tally.violations)} violations")


def _say(words: str) -> None:
    print(words, flush=True)  # noqa: T201 - a command


def _races(rounds: int) -> list[str]:
    found = []
    with tempfile.TemporaryDirectory() as folder, running_server("seaweedfs") as server:
        for what, url in (("folder", folder), ("S3", server.store_url("race"))):
            try:
                ended = f"{race(url, rounds=rounds)} sequences, one winner of each"
            except AssertionError as violation:
                ended = str(violation)
                found.append(f"{what}: {violation}")
            _say(f"{what}: {_WRITERS} writers x {rounds} rounds on one channel: {ended}")
    return found


def main() -> int:
    """Run everything and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--s3", type=int, default=2000, help="schedules on S3, at least")
    parser.add_argument("--rounds", type=int, default=200, help="tries of each racing writer")
    options = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": WRITER[0], "AWS_SECRET_ACCESS_KEY": WRITER[1]}
    if _MEMORY.is_dir():
        os.environ.setdefault("TMPDIR", str(_MEMORY))
    started = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(_SPOILERS + 1) as pool:
        killing = pool.apply_async(kill)
        spoiling = [pool.apply_async(spoil, (n, options.s3)) for n in range(_SPOILERS)]
        tallies = [task.get() for task in (*spoiling, killing)]
    violations = [one for tally in tallies for one in tally.violations] + _races(options.rounds)
    names = (*(f"S3 {n}" for n in range(_SPOILERS)), "folder")
    for what, tally in zip(names, tallies, strict=True):
        _say(
            f"{what}: {tally.schedules} schedules, {tally.faults} faults met, {tally.looks} looks"
            f" of readers, {tally.published} nights published, {tally.failed} failed with exit"
            f" code 5 and done again, {len(tally.violations)} violations"
        )
    for violation in violations:
        _say(f"VIOLATION {violation}")
    total = sum(tally.schedules for tally in tallies)
    seconds = time.monotonic() - started
    _say(f"{total} fault schedules, {len(violations)} violations, {seconds:.0f} s")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
