"""What the tests of stores share: processes that race, damage, and a process without rights."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from tests.signing import SIGNER
from tidemill.channels import head
from tidemill.moves import LostRace, move
from tidemill.records import Release
from tidemill.store import open_store

Result = TypeVar("Result")

_gate: Any = None


def release_named(toolchain: str) -> Release:
    """A release without artifacts, told from others by its toolchain."""
    return Release(pipeline="smoke", toolchain=toolchain, tools={}, artifacts=())


def _take_gate(gate: Any) -> None:
    global _gate  # noqa: PLW0603 - a barrier can only be inherited, when the process starts
    _gate = gate


def run_in_processes(
    work: Callable[..., Result], arguments: Sequence[tuple[Any, ...]]
) -> list[Result]:
    """``work(*arguments)`` in one new process each, all at work before the first one starts."""
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(len(arguments))
    with ProcessPoolExecutor(
        len(arguments), mp_context=context, initializer=_take_gate, initargs=(gate,)
    ) as pool:
        return [one.result(timeout=120) for one in [pool.submit(work, *a) for a in arguments]]


def race_to_create(url: str, names: Sequence[str], writer: int) -> list[str]:
    """The names that this writer won; all writers try each name at the same moment."""
    store, won = open_store(url), []
    for name in names:
        _gate.wait(60)
        if store.create(name, f"writer {writer} ".encode() * 500):
            won.append(name)
    return won


def race_for_a_channel(url: str, releases: tuple[str, str], writer: int, rounds: int) -> list[int]:
    """Try ``rounds`` times to move "nightly" as one of several writers; the sequences won.

    Two releases, since a move to the release that is the head already would write nothing.
    """
    store, won = open_store(url), list[int]()
    _gate.wait(60)
    for _ in range(rounds):
        entry = head(store, "nightly")
        at = entry.sequence if entry else 0
        release = releases[0] if entry is None or entry.release != releases[0] else releases[1]
        with suppress(LostRace):
            run = f"writer-{writer}"
            moved = move(
                store,
                "nightly",
                release=release,
                expecting=at,
                run=run,
                reason="race",
                signer=SIGNER,
            )
            if moved.run == run:  # else another has moved it to the same release
                won.append(moved.sequence)
    return won


def replace_or_read(url: str, name: str, rounds: int, writing: bool) -> int:
    """Replace one document ``rounds`` times, or read it until the last; how many reads were torn.

    Document ``n`` is ``n + 1`` times its own number, so every part of it tells its length.
    """
    store, torn, seen = open_store(url), 0, b""
    last = _document(rounds)
    _gate.wait(60)
    for number in range(1, rounds + 1) if writing else ():
        store.replace(name, _document(number))
    while not writing and seen != last:
        seen = store.read(name) or b""
        torn += seen != b"" and seen != _document(int(seen.split(b"\n")[0] or 0))
    return torn


def _document(number: int) -> bytes:
    return b"%d\n" % number * (1000 * (number % 7) + 1)


def damage_blob(path: Path, damage: str, *, other: bytes) -> None:
    """Spoil a file in place: flip a bit, truncate to half, empty it, or swap in ``other``."""
    data = path.read_bytes()
    middle = len(data) // 2
    spoiled = {
        "flip": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "truncate": data[:middle],
        "empty": b"",
        "swap": other,
    }
    path.write_bytes(spoiled[damage])


@contextmanager
def unprivileged() -> Iterator[None]:
    """Act as a user to whom permissions apply, when the tests run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
