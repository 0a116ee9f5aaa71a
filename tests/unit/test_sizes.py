"""Sizes that a manifest writes as products of numbers, axes and places in the configuration."""

import pytest

from tidemill.sizes import factors, filled, places, product, resolve

CONFIG = {
    "cache": {"layers": 2, "width": 64, "dtype": "f32", "pages": [16384, "x"]},
    "heads": 4,
    "none": 0,
    "half": 0.5,
}


def test_a_product_of_numbers_and_axes_is_a_number_at_once() -> None:
    assert resolve("bs * 128", {"bs": 4}) == 512
    assert resolve("7", {}) == 7


def test_what_the_configuration_says_waits_for_it() -> None:
    text = resolve("bs*config.cache.layers * 2 * config.heads", {"bs": 4})
    assert text == "8 * config.cache.layers * config.heads"
    assert product(str(text), CONFIG) == 8 * 2 * 4


def test_an_entry_of_a_list_is_counted_from_zero() -> None:
    """sharktank's config.json has the elements of a page so."""
    assert product("2 * config.cache.pages.0", CONFIG) == 2 * 16384


def test_braces_are_filled_one_by_one() -> None:
    text = "{bs}x{config.heads}xi64=1"
    assert list(places(text)) == ["bs", "config.heads"]
    assert filled(text, lambda place: f"<{place}>") == "<bs>x<config.heads>xi64=1"


@pytest.mark.parametrize("text", ["", "a + b", "2 *", "-1", "a b", "1.5", "a..b"])
def test_what_is_no_product_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        factors(text)


def test_a_name_that_nothing_gives_a_size_is_named() -> None:
    with pytest.raises(ValueError, match=r"'seq' is no matrix axis .*\(known: bs, heads\)"):
        resolve("bs * seq", {"heads": 2, "bs": 1})


@pytest.mark.parametrize(
    "place",
    [
        *("cache", "cache.dtype", "cache.rows", "none", "half", "heads.x"),
        *("cache.pages", "cache.pages.1", "cache.pages.2", "cache.pages.x", "heads.0"),
    ],
)
def test_a_place_without_a_number_is_named(place: str) -> None:
    with pytest.raises(ValueError, match=f"the configuration has no number at {place}"):
        product(f"2 * config.{place}", CONFIG)
