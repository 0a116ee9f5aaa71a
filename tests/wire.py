"""Stands between a store's S3 client and the server: counts requests, and spoils the answers.

Each fault is used once, for the next request of its operation, and is met below boto3, as one of
the network would be.
"""

import io
import os
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError
from botocore.httpsession import URLLib3Session

from tidemill.store.s3 import S3Store

Fault = Callable[[Any], AWSResponse | None]


class Sent(NamedTuple):
    """One request of a store."""

    operation: str
    url: str
    headers: dict[str, str]


class Wire:
    """What one store sends from now on, in the order of sending; ``faults`` by operation."""

    def __init__(self, store: S3Store) -> None:
        self.sent: list[Sent] = []
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self._lock = threading.Lock()
        client = store._bucket.client
        client.meta.events.register("before-send.s3", self._before_send)

    def of(self, operation: str) -> list[Sent]:
        """The requests of one operation."""
        return [one for one in self.sent if one.operation == operation]

    def _before_send(self, request: Any, event_name: str, **_: Any) -> AWSResponse | None:
        operation = event_name.rpartition(".")[2]
        headers = {
            name.lower(): text.decode() if isinstance(text, bytes) else str(text)
            for name, text in request.headers.items()
        }
        with self._lock:
            self.sent.append(Sent(operation, request.url, headers))
            waiting = self.faults[operation]
            fault = waiting.pop(0) if waiting else None
        return fault(request) if fault else None


class _Raw(io.BytesIO):
    def stream(self, **_: Any) -> Any:
        yield self.read()


class _Paced(_Raw):
    def __init__(self, body: bytes, gate: Callable[[], None]) -> None:
        super().__init__(body)
        self._gate = gate

    def read(self, size: int | None = -1, /) -> bytes:
        self._gate()
        return super().read(size)


def _answer(request: Any, status: int, body: bytes = b"", **headers: str) -> AWSResponse:
    return AWSResponse(request.url, status, headers, _Raw(body))


def _send(request: Any) -> AWSResponse:
    return URLLib3Session().send(request)


def passed(_: Any) -> None:
    """No fault: a place in the row."""


def lost(request: Any) -> AWSResponse:
    """The server does what it is asked, and its answer never comes."""
    _send(request)
    raise ConnectionClosedError(endpoint_url=request.url)


def unsent(request: Any) -> AWSResponse:
    """The connection ends before the server has heard anything."""
    raise ConnectionClosedError(endpoint_url=request.url)


def hollow(request: Any) -> AWSResponse:
    """A proxy says 200 and nothing else; the server was not asked."""
    return _answer(request, 200)


def spoiled(request: Any) -> AWSResponse:
    """One bit of what is sent changes on the way to the server."""
    body = request.body.read()
    request.body = bytes([body[0] ^ 1]) + body[1:]
    return _send(request)


def saying(status: int, code: str) -> Fault:
    """The server answers with an error."""
    body = f"<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"
    return lambda request: _answer(request, status, body.encode())


def _with_body(request: Any, change: Callable[[bytes], bytes]) -> AWSResponse:
    answer = _send(request)
    body = change(answer.content)
    return AWSResponse(answer.url, answer.status_code, dict(answer.headers), _Raw(body))


def cut_to(size: int) -> Fault:
    """The connection ends after so many bytes of the body."""
    return lambda request: _with_body(request, lambda body: body[:size])


def paced(gate: Callable[[], None]) -> Fault:
    """The body comes in pieces, each once ``gate`` has returned."""

    def fault(request: Any) -> AWSResponse:
        answer = _send(request)
        body = _Paced(answer.content, gate)
        return AWSResponse(answer.url, answer.status_code, dict(answer.headers), body)

    return fault


def flipped(request: Any) -> AWSResponse:
    """One bit of the body changes on the way."""
    return _with_body(request, lambda body: bytes([body[0] ^ 1]) + body[1:])


def garbled(request: Any) -> AWSResponse:
    """Every byte of the body changes on the way, each time in another way."""
    return _with_body(request, lambda body: os.urandom(len(body)))
