"""A store behind a plain web server or a public bucket: ``https://`` or ``http://``, read-only.

Any server that gives files by name will do. Ranges are used where the server has them: a body that
is cut is gone on with from the byte where it was cut. Absent is what the server calls absent (404,
410); a refusal (403) never is, although public buckets say it for what is not there, too.
"""

import email.utils
import hashlib
import os
import random
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import TypeVar

from tidemill.digest import CHUNK_BYTES, Digest, digest_bytes
from tidemill.errors import BlobDamaged, StoreError, UsageError
from tidemill.store.contract import (
    LARGEST_DOCUMENT_BYTES,
    BlobMissing,
    Denied,
    Entry,
    Unlistable,
    too_large,
)
from tidemill.store.layout import blob_name, check_name, check_prefix, short
from tidemill.store.readonly import ReadOnly
from tidemill.store.scratch import temporary_name
from tidemill.store.trouble import disk_error
from tidemill.store.web import TRANSPORT, TransientError, Web

ATTEMPTS = 6
_FIRST_WAIT_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 8.0
_ABSENT = frozenset({404, 410})
_OK, _PARTIAL, _UNAUTHORISED, _FORBIDDEN, _NO_SUCH_RANGE = 200, 206, 401, 403, 416
#: For caches on the way: look whether what you have, or have not, is current.
_CURRENT = {"Cache-Control": "no-cache"}
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_REBUILD = "run the pipeline that made it again: it is rebuilt"
# RFC 9110, 8.8.2.2: a time of modification in whole seconds tells versions apart only once it is
# that much older than the answer.
_SETTLED_SECONDS = 2.0

T = TypeVar("T")


class _AbsentError(Exception):
    """The server says that there is no such file."""


