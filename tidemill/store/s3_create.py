"""Puts an object only where there is none: one winner, who knows it even when no answer comes back.

Each call writes its own name into the object. Whoever is told that the object exists looks whose it
is: an answer that was lost, or a request that something in between has repeated, cannot turn the
winner into a loser. A server must be seen to refuse before it is trusted with this.
"""

import contextlib

from tidemill.errors import StoreError
from tidemill.store.s3_client import Bucket, new_writer
from tidemill.store.s3_trouble import ConditionError, GaveUp, TransientError, Unsupported

#: (endpoint, bucket) → whether the server honours conditions. Found once a process and its forks.
_HONOURS: dict[tuple[str, str], bool] = {}


def create(bucket: Bucket, key: str, data: bytes, *, doing: str) -> bool:
    """Write ``data`` if there is no object ``key``. True for exactly one of all callers.

    Raises StoreError; GaveUp when it is not known whether the object was written.
    """
    _require_conditions(bucket)
    writer = new_writer()

    def attempt() -> bool:
        try:
            bucket.put(key, data, doing=doing, writer=writer, IfNoneMatch="*")
        except ConditionError as error:
            found = bucket.head_once(key, doing=doing)
            if found is None:
                raise TransientError(f"{error}, and then that there is none") from error
            return found.writer == writer
        return True

    try:
        return bucket.persevere(attempt, doing=doing)
    except GaveUp:
        found = bucket.head(key, doing=doing)
        if found is None:
            raise
        return found.writer == writer


def _require_conditions(bucket: Bucket) -> None:
    server = bucket.client.meta.endpoint_url
    place = server, bucket.address.bucket
    if place not in _HONOURS:
        _HONOURS[place] = _honours(bucket)
    if not _HONOURS[place]:
        raise StoreError(
            f"{bucket.address.url}: {server} does not honour If-None-Match: two writers could "
            f"both believe that they were first, so records and channels are not safe there",
            hint="use a server with conditional writes (Amazon S3, Ceph, MinIO, SeaweedFS), or "
            "a folder; reading and pulling work there all the same",
        )


def _honours(bucket: Bucket) -> bool:
    """Whether the server refuses to write over an object when it is asked to."""
    doing = "try conditional writes"
    key = f"{bucket.address.root}tmp/probe-{new_writer()}"
    second = new_writer()

    def try_second() -> bool:
        try:
            bucket.put(key, b"second", doing=doing, writer=second, IfNoneMatch="*")
        except ConditionError:
            return True
        # A broken proxy may have answered. Only what has really happened counts against a server.
        found = bucket.head_once(key, doing=doing)
        if found is None or found.writer != second:
            raise TransientError("the server says that it wrote, and has not")
        return False

    bucket.persevere(
        lambda: bucket.put(key, b"first", doing=doing, writer=new_writer()), doing=doing
    )
    try:
        return bucket.persevere(try_second, doing=doing)
    except Unsupported:
        return False
    finally:
        # Credentials that may not delete are no reason to stop: it is one small object.
        with contextlib.suppress(StoreError):
            bucket.delete(key, doing=doing)
