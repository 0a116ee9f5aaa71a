"""What a failed S3 request means: try again, not there, a condition not met, or an error. Pure.

Absent is only what the server said is absent: a refusal (403) or a failure (5xx) never is.
"""

from botocore.exceptions import (
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from tidemill.errors import StoreError

#: A server or a connection that may be better in a while.
TRANSPORT = (
    ConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    HTTPError,
    IncompleteReadError,
    OSError,
    ResponseParserError,
)
_AGAIN_STATUS = frozenset({408, 409, 429, 500, 502, 503, 504})
_AGAIN_CODES = frozenset(
    {
        # Some servers give these with another status, 400 or 403.
        "BandwidthLimitExceeded",
        "InternalError",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        # The bytes changed on their way to the server.
        "BadDigest",
        "IncompleteBody",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    }
)
_ABSENT_CODES = frozenset({"NoSuchKey", "NoSuchUpload", "InvalidPart"})
_NO_OBJECT_CODES = frozenset({"404", "NotFound", "NoSuchKey"})
_DENIED_STATUS = frozenset({401, 403})
#: What AWS answers to HEAD, which has no body for its word: ExpiredToken, or another region.
_BARE_REFUSAL = "400"
_CONDITION, _NO_RANGE, _NOT_IMPLEMENTED = 412, 416, 501

#: Operation → the permission that it needs, as IAM policies name it.
_READ = "s3:GetObject (and s3:ListBucket, to be told what is absent)"
_PERMISSIONS = {
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "CopyObject": "s3:GetObject and s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "GetObject": _READ,
    "HeadObject": _READ,
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectsV2": "s3:ListBucket",
    "ListParts": "s3:ListMultipartUploadParts",
    "UploadPartCopy": "s3:GetObject and s3:PutObject",
}
_WHOSE = "see which credentials boto3 finds (AWS_PROFILE, AWS_ACCESS_KEY_ID, the instance's role)"
_NAME_REGION = "name the bucket's region: s3://…?region=REGION"
_RENEW = f"the credentials are not accepted or have expired: {_WHOSE}"
_ADVICE = {
    "AuthorizationHeaderMalformed": _NAME_REGION,
    "ExpiredToken": _RENEW,
    "IllegalLocationConstraintException": _NAME_REGION,
    "InvalidAccessKeyId": _RENEW,
    "InvalidToken": _RENEW,
    "NoSuchBucket": (
        "create the bucket, or see whether its name, endpoint and region are what you mean"
    ),
    "PermanentRedirect": _NAME_REGION,
    "RequestTimeTooSkewed": "set this machine's clock",
    "SignatureDoesNotMatch": _RENEW,
}


class TransientError(Exception):
    """It may be better in a while: the connection, the server's load, bytes damaged on the way."""


class AbsentError(Exception):
    """The server says that the object, the upload or a part of it is not there."""


class ConditionError(Exception):
    """The server says that the condition of the request is not met."""


class RangeError(Exception):
    """The server says that the object has no byte at that place."""


class GaveUp(StoreError):  # noqa: N818 - named as BlobDamaged is
    """Every attempt met trouble. Whether a write among them took effect is not known."""


class Unsupported(StoreError):  # noqa: N818 - named as BlobDamaged is
    """The server says that it does not implement the request."""


def judged(error: Exception, *, doing: str, where: str) -> Exception:
    """What an ``error`` of the client means: one of the classes here or a StoreError.

    ``doing`` and ``where`` are for the message: "where: cannot doing: …".
    """
    if isinstance(error, ClientError):
        return _judged_answer(error, what=f"{where}: cannot {doing}")
    if isinstance(error, TRANSPORT):
        return TransientError(_words(error))
    if isinstance(error, (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)):
        return StoreError(
            f"{where}: cannot {doing}: {_words(error)}",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        )
    hint = "see whether the store's URL and boto3's configuration are what you mean"
    return StoreError(f"{where}: cannot {doing}: {_words(error)}", hint=hint)


def gave_up(error: Exception, *, attempts: int, doing: str, where: str) -> GaveUp:
    """The end of all attempts, the last of which met ``error``."""
    hint = (
        "see to the server or the network, and whether the endpoint is that of an S3 server; "
        "then run the same command again: what is whole stays"
    )
    if isinstance(error.__cause__, SSLError):
        hint = "for a certificate of your own authority, set AWS_CA_BUNDLE to its file"
    return GaveUp(f"{where}: cannot {doing}: gave up after {attempts} attempts: {error}", hint=hint)


def _judged_answer(error: ClientError, *, what: str) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    operation = error.operation_name
    said = f"the server says {_said(error, code=code, status=status)}"
    if status == _CONDITION or code == "PreconditionFailed":
        return ConditionError(said)
    if code in _ABSENT_CODES or (operation == "HeadObject" and code in _NO_OBJECT_CODES):
        return AbsentError(said)
    if status == _NO_RANGE or code == "InvalidRange":
        return RangeError(said)
    # An error without S3's own word for it was damaged on the way, or is a proxy's.
    wordless = operation != "HeadObject" and code in ("", str(status))
    if wordless or code in _AGAIN_CODES or status in _AGAIN_STATUS:
        return TransientError(said)
    if status == _NOT_IMPLEMENTED:
        return Unsupported(f"{what}: {said}", hint="use a server that implements it")
    return StoreError(f"{what}: {said}", hint=_advice(code, status=status, operation=operation))


def _advice(code: str, *, status: int, operation: str) -> str:
    if code in _ADVICE:
        return _ADVICE[code]
    if status in _DENIED_STATUS:
        permission = _PERMISSIONS.get(operation, "s3:PutObject")
        return f"give these credentials the permission {permission}; {_WHOSE}"
    if operation == "HeadObject" and code == _BARE_REFUSAL:
        return f"{_RENEW}; or {_NAME_REGION}"
    return "see what the server's documentation says about that answer"


def _said(error: ClientError, *, code: str, status: int) -> str:
    message = str(error.response.get("Error", {}).get("Message") or "").strip().rstrip(".")
    name = "" if code == str(status) else f" {code}"
    return f"{status}{name}" + (f" ({message})" if message else "")


def _words(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return text or type(error).__name__
