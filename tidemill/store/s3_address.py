"""Reads the URLs of S3 stores. Pure: strings in, strings out.

::

    s3://bucket/prefix?endpoint=http://127.0.0.1:8333&region=us-east-1&addressing=path

Credentials are never in a URL: boto3 finds them where every S3 tool does.
"""

import re
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from tidemill.errors import UsageError

#: What may follow the question mark → the values it may have; None: any text.
OPTIONS: dict[str, tuple[str, ...] | None] = {
    "addressing": ("auto", "path", "virtual"),
    "checksums": ("required", "supported"),
    "endpoint": None,
    "region": None,
}
_KNOWN = "the options are " + ", ".join(
    f"{name}={'|'.join(values) if values else '…'}" for name, values in OPTIONS.items()
)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
# What means the same to every server: some fold "a//b", some refuse "..".
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=@,-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Address:
    """Where a store lies. ``prefix`` has no slash at its ends; "" is the whole bucket.

    ``addressing`` "auto" puts the bucket into the path for a named endpoint, as servers of one's
    own expect, and else leaves it to boto3. ``checksums`` "required" sends Content-MD5, which every
    server takes; "supported" sends SHA-256 checksums, which some refuse.
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    addressing: str = "auto"
    checksums: str = "required"

    @property
    def root(self) -> str:
        """What every key of the store begins with."""
        return f"{self.prefix}/" if self.prefix else ""

    @property
    def url(self) -> str:
        """The one spelling of this address: options sorted, those by default left out."""
        given = {
            "addressing": self.addressing if self.addressing != "auto" else "",
            "checksums": self.checksums if self.checksums != "required" else "",
            "endpoint": self.endpoint,
            "region": self.region,
        }
        query = urlencode({name: text for name, text in given.items() if text}, safe=":/[]")
        path = f"/{self.prefix}" if self.prefix else ""
        return f"s3://{self.bucket}{path}" + (f"?{query}" if query else "")


def parse_address(url: str) -> S3Address:
    """The address that ``url`` spells. Raises UsageError, which never repeats a secret."""
    parts = _split(url)
    if "@" in parts.netloc:
        _refuse("s3://…@…: credentials do not belong in a URL", _CREDENTIALS)
    bucket, prefix = unquote(parts.netloc), unquote(parts.path).strip("/")
    if not _BUCKET.fullmatch(bucket):
        _refuse(f"{url}: {bucket!r} cannot be a bucket", "an S3 store is s3://BUCKET/PREFIX")
    if prefix and not all(map(_SEGMENT.fullmatch, prefix.split("/"))):
        _refuse(
            f"{url}: {prefix!r} cannot be a prefix",
            "use letters, digits and ._+=@,- between single slashes",
        )
    if parts.fragment:
        _refuse(f"{url}: '#' has no meaning in it", "write %23 for the character itself")
    return S3Address(bucket=bucket, prefix=prefix, **_options(parts.query, url=url))


_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"


def _options(query: str, *, url: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS:
            _refuse(f"an S3 store has no option {name!r}", _KNOWN)
        if name in options:
            _refuse(f"{url}: the option {name} is given twice", "keep one of them")
        values = OPTIONS[name]
        if not value or (values and value not in values):
            _refuse(f"{name}={value!r} is no value of that option", _KNOWN)
        options[name] = value
    if "endpoint" in options:
        options["endpoint"] = _endpoint(options["endpoint"])
    return options


def _endpoint(text: str) -> str:
    parts = _split(text)
    if "@" in parts.netloc:
        _refuse("endpoint=…@…: credentials do not belong in a URL", _CREDENTIALS)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        _refuse(f"endpoint={text!r} is no address of a server", "write endpoint=https://HOST:PORT")
    return text.rstrip("/")


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:
        _refuse(f"{text!r} is no URL", "see its brackets")


def _refuse(message: str, hint: str) -> NoReturn:
    raise UsageError(message, hint=hint)
