"""A process that writes into a store until it is killed: ``store_writer URL SEED SCRATCH``.

Says "ready" before its first write. What it writes for a seed is always the same, so a rerun must
lead to the same store.
"""

import random
import sys
from itertools import count
from pathlib import Path

from tests.faults.store_helpers import release_named
from tests.signing import SIGNER
from tidemill.channels import head, put_release
from tidemill.digest import Digest, digest_bytes
from tidemill.moves import move
from tidemill.store import Store, open_store
from tidemill.store.layout import action_name, run_name

SEEDS = 30
REPORT_BYTES = 20_000
_SIZES = (1, 4_095, 30_000, 60_000, 1_500_000)  # less than a page, and more than a chunk


def blobs_of(seed: int) -> list[bytes]:
    """The blobs of one seed."""
    return [random.Random(seed * 100 + size).randbytes(size) for size in _SIZES]


def record_of(digest: Digest) -> bytes:
    """A record that names a blob."""
    return f'{{"blob":"{digest}"}}\n'.encode() * 50


def write_all(store: Store, seed: int, *, scratch: Path) -> None:
    """Blobs first, then each one's record, then the report, the release and the channel."""
    for data in blobs_of(seed):
        source = scratch / f"source-{seed}"
        source.write_bytes(data)
        digest = digest_bytes(data)
        store.put_blob(source, digest=digest)
        store.create(action_name("compile", digest), record_of(digest))
        store.replace(run_name("run", "report.json"), b"%d\n" % seed * (REPORT_BYTES // 4))
    release = put_release(store, release_named(str(seed)))
    entry = head(store, "nightly")
    at = entry.sequence if entry else 0
    move(
        store,
        "nightly",
        release=release,
        expecting=at,
        run=str(seed),
        reason="written",
        signer=SIGNER,
    )


def main() -> None:
    """Write one seed after the other, for ever."""
    url, first, scratch = sys.argv[1:]
    store = open_store(url)
    print("ready", flush=True)  # noqa: T201 - tells the parent when its clock starts
    for seed in count(int(first)):
        write_all(store, seed % SEEDS, scratch=Path(scratch))


if __name__ == "__main__":
    main()
