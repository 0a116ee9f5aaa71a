"""Moves a damaged object aside, unless somebody has rebuilt it meanwhile.

S3 cannot rename: the server copies, and the object is removed if it is still the one that was found
damaged. Equal bytes have equal ETags, so what tells a rebuilt object is the name of its writer.
"""

from typing import Any

from tidemill.store.s3_client import Bucket, Head, new_writer
from tidemill.store.s3_trouble import AbsentError, ConditionError, Unsupported

#: What the server copies in one request: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
COPY_BYTES = 5 << 30


def move_aside(bucket: Bucket, key: str, aside: str, *, head: Head, doing: str) -> None:
    """Copy ``key`` to ``aside`` and remove it, if it still is the object of ``head``."""
    source = {"Bucket": bucket.address.bucket, "Key": key}
    same = {"CopySource": source, "CopySourceIfMatch": head.etag}
    try:
        if head.size > COPY_BYTES:
            _copy_in_ranges(bucket, aside, size=head.size, doing=doing, **same)
        else:
            bucket.ask("copy_object", doing=doing, needs="CopyObjectResult", Key=aside, **same)
        if bucket.head(key, doing=doing) == head:
            _delete_same(bucket, key, etag=head.etag, doing=doing)
    except (AbsentError, ConditionError):
        return  # it is gone or another one: the copy stays for a look


def _copy_in_ranges(bucket: Bucket, aside: str, *, size: int, doing: str, **same: Any) -> None:
    begun = bucket.ask(
        "create_multipart_upload",
        doing=doing,
        needs="UploadId",
        Key=aside,
        Metadata={"writer": new_writer()},
    )
    upload = {"Key": aside, "UploadId": begun["UploadId"]}
    parts = []
    for number, start in enumerate(range(0, size, COPY_BYTES), start=1):
        answer = bucket.ask(
            "upload_part_copy",
            doing=doing,
            needs="CopyPartResult",
            PartNumber=number,
            CopySourceRange=f"bytes={start}-{min(start + COPY_BYTES, size) - 1}",
            **upload,
            **same,
        )
        parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
    bucket.ask(
        "complete_multipart_upload",
        doing=doing,
        needs="ETag",
        MultipartUpload={"Parts": parts},
        **upload,
    )


def _delete_same(bucket: Bucket, key: str, *, etag: str, doing: str) -> None:
    try:
        bucket.delete(key, doing=doing, IfMatch=etag)
    except Unsupported:
        bucket.delete(key, doing=doing)
