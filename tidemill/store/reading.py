"""Reads many small documents at a time: over a network, one after the other is all waiting."""

from collections.abc import Iterable, Iterator
from functools import partial

from tidemill.store.contract import Store
from tidemill.store.threads import Pool

READERS = 16


def read_many(store: Store, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """The documents of those names, in their order; one that is not there is left out.

    Raises StoreError as ``Store.read`` does.
    """
    wanted = list(names)
    with Pool[bytes | None](min(READERS, len(wanted))) as pool:
        reading = [pool.submit(partial(store.read, name)) for name in wanted]
        for name, future in zip(wanted, reading, strict=True):
            if (data := future.result()) is not None:
                yield name, data
