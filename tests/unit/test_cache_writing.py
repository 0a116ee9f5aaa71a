"""Keeping results and failures: one sound winner; a failure lasts until a result comes."""

from pathlib import Path

import msgspec
import pytest

from tests.unit.made import (
    DAMAGES,
    Bench,
    bytes_of,
    failure_of,
    graph_of,
    open_cache,
    result_of,
)
from tidemill.cache import Hit, seal_of
from tidemill.keys import Bound
from tidemill.records import ActionResult, encode
from tidemill.store.layout import action_name, failure_name

NODE = "fetch:tiny/package"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(root=tmp_path, graph=graph_of(tmp_path / "workspace"))


def record_file(bench: Bench, key: str) -> Path:
    return bench.root / "store" / action_name("fetch", key)


def bound_of(bench: Bench) -> Bound:
    bound = bench.states().of(NODE).bound
    assert bound is not None
    return bound


def variant(bench: Bench, host: str) -> ActionResult:
    bound = bound_of(bench)
    made = {**bytes_of(bound.node), "config.json": f"made on {host}".encode()}
    result = result_of(bound, bench.cache.store, files=made)
    return msgspec.structs.replace(result, host=host)


def test_the_first_writer_wins_and_the_loser_adopts_its_record(bench: Bench) -> None:
    first, second = variant(bench, "first"), variant(bench, "second")
    won = bench.cache.record(first, replacing=False)
    adopted = open_cache(bench.root).record(second, replacing=False)
    assert won.host == "first"
    assert adopted == won
    held = open_cache(bench.root).result("fetch", first.key)
    assert held == won


def test_a_forced_result_replaces_the_one_that_is_there(bench: Bench) -> None:
    first, second = variant(bench, "first"), variant(bench, "second")
    bench.cache.record(first, replacing=False)
    held = bench.cache.record(second, replacing=True)
    assert held.host == "second"
    assert open_cache(bench.root).result("fetch", first.key) == held


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_winner_is_replaced_by_the_loser(bench: Bench, damage: str) -> None:
    first, second = variant(bench, "first"), variant(bench, "second")
    bench.cache.record(first, replacing=False)
    path = record_file(bench, first.key)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    held = bench.cache.record(second, replacing=False)
    assert held.host == "second"
    assert open_cache(bench.root).result("fetch", first.key) == held


def test_a_winner_that_is_the_record_of_another_key_is_replaced(bench: Bench) -> None:
    first = bench.build(NODE)
    other = msgspec.structs.replace(first, key="9" * 64, seal="")
    record_file(bench, other.key).write_bytes(record_file(bench, first.key).read_bytes())
    held = bench.cache.record(other, replacing=False)
    assert held.key == other.key
    assert isinstance(open_cache(bench.root).look_up("fetch", other.key), Hit)


def test_a_record_is_sealed_when_it_is_kept(bench: Bench) -> None:
    held = bench.build(NODE)
    assert held.seal == seal_of(held)
    assert record_file(bench, held.key).read_bytes() == encode(held)


# Failures.


def test_a_failure_is_kept_until_a_result_comes(bench: Bench) -> None:
    bound = bound_of(bench)
    failure = failure_of(bound.node, key=bound.key, failure="fetch", lines=("404",))
    bench.cache.record_failure(failure)
    assert open_cache(bench.root).failure("fetch", bound.key) == failure
    bench.build(NODE)
    assert open_cache(bench.root).failure("fetch", bound.key) is None
    assert not (bench.root / "store" / failure_name("fetch", bound.key)).exists()


def test_the_newest_failure_counts(bench: Bench) -> None:
    bound = bound_of(bench)
    for line in ("first", "second"):
        bench.cache.record_failure(failure_of(bound.node, key=bound.key, lines=(line,)))
    newest = bench.cache.failure("fetch", bound.key)
    assert newest is not None
    assert newest.lines == ("second",)


@pytest.mark.parametrize("damage", ["truncate", "empty", "garbage", "other type"])
def test_a_damaged_failure_is_none_and_counted(bench: Bench, damage: str) -> None:
    bound = bound_of(bench)
    bench.cache.record_failure(failure_of(bound.node, key=bound.key))
    path = bench.root / "store" / failure_name("fetch", bound.key)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    cache = open_cache(bench.root)
    assert cache.failure("fetch", bound.key) is None
    assert cache.errors == 1


def test_the_failure_of_another_action_is_none(bench: Bench) -> None:
    bound = bound_of(bench)
    bench.cache.record_failure(failure_of(bound.node, key=bound.key))
    data = (bench.root / "store" / failure_name("fetch", bound.key)).read_bytes()
    (bench.root / "store" / failure_name("fetch", "9" * 64)).write_bytes(data)
    assert bench.cache.failure("fetch", "9" * 64) is None
