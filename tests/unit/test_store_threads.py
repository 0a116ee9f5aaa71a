"""The threads that read from a store: their results, and what becomes of them at an early end."""

import threading
from contextlib import suppress
from functools import partial

import pytest

from tidemill.store.threads import Pool


def test_results_and_errors_are_those_of_the_jobs() -> None:
    def fail() -> int:
        raise ValueError("as the test wants it")

    with Pool[int](2) as pool:
        asked = [pool.submit(partial(pow, number, 2)) for number in range(9)]
        failed = pool.submit(fail)
        assert [one.result() for one in asked] == [number**2 for number in range(9)]
        with pytest.raises(ValueError, match=r"^as the test wants it$"):
            failed.result()


def test_who_leaves_early_waits_for_nobody_and_what_has_not_begun_never_does() -> None:
    begun, go, done = threading.Event(), threading.Event(), list[str]()

    def wait() -> None:
        begun.set()
        go.wait()
        done.append("first")

    with suppress(KeyboardInterrupt), Pool[None](1) as pool:
        pool.submit(wait)
        pool.submit(lambda: done.append("second"))
        begun.wait()
        (thread,) = [one for one in threading.enumerate() if one.name == "tidemill-store-0"]
        assert thread.daemon
        raise KeyboardInterrupt
    assert pool.stopped.is_set()
    assert done == []
    go.set()
    thread.join()
    assert done == ["first"]