class HttpsStore(ReadOnly):
    """The store below one URL. Safe for threads. ``pause`` waits that many seconds."""

    def __init__(self, url: str, *, pause: Callable[[float], None] = time.sleep) -> None:
        self.url = plain_url(url)
        self._web = Web()
        self._pause = pause

    def stat(self, name: str) -> Entry | None:
        """See Store. The stamp is the server's ETag, or its time of modification.

        A cache on the way that has kept "not found" is asked to look, too: a channel moves on by
        a name that was not there before.
        """
        check_name(name)

        def ask() -> Entry:
            with self._answer("HEAD", name, _CURRENT) as answer:
                answer.read()
                return self._entry(name, answer)

        return self._persevere(ask, doing=f"look up {name}")

    def read(self, name: str) -> bytes | None:
        """See Store."""
        check_name(name)

        def ask() -> bytes:
            with self._answer("GET", name, _CURRENT) as answer:
                found = bytearray()
                for piece in self._pieces(answer):
                    found += piece
                    if len(found) > LARGEST_DOCUMENT_BYTES:
                        raise too_large(name, url=self.url)
                return bytes(found)

        return self._persevere(ask, doing=f"read {name}")

    def read_blob(self, digest: Digest) -> bytes:
        """See Store."""
        data = self.read(blob_name(digest))
        if data is None:
            raise self._missing(digest)
        if digest_bytes(data) != digest:
            raise self._damaged(digest)
        return data

    def fetch_blob(self, digest: Digest, target: Path) -> int:
        """See Store."""
        temporary = target.with_name(temporary_name())
        chunks = self.stream_blob(digest)
        try:
            with temporary.open("xb") as stream:
                size = self._pass_on(digest, chunks, take=stream.write)
            temporary.replace(target)
        except OSError as error:
            raise disk_error(error, doing=f"copy blob {short(digest)}", where=target.parent) from (
                error
            )
        finally:
            temporary.unlink(missing_ok=True)
        return size

    def check_blob(self, digest: Digest) -> int:
        """See Store."""
        return self._pass_on(digest, self.stream_blob(digest), take=len)

    def stream_blob(self, digest: Digest, *, offset: int = 0) -> Iterator[bytes]:
        """See StreamingStore."""
        name, at, tries = blob_name(digest), offset, 0
        while True:
            began = at
            try:
                for chunk in self._from(name, at):
                    at += len(chunk)
                    yield chunk
            except _AbsentError:
                raise self._missing(digest) from None
            except TransientError as error:
                # What gets on is no reason to give up, however often it is cut.
                tries = 1 if at - began >= CHUNK_BYTES else tries + 1
                self._wait(error, tries=tries, doing=f"read blob {short(digest)}")
            else:
                return

    def list(self, prefix: str) -> Iterator[Entry]:
        """Refused: a web server answers for names only. Raises Unlistable."""
        folder = check_prefix(prefix)
        raise Unlistable(
            f"{self.url} cannot be listed: cannot list {folder or 'everything'}",
            hint="name a channel (--channel NAME), or read the folder or bucket behind it",
        )

    @contextmanager
    def _answer(
        self, method: str, name: str, headers: Mapping[str, str] | None = None
    ) -> Iterator[HTTPResponse]:
        """A good answer. Raises _AbsentError, TransientError or StoreError."""
        # Slashes stay; "+", "=", "@" and "," mean something to some servers.
        url = f"{self.url}/{urllib.parse.quote(name, safe='/')}"
        try:
            with self._web.ask(method, url, headers or {}) as answer:
                self._check(answer, name, ranged="Range" in (headers or {}))
                yield answer
        except TRANSPORT as error:
            words = " ".join(str(error).split()) or type(error).__name__
            raise TransientError(words) from error

    def _check(self, answer: HTTPResponse, name: str, *, ranged: bool) -> None:
        status = answer.status
        if status in _ABSENT:
            raise _AbsentError
        if status == _FORBIDDEN:
            raise Denied(
                f"{self.url}: the server refuses to give {name} (403)",
                hint="either it is not public, or it is not there: a public bucket that may not be"
                " listed says 403 for both",
            )
        if status == _UNAUTHORISED:
            raise StoreError(
                f"{self.url}: the server asks who wants {name} (401)",
                hint="only public stores are read over https; use s3:// with credentials",
            )
        if status != _OK and not (ranged and status in (_PARTIAL, _NO_SUCH_RANGE)):
            raise StoreError(
                f"{self.url}: the server answers {status} {answer.reason} for {name}",
                hint="see whether the URL is that of a store",
            )
        if answer.getheader("Content-Encoding", "identity") != "identity":
            raise StoreError(
                f"{self.url}: the server sends {name} packed, although it was asked not to",
                hint="switch the compression of stored files off in the server",
            )

    def _from(self, name: str, start: int) -> Iterator[bytes]:
        """The bytes from ``start`` on, in one attempt; a server without ranges sends all again."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._answer("GET", name, headers) as answer:
            if answer.status == _NO_SUCH_RANGE:
                return
            skip = start
            if answer.status == _PARTIAL:
                said = answer.getheader("Content-Range", "")
                found = _RANGE.fullmatch(said)
                if found is None or int(found[1]) != start:
                    raise TransientError(f"asked for byte {start} on, the server sent {said!r}")
                skip = 0
            for piece in self._pieces(answer):
                yield piece[skip:] if skip else piece
                skip = max(0, skip - len(piece))

    def _pieces(self, answer: HTTPResponse) -> Iterator[bytes]:
        expected, got = answer.length, 0
        # What is there, not what is asked for: a slow line is to be seen, and stopped, in time.
        while piece := answer.read1(CHUNK_BYTES):
            got += len(piece)
            yield piece
        if expected is not None and got < expected:
            raise TransientError(f"the answer was cut after {got} of {expected} bytes")
        answer.close()  # read1 leaves it open: then the connection could not be used again

    def _pass_on(
        self, digest: Digest, chunks: Iterator[bytes], *, take: Callable[[bytes], object]
    ) -> int:
        hasher, size = hashlib.sha256(), 0
        for chunk in chunks:
            hasher.update(chunk)
            take(chunk)
            size += len(chunk)
        if hasher.hexdigest() != digest:
            raise self._damaged(digest)
        return size

    def _entry(self, name: str, answer: HTTPResponse) -> Entry:
        size = answer.getheader("Content-Length", "")
        if not size.isdecimal():
            raise StoreError(f"{self.url}: the server does not say the size of {name}")
        return Entry(name, int(size), _stamp(answer, size))

    def _persevere(self, ask: Callable[[], T], *, doing: str) -> T | None:
        tries = 0
        while True:
            try:
                return ask()
            except _AbsentError:
                return None
            except TransientError as error:
                tries += 1
                self._wait(error, tries=tries, doing=doing)

    def _wait(self, error: TransientError, *, tries: int, doing: str) -> None:
        if tries >= ATTEMPTS:
            raise StoreError(
                f"{self.url}: cannot {doing}: gave up after {tries} attempts: {error}",
                hint="the server or the network fails: see to it, then run the same again: what is"
                " whole is kept",
            ) from error
        grown = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2.0 ** (tries - 1))
        # Jitter, so that the suites of one night do not come back at the same moment.
        jittered = grown * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
        self._pause(max(jittered, error.asked))

    def _missing(self, digest: Digest) -> StoreError:
        return BlobMissing(f"blob {short(digest)} is missing in {self.url}", hint=_REBUILD)

    def _damaged(self, digest: Digest) -> StoreError:
        return BlobDamaged(
            f"blob {short(digest)} in {self.url} is damaged: its bytes have another sha256",
            hint=_REBUILD,
        )


def plain_url(url: str) -> str:
    """The one spelling of a store's URL, without a final slash. Raises UsageError."""
    parts = urllib.parse.urlsplit(url)
    if "@" in parts.netloc:
        raise UsageError(
            f"{parts.scheme}://…@…: no password belongs into the URL of a store",
            hint="only public stores are read over https; use s3:// with credentials",
        )
    try:
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{url}: {error}") from error
    if not parts.hostname or parts.query or parts.fragment:
        raise UsageError(
            f"{url} is not the URL of a store", hint="write https://HOST/FOLDER, and no more"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    standard = {"http": 80, "https": 443}[parts.scheme]
    at = "" if port in (None, standard) else f":{port}"
    return f"{parts.scheme}://{host}{at}{parts.path.rstrip('/')}"


def _stamp(answer: HTTPResponse, size: str) -> str:
    tag = answer.getheader("ETag", "")
    # A weak one may stay while bytes change.
    if tag and not tag.startswith("W/"):
        return f"{tag}-{size}"
    changed, now = (_seconds(answer.getheader(name)) for name in ("Last-Modified", "Date"))
    if changed is not None and now is not None and now - changed >= _SETTLED_SECONDS:
        return f"{changed:.0f}-{size}"
    return f"unsettled-{os.urandom(8).hex()}"


def _seconds(date: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        return None
