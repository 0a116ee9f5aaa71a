"""How many processors this process may use."""

import os


def processors() -> int:
    """At least 1. What a container or ``taskset`` takes away does not count, where that is told."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def at_once(most: int) -> int:
    """How many transfers to run beside each other: two for a start, ``most`` on a big machine.

    More than there are processors push each other's bytes out of the caches before they are hashed
    and written; measured with bench/pull_throughput.py.
    """
    return max(2, min(most, processors()))
