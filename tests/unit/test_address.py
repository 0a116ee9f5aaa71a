"""Addresses and the globs that pick them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.address import Address, matches
from tidemill.errors import UsageError

PARTS = st.text("abc19-.", min_size=1, max_size=6).filter(lambda text: text[0].isalnum())


@pytest.mark.parametrize(
    ("pattern", "address", "expected"),
    [
        ("minilm", "minilm/encoder/f16/cpu", True),
        ("mini", "minilm/encoder/f16/cpu", False),
        ("mini*", "minilm/encoder/f16/cpu", True),
        ("*/cpu", "minilm/encoder/f16/cpu", False),
        ("*/*/*/cpu", "minilm/encoder/f16/cpu", True),
        ("*/*/*/cpu", "minilm/encoder/f16", False),
        ("*/*/f16*/gfx9[04]*", "minilm/encoder/f16-bs4/gfx942", True),
        ("*/*/F16", "minilm/encoder/f16", False),
    ],
)
def test_a_glob_matches_segment_by_segment(pattern: str, address: str, expected: bool) -> None:
    assert matches(pattern, address) is expected


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "'' has an empty part"),
        ("a//b", "'a//b' has an empty part"),
        ("/a", "'/a' has an empty part"),
        ("a/", "'a/' has an empty part"),
        ("a/b/c/d/e", "'a/b/c/d/e' has more than four parts"),
    ],
)
def test_a_malformed_glob_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        matches(pattern, "a/b/c/d")
    assert caught.value.message == message


@given(st.lists(PARTS, min_size=2, max_size=4))
def test_an_address_is_read_back_as_it_was_written(parts: list[str]) -> None:
    text = "/".join(parts)
    address = Address.parse(text)
    assert str(address) == text
    assert matches("*/*", text)
    assert matches("/".join(parts[:2]), text)
    assert str(address.shared) == "/".join(parts[:3])


@pytest.mark.parametrize("text", ["a", "", "a/*/c", "a//c", "a/b/c/d/e", "a/b/../d", "a/b/c/"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Address.parse(text)
    assert caught.value.message == f"{text!r} is not an address"
