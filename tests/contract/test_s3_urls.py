"""The URLs of S3 stores, and what opening one needs."""

import subprocess
import sys

import pytest

from tests.boundaries.test_client_is_light import modules_loaded_by
from tidemill.errors import UsageError
from tidemill.store import open_store
from tidemill.store.s3_address import S3Address, parse_address

KNOWN = (
    "the options are addressing=auto|path|virtual, checksums=required|supported, endpoint=…, "
    "region=…"
)


def test_a_url_says_all_that_a_store_needs() -> None:
    url = (
        "s3://mill/night/ly/?region=eu-west-1&endpoint=http%3A%2F%2F127.0.0.1%3A8333%2F"
        "&checksums=supported&addressing=virtual"
    )
    assert parse_address(url) == S3Address(
        bucket="mill",
        prefix="night/ly",
        endpoint="http://127.0.0.1:8333",
        region="eu-west-1",
        addressing="virtual",
        checksums="supported",
    )


@pytest.mark.parametrize(
    ("spelled", "url"),
    [
        ("s3://mill", "s3://mill"),
        ("s3://mill/", "s3://mill"),
        ("s3://mill/a/b/?addressing=auto&checksums=required", "s3://mill/a/b"),
        (
            "s3://mill/a?region=x&endpoint=https%3A//host:1/",
            "s3://mill/a?endpoint=https://host:1&region=x",
        ),
        ("s3://mill?endpoint=http://[::1]:9", "s3://mill?endpoint=http://[::1]:9"),
    ],
)
def test_a_store_has_one_url_however_it_is_spelled(spelled: str, url: str) -> None:
    assert open_store(spelled).url == url
    assert open_store(url).url == url


@pytest.mark.parametrize(
    ("url", "message", "hint"),
    [
        ("s3://mill?bucket=x", "an S3 store has no option 'bucket'", KNOWN),
        ("s3://mill?addressing=dns", "addressing='dns' is no value of that option", KNOWN),
        ("s3://mill?region=", "region='' is no value of that option", KNOWN),
        (
            "s3://mill?region=a&region=b",
            "s3://mill?region=a&region=b: the option region is given twice",
            "keep one of them",
        ),
        (
            "s3://mill?endpoint=127.0.0.1:1",
            "endpoint='127.0.0.1:1' is no address of a server",
            "write endpoint=https://HOST:PORT",
        ),
        ("s3://mill?endpoint=http://[::1", "'http://[::1' is no URL", "see its brackets"),
        ("s3://", "s3://: '' cannot be a bucket", "an S3 store is s3://BUCKET/PREFIX"),
        (
            "s3://mill/a//b",
            "s3://mill/a//b: 'a//b' cannot be a prefix",
            "use letters, digits and ._+=@,- between single slashes",
        ),
        (
            "s3://mill/../x",
            "s3://mill/../x: '../x' cannot be a prefix",
            "use letters, digits and ._+=@,- between single slashes",
        ),
        (
            "s3://mill/a#b",
            "s3://mill/a#b: '#' has no meaning in it",
            "write %23 for the character itself",
        ),
    ],
)
def test_a_url_that_cannot_be_is_explained(url: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(url)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(
    "url", ["s3://KEY:hush@mill/x", "s3://mill/x?endpoint=http://KEY:hush@host"]
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(url)
    assert "credentials do not belong in a URL" in caught.value.message
    assert "hush" not in f"{caught.value.message}{caught.value.hint}"


def test_without_boto3_the_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['boto3'] = None\n"
        "from tidemill.errors import UsageError\n"
        "from tidemill.store import open_store\n"
        "try: open_store('s3://mill/x')\n"
        "except UsageError as error: print(error.message, error.hint, sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [
        "a store in S3 needs the Python package boto3",
        "install it: pip install 'tidemill[s3]'",
    ]


def test_only_a_store_in_s3_loads_boto3() -> None:
    tops = {name.partition(".")[0] for name in modules_loaded_by("import tidemill.store")}
    assert tops & {"boto3", "botocore", "tenacity", "urllib3"} == set()
