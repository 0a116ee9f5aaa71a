"""Sends requests to one bucket, and sends them again while that can help.

One client a process: connections do not survive a fork, and luigi's workers are forks. Threads
share it. botocore's own attempts are off: what is tried again, and how often, is said here alone.
"""

import base64
import functools
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from tidemill.digest import digest_bytes
from tidemill.errors import StoreError
from tidemill.processors import at_once
from tidemill.store.s3_address import S3Address
from tidemill.store.s3_trouble import (
    TRANSPORT,
    AbsentError,
    ConditionError,
    GaveUp,
    TransientError,
    gave_up,
    judged,
)

T = TypeVar("T")

#: A store of our own in one process: threads that send or fetch parts at the same time.
THREADS = at_once(4)
_CONNECT_SECONDS, _READ_SECONDS = 10, 60
_DELETED = 204
_CONDITIONS = frozenset({"CopySourceIfMatch", "IfMatch", "IfNoneMatch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a request is tried, and how long (seconds) is waited in between.

    Each wait is random, between nothing and a bound that begins at ``first`` and doubles up to
    ``longest``: the jobs of one night must not come back at the same moment.
    """

    attempts: int = 6
    first: float = 0.05
    longest: float = 2.0

    def persevere(self, work: Callable[[], T]) -> T:
        """The result of ``work``, called again while it raises TransientError.

        That of the last attempt passes through, as every other error does.
        """
        tries = Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(self.attempts),
            wait=wait_random_exponential(multiplier=self.first, max=self.longest),
            reraise=True,
        )
        return tries(work)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the server says about an object: ``size`` in bytes, its ETag in quotes, our metadata."""

    size: int
    etag: str
    sha256: str
    writer: str

    @classmethod
    def of(cls, answer: Mapping[str, Any], *, size: int) -> "Head":
        """The head of an object from an answer to HEAD or GET."""
        # Some servers, and proxies, write the names of headers in their own way.
        metadata = {name.lower(): text for name, text in answer.get("Metadata", {}).items()}
        return cls(
            size=size,
            etag=answer["ETag"],
            sha256=metadata.get("sha256", ""),
            writer=metadata.get("writer", ""),
        )


class Bucket:
    """The requests of one store. Raises StoreError, AbsentError or ConditionError."""

    def __init__(self, address: S3Address, *, retry: Retry) -> None:
        self.address, self.retry = address, retry
        self._client: tuple[int, Any] | None = None

    @property
    def client(self) -> Any:
        """boto3's client of this process."""
        # Two threads that are first at once make two, and one of them is dropped. A lock instead
        # could be held by another thread at the moment of a fork, for ever.
        held = self._client
        if held is None or held[0] != os.getpid():
            held = self._client = os.getpid(), _client_of(self.address)
        return held[1]

    def ask(self, operation: str, *, doing: str, needs: str = "", **parameters: Any) -> Any:
        """The answer to an operation of the client, which must have the member ``needs``."""
        return self.persevere(
            lambda: self.attempt(operation, doing=doing, needs=needs, **parameters), doing=doing
        )

    def attempt(self, operation: str, *, doing: str, needs: str = "", **parameters: Any) -> Any:
        """As ``ask``, once. Raises TransientError as well."""
        try:
            answer = getattr(self.client, operation)(Bucket=self.address.bucket, **parameters)
        except (ClientError, BotoCoreError, *TRANSPORT) as error:
            meant = judged(error, doing=doing, where=self.address.url)
            if isinstance(meant, ConditionError) and not _CONDITIONS.intersection(parameters):
                # Nobody has set a condition: it is not the store that answers.
                meant = TransientError(str(meant))
            raise meant from error
        # A broken proxy answers 200 with nothing behind it.
        if needs and needs not in answer:
            if body := answer.get("Body"):
                body.close()  # else its connection is open until the collector comes
            raise TransientError(f"the answer has no {needs}")
        return answer

    def persevere(
        self, work: Callable[[], T], *, doing: str, stopped: threading.Event | None = None
    ) -> T:
        """The result of ``work``, called again while it raises TransientError. Raises GaveUp.

        A thread that works for another gives up before the next attempt once ``stopped`` is set.
        """

        def attempt() -> T:
            self.check(stopped, doing=doing)
            return work()

        try:
            return self.retry.persevere(attempt)
        except TransientError as error:
            raise self.gave_up(error, doing=doing) from error

    def check(self, stopped: threading.Event | None, *, doing: str) -> None:
        """Raise StoreError once ``stopped`` is set."""
        if stopped is not None and stopped.is_set():
            raise StoreError(f"{self.address.url}: cannot {doing}: told to stop")

    def gave_up(self, error: Exception, *, doing: str) -> GaveUp:
        """The error after the last attempt, which met ``error``."""
        attempts, where = self.retry.attempts, self.address.url
        return gave_up(error, attempts=attempts, doing=doing, where=where)

    def pages(
        self,
        operation: str,
        *,
        doing: str,
        needs: str,
        markers: Mapping[str, str],
        **parameters: Any,
    ) -> Iterator[Any]:
        """Every answer of a listing operation.

        ``markers`` leads from one to the next: parameter → member of the answer that has its value.
        """
        given: dict[str, Any] = {}
        while True:
            answer = self.ask(operation, doing=doing, needs=needs, **parameters, **given)
            yield answer
            if not answer.get("IsTruncated"):
                return
            if not all(answer.get(member) for member in markers.values()):
                raise StoreError(
                    f"{self.address.url}: cannot {doing}: the server has more to list, and does "
                    f"not say how to ask for it",
                    hint="tell those who run the server",
                )
            given = {name: answer[member] for name, member in markers.items()}

    def put(self, key: str, data: bytes, *, doing: str, writer: str, **conditions: str) -> None:
        """Write an object, once. Raises TransientError when it is not known to be written."""
        self.attempt(
            "put_object",
            doing=doing,
            needs="ETag",
            Key=key,
            Body=data,
            Metadata={"sha256": digest_bytes(data), "writer": writer},
            **self.sums(data),
            **conditions,
        )

    def sums(self, data: bytes) -> dict[str, str]:
        """What lets the server see that ``data`` arrived whole."""
        if self.address.checksums == "supported":
            return {"ChecksumSHA256": _base64(hashlib.sha256(data).digest())}
        return {"ContentMD5": _base64(hashlib.md5(data, usedforsecurity=False).digest())}

    def head(self, key: str, *, doing: str) -> Head | None:
        """What the server says about an object; None when it says that there is none."""
        return self.persevere(lambda: self.head_once(key, doing=doing), doing=doing)

    def head_once(self, key: str, *, doing: str) -> Head | None:
        """As ``head``, once. Raises TransientError as well."""
        try:
            answer = self.attempt("head_object", doing=doing, needs="ETag", Key=key)
        except AbsentError:
            return None
        if "ContentLength" not in answer:
            raise TransientError("the answer has no length")
        return Head.of(answer, size=answer["ContentLength"])

    def delete(self, key: str, *, doing: str, **conditions: str) -> None:
        """Remove an object; one that is not there is fine."""

        def work() -> None:
            try:
                answer = self.attempt("delete_object", doing=doing, Key=key, **conditions)
            except AbsentError:
                return
            done = answer["ResponseMetadata"]["HTTPStatusCode"] == _DELETED
            # Some servers say 200; so does a broken proxy in front of one that was not asked.
            if not done and self.head_once(key, doing=doing) is not None:
                raise TransientError("it is still there")

        self.persevere(work, doing=doing)


def new_writer() -> str:
    """A name for one call that writes, given to no other, by which it knows its own object."""
    return os.urandom(12).hex()


@functools.cache
def _loader() -> Any:
    # What botocore has read about S3 is plain data: a fork need not read it again.
    return botocore.session.get_session().get_component("data_loader")


def _client_of(address: S3Address) -> Any:
    style = address.addressing
    named = address.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3")
    if style == "auto" and named:
        style = "path"
    sums = "when_supported" if address.checksums == "supported" else "when_required"
    config = Config(
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        max_pool_connections=4 * THREADS,
        request_checksum_calculation=sums,
        # Every reader here hashes what it reads.
        response_checksum_validation="when_required",
        s3={"addressing_style": style},
        user_agent_extra="tidemill",
    )
    core = botocore.session.get_session()
    core.register_component("data_loader", _loader())
    return boto3.session.Session(botocore_session=core).client(
        "s3",
        region_name=address.region or None,
        endpoint_url=address.endpoint or None,
        config=config,
    )


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")
