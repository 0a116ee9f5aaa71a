"""Reads many small documents at a time: over a network, one after the other is all waiting."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from tidemill.store.contract import Store

READERS = 16


def read_many(store: Store, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """The documents of those names, in their order; one that is not there is left out.

    Raises StoreError as ``Store.read`` does.
    """
    wanted = list(names)
    with ThreadPoolExecutor(max_workers=READERS) as pool:
        for name, data in zip(wanted, pool.map(store.read, wanted), strict=True):
            if data is not None:
                yield name, data
