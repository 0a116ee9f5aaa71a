"""Asks web servers for files: GET and HEAD over connections that are kept and used again.

One request is one attempt; who asks decides about the next (``TransientError`` may be better in a
while, ``StoreError`` will not). Servers are sent nothing that could be a secret, so a redirect has
nothing to carry elsewhere; it never leads from https to http. Proxies are those of the environment
(``https_proxy``, ``no_proxy``), certificates those that OpenSSL trusts.
"""

import http.client
import os
import re
import ssl
import threading
import urllib.parse
import urllib.request
import weakref
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tidemill import __version__
from tidemill.errors import StoreError

TIMEOUT_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 60.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_MOST_IDLE = 16
_SMALL_BYTES = 1 << 16
_FIRST_ERROR = 400
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_SCHEMES = ("http", "https")
_HEADERS = {
    "User-Agent": f"tidemill/{__version__}",
    "Accept": "*/*",
    # What is stored is what is hashed: nobody may pack it for the way.
    "Accept-Encoding": "identity",
}

#: What a connection or a server may do that the next attempt need not meet.
TRANSPORT = (OSError, http.client.HTTPException)


class TransientError(Exception):
    """It may be better in a while; ``asked`` is the wait in seconds that the server named."""

    def __init__(self, reason: str, *, asked: float = 0.0) -> None:
        super().__init__(reason)
        self.asked = asked


@dataclass(frozen=True, slots=True)
class _Origin:
    scheme: str
    host: str
    port: int | None


class Web:
    """Connections of one process. Safe for threads, and in a process that forked."""

    def __init__(self) -> None:
        self._pool = _Pool()
        weakref.finalize(self, self._pool.close)

    @contextmanager
    def ask(
        self, method: str, url: str, headers: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer to one request, redirects followed; a good one's body is for the caller.

        Raises TransientError for trouble on the way and for answers that mean "later", StoreError
        for a certificate or a redirect that is not to be trusted.
        """
        for _ in range(_MOST_REDIRECTS):
            connection, answer = self._send(method, url, headers)
            try:
                target = _redirect(answer, url)
                if target is None:
                    if answer.status >= _FIRST_ERROR:
                        _drain(answer)
                    _check_now(answer)
                    yield answer
                    return
                url = target
                _drain(answer)
            finally:
                self._pool.give_back(connection, answer)
        raise StoreError(f"{url}: more than {_MOST_REDIRECTS} redirects")

    def _send(
        self, method: str, url: str, headers: Mapping[str, str]
    ) -> tuple["_Connection", http.client.HTTPResponse]:
        parts = urllib.parse.urlsplit(url)
        origin = _Origin(parts.scheme, parts.hostname or "", parts.port)
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        while True:
            connection = self._pool.take(origin)
            target = path if connection.proxy_headers is None else url
            sent = {**_HEADERS, **headers, **(connection.proxy_headers or {})}
            try:
                connection.line.request(method, target, headers=sent)
                return connection, connection.line.getresponse()
            except TRANSPORT as error:
                connection.line.close()
                # A server may end a connection that waits at any time: that says nothing.
                if not connection.used_before:
                    raise _judged(error, url) from error
            except BaseException:
                connection.line.close()
                raise


@dataclass(slots=True)
class _Connection:
    """``proxy_headers``: what a proxy that is spoken to in the clear wants; None without one."""

    line: http.client.HTTPConnection
    origin: _Origin
    proxy_headers: Mapping[str, str] | None = None
    used_before: bool = False


class _Pool:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._process = os.getpid()
        self._context: ssl.SSLContext | None = None

    def take(self, origin: _Origin) -> _Connection:
        with self._lock:
            if self._process != os.getpid():
                # Two processes on one connection would read each other's answers.
                self._idle, self._process = [], os.getpid()
            for index in range(len(self._idle) - 1, -1, -1):
                if self._idle[index].origin == origin:
                    return self._idle.pop(index)
            if origin.scheme == "https" and self._context is None:
                self._context = ssl.create_default_context()
        return _connect(origin, self._context)

    def give_back(self, connection: _Connection, answer: http.client.HTTPResponse) -> None:
        with self._lock:
            if answer.isclosed() and not answer.will_close and len(self._idle) < _MOST_IDLE:
                connection.used_before = True
                self._idle.append(connection)
                return
        answer.close()
        connection.line.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.line.close()


def _connect(origin: _Origin, context: ssl.SSLContext | None) -> _Connection:
    secure = context if origin.scheme == "https" else None
    proxy = _proxy_for(origin)
    if proxy is None:
        return _Connection(_line((origin.host, origin.port), secure), origin)
    line = _line((proxy.hostname or "", proxy.port), secure)
    if secure is None:
        return _Connection(line, origin, proxy_headers=_credentials(proxy))
    line.set_tunnel(origin.host, origin.port, headers=_credentials(proxy))
    return _Connection(line, origin)


def _line(
    address: tuple[str, int | None], context: ssl.SSLContext | None
) -> http.client.HTTPConnection:
    if context is None:
        return http.client.HTTPConnection(*address, timeout=TIMEOUT_SECONDS)
    return http.client.HTTPSConnection(*address, timeout=TIMEOUT_SECONDS, context=context)


def _proxy_for(origin: _Origin) -> urllib.parse.SplitResult | None:
    found = urllib.request.getproxies().get(origin.scheme)
    host = f"{origin.host}:{origin.port}" if origin.port else origin.host
    if not found or urllib.request.proxy_bypass(host):
        return None
    return urllib.parse.urlsplit(found if "://" in found else f"http://{found}")


def _credentials(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    user, word = (urllib.parse.unquote(part or "") for part in (proxy.username, proxy.password))
    return {"Proxy-Authorization": f"Basic {b64encode(f'{user}:{word}'.encode()).decode()}"}


def _redirect(answer: http.client.HTTPResponse, url: str) -> str | None:
    """Where an answer redirects to; None when it does not."""
    where = answer.getheader("Location")
    if answer.status not in _REDIRECTS or where is None:
        return None
    target = urllib.parse.urljoin(url, where)
    old, new = urllib.parse.urlsplit(url).scheme, urllib.parse.urlsplit(target).scheme
    if new not in _SCHEMES or (old, new) == ("https", "http"):
        raise StoreError(
            f"{url} redirects from {old} to {new}, which is not followed",
            hint="give the store's real address; tell who runs the server",
        )
    return target


def _check_now(answer: http.client.HTTPResponse) -> None:
    if answer.status in _AGAIN:
        said = f"the server says {answer.status} {answer.reason}".rstrip()
        asked = answer.getheader("Retry-After", "")
        wait = float(asked) if re.fullmatch(r"\d{1,6}", asked) else 0.0
        raise TransientError(said, asked=min(wait, LONGEST_WAIT_SECONDS))


def _drain(answer: http.client.HTTPResponse) -> None:
    # A short rest is worth reading: the connection can then be used again.
    if (answer.length or 0) <= _SMALL_BYTES and not answer.will_close:
        try:
            answer.read(_SMALL_BYTES)
        except TRANSPORT:
            answer.close()


def _judged(error: Exception, url: str) -> Exception:
    words = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return StoreError(
            f"{url}: the server's certificate is not trusted: {error.verify_message}",
            hint="for a certificate of your own authority, set SSL_CERT_FILE to its file",
        )
    return TransientError(words)
