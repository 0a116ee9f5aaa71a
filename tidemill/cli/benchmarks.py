"""The benchmarks that a store holds of some modules, whichever machine made them."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import suppress

import msgspec

from tidemill.records import ActionResult
from tidemill.store.contract import Store, Unlistable
from tidemill.store.reading import read_many


def benchmarks_of(store: Store, digests: Collection[str]) -> Mapping[str, list[ActionResult]]:
    """VMFB digest → the records of its benchmarks, newest first; a damaged record is left out.

    Every benchmark of the store is read. A store that cannot list (a plain web server) tells none.
    """
    found = defaultdict[str, list[ActionResult]](list)
    with suppress(Unlistable):
        names = [entry.name for entry in store.list("actions/benchmark")]
        for _, data in read_many(store, names):
            with suppress(ValueError, KeyError, TypeError):
                record = msgspec.json.decode(data, type=ActionResult)
                module = record.parts["inputs"]["module"]["model.vmfb"]
                if module in digests:
                    found[module].append(record)
    return {
        digest: sorted(records, key=lambda one: one.finished_at, reverse=True)
        for digest, records in found.items()
    }
