"""What may be removed, and when: the rules alone."""

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

import tidemill
from tidemill.retention import (
    DEAD,
    KINDS,
    SETTLED,
    Blob,
    Claim,
    Kept,
    Lease,
    Mark,
    Moment,
    Pin,
    digests_in,
    holds,
    is_dead,
    locked_releases,
    survey,
    sweepable_from,
    unclaimed,
    waits_for,
)

A, B, C = "a" * 64, "b" * 64, "c" * 64
NOW = datetime(2026, 11, 20, 3, tzinfo=UTC)
MARK = Mark(id="m", at=NOW, host="mill", candidates=())


def blobs(*digests: str) -> dict[str, Blob]:
    return {digest: Blob(size=10, stamp=f"stamp of {digest[0]}") for digest in digests}


def kinds(**named: str) -> dict[str, frozenset[str]]:
    return {letter * 64: frozenset(words.split()) for letter, words in named.items()}


def lease(run: str, *, knows: tuple[str, ...] = ()) -> Lease:
    return Lease(run=run, host="mill", began_at=NOW, beat="0", knows=knows)


def test_whatever_looks_like_a_digest_is_one_wherever_it_stands() -> None:
    text = f'{{"x": "{A}", "releases/{B}.json": 1, "key": "{C}0", "short": "{C[:63]}"}}'
    assert digests_in(text.encode()) == {A, B}


def test_a_lock_file_names_releases_and_other_digests() -> None:
    text = f'{{"release": "{A}", "artifacts": [{{"digest": "{C}"}}]}}\n"release"\n:\n"{B}"'
    assert locked_releases(text.encode()) == {A, B}
    assert locked_releases(b'{"release": "nightly"}') == frozenset()


def test_what_a_claim_names_stays_and_the_first_claim_is_the_reason() -> None:
    claims = [Claim("first", frozenset({A})), Claim("second", frozenset({A, B, "no blob"}))]
    found = survey(blobs(A, B, C), claims=claims, kinds=kinds(a="irpa", b="irpa", c="irpa"))
    assert [one.digest for one in found.candidates] == [C]
    assert found.size == 10
    assert found.kept == (Kept("first", 1, 10), Kept("second", 1, 10))
    assert unclaimed(blobs(A, B, C), claims) == {C}


def test_a_candidate_is_told_with_what_the_store_said_of_it() -> None:
    (one,) = survey(blobs(A), claims=[], kinds=kinds(a="irpa")).candidates
    assert (one.digest, one.size, one.stamp, one.kinds) == (A, 10, "stamp of a", ("irpa",))


@pytest.mark.parametrize("kind", ["irpa", "reference", "failure"])
def test_what_is_large_or_failed_may_go(kind: str) -> None:
    assert survey(blobs(A), claims=[], kinds=kinds(a=kind)).candidates


@pytest.mark.parametrize("kind", ["mlir", "vmfb", "verdict", "log", "source"])
def test_what_is_small_or_not_ours_stays_unless_it_is_named(kind: str) -> None:
    found = survey(blobs(A), claims=[], kinds=kinds(a=kind))
    assert found.candidates == ()
    assert found.kept == (Kept(f"of kind {kind}, which is not swept", 1, 10),)
    assert survey(blobs(A), claims=[], kinds=kinds(a=kind), swept=frozenset({kind})).candidates


def test_a_blob_of_two_kinds_goes_only_with_both() -> None:
    both = kinds(a="irpa source")
    assert not survey(blobs(A), claims=[], kinds=both).candidates
    assert survey(blobs(A), claims=[], kinds=both, swept=frozenset({"irpa", "source"})).candidates


def test_a_blob_that_nothing_names_stays_unless_it_is_asked_for() -> None:
    assert not survey(blobs(A), claims=[], kinds={}).candidates
    assert survey(blobs(A), claims=[], kinds={}, swept=frozenset(KINDS)).candidates


def test_gc_knows_every_kind_that_a_step_makes() -> None:
    work = Path(tidemill.__file__).parent / "steps" / "work"
    sources = "".join(path.read_text(encoding="utf-8") for path in work.rglob("*.py"))
    made = set(re.findall(r'Made\([^)]*kind="([a-z]+)"', sources))
    assert {"mlir", "quantised", "table"} <= made
    assert made - set(KINDS) == set()


def test_a_pin_holds_to_the_end_of_its_last_day() -> None:
    def pin(expires: date | None) -> Pin:
        return Pin(name="p", reason="r", owner="o", created_at=NOW, expires=expires)

    today = NOW.date()
    assert holds(pin(None), today=today)
    assert holds(pin(today), today=today)
    assert not holds(pin(today - timedelta(days=1)), today=today)


def test_a_mark_is_swept_after_its_grace_and_never_at_once() -> None:
    assert sweepable_from(MARK, grace=timedelta(days=7)) == NOW + timedelta(days=7)
    assert sweepable_from(MARK, grace=timedelta(0)) == NOW + SETTLED


def test_a_sweep_waits_for_runs_that_do_not_know_its_mark() -> None:
    old, new = lease("old"), lease("new", knows=("other", "m"))
    assert waits_for(MARK, [(old, None), (new, None)], now=NOW) == [old]


def test_a_run_is_dead_once_its_lease_was_seen_unchanged_for_a_day() -> None:
    long_ago = Moment(at=NOW - DEAD, host="mill")
    lately = Moment(at=NOW - DEAD + timedelta(seconds=1), host="mill")
    assert is_dead(long_ago, now=NOW)
    assert not is_dead(lately, now=NOW)
    assert not is_dead(None, now=NOW)
    assert waits_for(MARK, [(lease("gone"), long_ago), (lease("here"), lately)], now=NOW) == [
        lease("here")
    ]
