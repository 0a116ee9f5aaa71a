"""Cleaning and spelling: what a tool writes reaches no terminal, browser or XML as a command."""

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reports import HOSTILE
from tidemill.report.text import (
    clean,
    number_text,
    one_line,
    seconds_text,
    shorten,
    shown_lines,
    size_text,
    wrap_command,
)

# XML 1.0, section 2.2: the only characters that a document may hold.
XML_TEXT = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")


def test_escape_sequences_go_with_their_parameters() -> None:
    text = "a\x1b[1;31mred\x1b[0m b\x1b]8;;http://x\x07link\x1b]8;;\x1b\\ c\x9b2Jd\x1bMe\x1b(Bf"
    assert clean(text) == "ared blink cdef"


def test_carriage_returns_become_new_lines() -> None:
    assert clean("10%\r20%\r\ndone") == "10%\n20%\ndone"


def test_direction_marks_and_surrogates_are_removed() -> None:
    assert clean("safe\u202egnp\u2066.exe\ud800\ufffe\x00") == "safegnp.exe"


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_cleaned_text_is_always_fit_for_xml_and_holds_no_escape(text: str) -> None:
    cleaned = clean(text)
    assert XML_TEXT.fullmatch(cleaned)
    assert "\x1b" not in cleaned
    assert clean(cleaned) == cleaned


@given(st.text(max_size=60), st.integers(min_value=0, max_value=80))
def test_shortened_text_is_never_longer_than_asked(text: str, limit: int) -> None:
    assert len(shorten(text, limit)) <= limit


def test_one_line_has_no_line_break() -> None:
    assert one_line("  a\n\tb\x1b[K \n c ") == "a b c"


def test_shown_lines_say_how_many_they_leave_out() -> None:
    lines = ("one", "", "two\nthree", "x" * 50, "five")
    assert shown_lines(lines, count=4, width=10) == [
        "one",
        "two",
        "three",
        "xxxxxxx...",
        "(1 more line in the log)",
    ]


def test_hostile_lines_stay_within_the_width() -> None:
    assert max(map(len, shown_lines((HOSTILE,), count=9, width=77))) == 77


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "-"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_960, "10 kB"),
        (999_600, "1.0 MB"),
        (91_000_000, "91 MB"),
        (1_234_000_000, "1.2 GB"),
        (5_000_000_000_000_000, "5000 TB"),
    ],
)
def test_sizes_are_decimal(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "-"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1m 00s"),
        (123.0, "2m 03s"),
        (3720.0, "1h 02m"),
    ],
)
def test_durations_carry_into_the_next_unit(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_a_number_that_was_not_measured_is_a_dash() -> None:
    assert [number_text(v) for v in (None, float("nan"), float("inf"), 2.14e-7, 0.0)] == [
        "-",
        "nan",
        "inf",
        "2.1e-07",
        "0",
    ]


@given(
    st.lists(st.text(alphabet=st.sampled_from("ab-=' \""), min_size=1), min_size=1),
    st.integers(min_value=4, max_value=30),
)
def test_a_wrapped_command_pastes_as_the_same_words(words: list[str], width: int) -> None:
    command = one_line(shlex.join(words))
    pasted = "\n".join(wrap_command(command, width)).replace("\\\n", "")
    assert shlex.split(pasted) == shlex.split(command)
