"""What each answer of an S3 server means, and how often it is asked for again."""

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    IncompleteReadError,
    NoCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    SSLError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import ProtocolError

from tidemill.errors import StoreError
from tidemill.store.s3_client import Retry
from tidemill.store.s3_trouble import (
    AbsentError,
    ConditionError,
    GaveUp,
    RangeError,
    TransientError,
    Unsupported,
    gave_up,
    judged,
)

WHERE = "s3://mill/x"
URL = "http://127.0.0.1:1"
TINY = Retry(attempts=4, first=0.0001, longest=0.0002)


def answer(status: int, code: str, operation: str = "PutObject") -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": "Words."},
            "ResponseMetadata": {"HTTPStatusCode": status},
        },
        operation,
    )


def meaning(error: Exception) -> Exception:
    return judged(error, doing="write y", where=WHERE)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionClosedError(endpoint_url=URL),
        ConnectTimeoutError(endpoint_url=URL),
        EndpointConnectionError(endpoint_url=URL),
        ReadTimeoutError(endpoint_url=URL),
        IncompleteReadError(actual_bytes=1, expected_bytes=2),
        ResponseParserError("no XML"),
        ProtocolError("broken"),
        ConnectionResetError(),
        *(answer(status, "") for status in (408, 429, 500, 502, 503, 504)),
        answer(400, "RequestTimeout"),
        answer(400, "BadDigest"),
        answer(400, "Throttling"),
        answer(403, "SlowDown"),
        answer(409, "ConditionalRequestConflict"),
        answer(409, "OperationAborted"),
    ],
    ids=repr,
)
def test_what_may_be_better_in_a_while_is_tried_again(error: Exception) -> None:
    assert type(meaning(error)) is TransientError
    assert str(meaning(error))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (answer(404, "NoSuchKey", "GetObject"), AbsentError),
        (answer(404, "404", "HeadObject"), AbsentError),
        (answer(404, "NoSuchUpload", "UploadPart"), AbsentError),
        (answer(400, "InvalidPart", "CompleteMultipartUpload"), AbsentError),
        (answer(412, "PreconditionFailed"), ConditionError),
        (answer(412, "412", "HeadObject"), ConditionError),
        (answer(416, "InvalidRange", "GetObject"), RangeError),
        (answer(501, "NotImplemented"), Unsupported),
        (answer(404, "404", "GetObject"), TransientError),  # not the words of an S3 server
        (answer(403, "403", "PutObject"), TransientError),
        (answer(404, "NoSuchBucket", "HeadObject"), StoreError),
        (answer(403, "AccessDenied", "HeadObject"), StoreError),
        (answer(403, "403", "HeadObject"), StoreError),
        (answer(400, "InvalidArgument"), StoreError),
    ],
    ids=str,
)
def test_only_what_the_server_calls_absent_is_absent(error: Exception, kind: type) -> None:
    assert type(meaning(error)) is kind


@pytest.mark.parametrize(
    ("error", "says", "hint"),
    [
        (answer(403, "AccessDenied"), "403 AccessDenied (Words)", "the permission s3:PutObject;"),
        (
            answer(403, "403", "HeadObject"),
            "403 (Words)",
            "the permission s3:GetObject (and s3:ListBucket, to be told what is absent);",
        ),
        (
            answer(403, "AccessDenied", "ListMultipartUploads"),
            "403 AccessDenied (Words)",
            "the permission s3:ListBucketMultipartUploads;",
        ),
        (
            answer(403, "SignatureDoesNotMatch"),
            "403 SignatureDoesNotMatch (Words)",
            "the credentials are not accepted or have expired:",
        ),
        (answer(403, "RequestTimeTooSkewed"), "403 RequestTimeTooSkewed", "this machine's clock"),
        (answer(404, "NoSuchBucket"), "404 NoSuchBucket (Words)", "create the bucket, or see"),
        (answer(301, "PermanentRedirect"), "301 PermanentRedirect", "s3://…?region=REGION"),
        (answer(501, "NotImplemented"), "501 NotImplemented", "use a server that implements it"),
        (answer(400, "Odd"), "400 Odd (Words)", "the server's documentation"),
        (
            answer(400, "400", "HeadObject"),
            "400 (Words)",
            "the credentials are not accepted or have expired: see which credentials boto3 finds",
        ),
    ],
    ids=str,
)
def test_an_answer_that_stays_says_who_must_do_what(error: Exception, says: str, hint: str) -> None:
    found = meaning(error)
    assert isinstance(found, StoreError)
    assert found.message.startswith(f"{WHERE}: cannot write y: the server says {says}")
    assert hint in found.hint


def test_missing_credentials_and_configuration_are_named() -> None:
    credentials, profile = meaning(NoCredentialsError()), meaning(ProfileNotFound(profile="night"))
    assert isinstance(credentials, StoreError)
    assert credentials.message == f"{WHERE}: cannot write y: Unable to locate credentials"
    assert credentials.hint == "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    assert isinstance(profile, StoreError)
    assert "night" in profile.message
    assert "boto3's configuration" in profile.hint


def test_the_end_of_all_attempts_says_how_many_and_why() -> None:
    error = gave_up(TransientError("503 SlowDown"), attempts=6, doing="write y", where=WHERE)
    assert error.message == f"{WHERE}: cannot write y: gave up after 6 attempts: 503 SlowDown"
    assert error.hint.startswith("see to the server or the network")


def test_a_certificate_of_ones_own_is_told_where_it_belongs() -> None:
    transient = TransientError("certificate verify failed")
    transient.__cause__ = SSLError(endpoint_url=URL, error="certificate verify failed")
    error = gave_up(transient, attempts=6, doing="write y", where=WHERE)
    assert "AWS_CA_BUNDLE" in error.hint


def test_work_is_tried_until_it_succeeds() -> None:
    left = [TransientError("1"), TransientError("2"), TransientError("3")]

    def work() -> str:
        if left:
            raise left.pop()
        return "done"

    assert TINY.persevere(work) == "done"


def test_work_is_tried_a_fixed_number_of_times() -> None:
    tried = []

    def work() -> None:
        tried.append(1)
        raise TransientError(str(len(tried)))

    with pytest.raises(TransientError, match=r"^4$"):
        TINY.persevere(work)
    assert len(tried) == 4


@pytest.mark.parametrize("error", [GaveUp("x"), AbsentError("x"), ConditionError("x"), KeyError()])
def test_what_will_not_change_is_tried_once(error: Exception) -> None:
    tried = []

    def work() -> None:
        tried.append(1)
        raise error

    with pytest.raises(type(error)):
        TINY.persevere(work)
    assert len(tried) == 1
