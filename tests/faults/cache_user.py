"""A process that pulls from a store through a cache that others use and empty at the same time.

python -m tests.faults.cache_user STORE CACHE LIMIT FOLDER ROUNDS
"""

import sys
from pathlib import Path

from tidemill.client import Cache, open_store, pull


def main(store: str, cache: str, limit: str, folder: str, rounds: str) -> None:
    """Pull everything ROUNDS times, each time to a new folder and with what is in the cache."""
    for number in range(int(rounds)):
        pull(
            open_store(store),
            ["*"],
            to=Path(folder, str(number)),
            channel="smoke",
            cache=Cache(Path(cache), limit_bytes=int(limit)),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
