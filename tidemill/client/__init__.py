"""What downstream suites import: find the artifacts of a channel, and copy them, verified.

Light: loads records, stores, digests, errors, channels and addresses, never torch, IREE or luigi.
"""

from tidemill.client.choose import Choice, Resolved, choose, resolve
from tidemill.client.pull import Progress, PullRecord, PullReport, pull

__all__ = [
    "Choice",
    "Progress",
    "PullRecord",
    "PullReport",
    "Resolved",
    "choose",
    "pull",
    "resolve",
]
