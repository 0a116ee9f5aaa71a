"""What downstream suites import: find the artifacts of a channel, and copy them, verified.

Light: loads records, stores, digests, errors, channels and addresses, never torch, IREE or luigi.
"""

from tidemill.client.cache import Cache
from tidemill.client.cache_place import open_cache
from tidemill.client.choose import Choice, Resolved, choose, resolve
from tidemill.client.filling import Progress
from tidemill.client.folder import PullRecord
from tidemill.client.lock import Lock, lock_of, read_lock, write_lock
from tidemill.client.pull import PullReport, pull
from tidemill.store import open_store

__all__ = [
    "Cache",
    "Choice",
    "Lock",
    "Progress",
    "PullRecord",
    "PullReport",
    "Resolved",
    "choose",
    "lock_of",
    "open_cache",
    "open_store",
    "pull",
    "read_lock",
    "resolve",
    "write_lock",
]
