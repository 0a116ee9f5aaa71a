"""Known failures turn amber until a date; from then on, and when they pass, they are red."""

import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.unit.made import failure_of, graph_of
from tidemill.expectations import Seen, expected, expired, problems, unmatched
from tidemill.manifest.targets import Expectation, inherit
from tidemill.records import Failure

TODAY = datetime.date(2027, 1, 15)
ADDRESS = "tiny/encoder/f16/gfx942"
WORDS = "expectation tiny/*/f16/gfx942 (compile, compile)"


def expectation(**changes: Any) -> Expectation:
    fields = {
        "address": "tiny/*/f16/gfx942",
        "stage": "compile",
        "class": "compile",
        "match": "shared memory",
        "reason": "The compiler asks for too much.",
        "issue": "https://example.org/issues/1",
        "owner": "somebody",
        "expires": "2027-01-31",
    }
    return Expectation.model_validate({**fields, **changes})


@pytest.fixture
def failure(tmp_path: Path) -> Failure:
    node = graph_of(tmp_path).nodes[f"compile:{ADDRESS}"]
    return failure_of(node, lines=("error: failed", "uses 81920 bytes of shared memory"))


def test_a_covered_failure_is_expected(failure: Failure) -> None:
    one = expectation()
    assert expected(failure, expectations=[one], today=TODAY) is one


@pytest.mark.parametrize(
    "change",
    [
        {"address": "tiny/*/f32/gfx942"},
        {"address": "tiny/encoder/f16/gfx9"},
        {"stage": "validate"},
        {"class": "crash"},
        {"match": "SHARED MEMORY"},
        {"expires": "2027-01-14"},
    ],
)
def test_a_failure_that_differs_in_anything_is_not_expected(
    failure: Failure, change: dict[str, str]
) -> None:
    assert expected(failure, expectations=[expectation(**change)], today=TODAY) is None


@pytest.mark.parametrize("address", ["tiny", "tiny/encoder", "*/*/*/gfx942", ADDRESS])
def test_an_address_may_be_a_glob_or_a_beginning(failure: Failure, address: str) -> None:
    assert expected(failure, expectations=[expectation(address=address)], today=TODAY)


def test_the_first_expectation_that_fits_counts(failure: Failure) -> None:
    late, first, second = expectation(expires="2020-01-01"), expectation(), expectation()
    assert expected(failure, expectations=[late, first, second], today=TODAY) is first


def test_an_expectation_holds_on_its_last_day() -> None:
    assert not expired(expectation(expires="2027-01-15"), today=TODAY)
    assert expired(expectation(expires="2027-01-14"), today=TODAY)


def test_an_expected_failure_is_no_problem(failure: Failure) -> None:
    seen = [Seen(address=ADDRESS, stage="compile", failure=failure)]
    assert problems(seen, expectations=[expectation()], today=TODAY) == []


def test_an_expired_expectation_is_a_problem_that_names_its_owner(failure: Failure) -> None:
    seen = [Seen(address=ADDRESS, stage="compile", failure=failure)]
    late = expectation(expires="2027-01-14")
    assert problems(seen, expectations=[late], today=TODAY) == [
        f"{WORDS} expired on 2027-01-14: somebody must decide (https://example.org/issues/1)"
    ]


def test_an_unexpected_pass_is_a_problem() -> None:
    seen = [Seen(address=ADDRESS, stage="compile", failure=None)]
    assert problems(seen, expectations=[expectation()], today=TODAY) == [
        f"{WORDS} is met by nothing any more: it passes. Remove it and close"
        " https://example.org/issues/1"
    ]


def test_one_failure_among_passes_keeps_an_expectation(failure: Failure) -> None:
    seen = [
        Seen(address="tiny/decoder/f16/gfx942", stage="compile", failure=None),
        Seen(address=ADDRESS, stage="compile", failure=failure),
    ]
    assert problems(seen, expectations=[expectation()], today=TODAY) == []


@pytest.mark.parametrize("expires", ["2027-01-31", "2020-01-01"])
def test_an_expectation_for_what_did_not_run_is_no_problem(expires: str) -> None:
    seen = [
        Seen(address=ADDRESS, stage="validate", failure=None),
        Seen(address="other/encoder/f16/gfx942", stage="compile", failure=None),
    ]
    assert problems(seen, expectations=[expectation(expires=expires)], today=TODAY) == []


def test_a_model_that_fails_like_another_inherits_what_is_expected_of_it(failure: Failure) -> None:
    own = [expectation(address="base/enc*/f16/gfx942"), expectation(address="other/*")]
    (one,) = inherit(own, model="tiny", of="base")
    assert one.address == "tiny/enc*/f16/gfx942"
    assert one.model_dump(exclude={"address", "of"}) == own[0].model_dump(exclude={"address"})
    assert expected(failure, expectations=[*own, one], today=TODAY) is one


def test_what_a_glob_expects_of_both_is_not_inherited() -> None:
    assert inherit([expectation(address="*/encoder")], model="tiny", of="base") == []


def test_an_inherited_expectation_may_pass_and_may_fit_nothing_but_expires(
    failure: Failure,
) -> None:
    inherited = inherit([expectation(address="base/*")], model="tiny", of="base")
    passed = Seen(address=ADDRESS, stage="compile", failure=None)
    assert problems([passed], expectations=inherited, today=TODAY) == []
    assert unmatched(inherited, nodes=[]) == []
    late = datetime.date(2027, 2, 1)
    failed = Seen(address=ADDRESS, stage="compile", failure=failure)
    (words,) = problems([failed], expectations=inherited, today=late)
    assert words.startswith(
        "expectation tiny/* (compile, compile), which is one of base, expired on 2027-01-31"
    )
