"""Large blobs on S3: sent in parts, gone on with after a kill, never torn, never wrong."""

import os
import random
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.servers import BUCKET, S3Server
from tests.wire import Fault, Wire, cut_to, flipped, hollow, lost, passed, saying, spoiled, unsent
from tidemill.digest import Digest, digest_bytes
from tidemill.errors import BlobDamaged, StoreError
from tidemill.store import s3_quarantine, s3_uploads
from tidemill.store.layout import blob_name
from tidemill.store.s3 import S3Store
from tidemill.store.s3_client import Retry
from tidemill.store.s3_multipart import PART_BYTES, part_size
from tidemill.store.s3_reading import WINDOW_BYTES
from tidemill.store.s3_trouble import GaveUp

PARTS = 4
LARGE = random.Random(1).randbytes((PARTS - 1) * PART_BYTES + 1234)
DIGEST = digest_bytes(LARGE)
TINY = Retry(attempts=4, first=0.0001, longest=0.0002)


@pytest.fixture
def store(s3_url: str) -> S3Store:
    return S3Store(s3_url, retry=TINY)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(LARGE)
    return path


def uploads(server: S3Server, store: S3Store) -> list[Any]:
    """The uploads that are open below the store."""
    prefix = store.url.removeprefix(f"s3://{BUCKET}/").partition("?")[0]
    found = server.client().list_multipart_uploads(Bucket=BUCKET, Prefix=prefix)
    return list(found.get("Uploads", []))


def begin(server: S3Server, store: S3Store, *parts: bytes) -> None:
    """Begin the upload of LARGE as another writer, with these parts."""
    prefix = store.url.removeprefix(f"s3://{BUCKET}/").partition("?")[0]
    client, which = server.client(), {"Bucket": BUCKET, "Key": f"{prefix}/{blob_name(DIGEST)}"}
    upload = client.create_multipart_upload(**which)["UploadId"]
    for number, data in enumerate(parts, start=1):
        client.upload_part(**which, UploadId=upload, PartNumber=number, Body=data)


def finished(server: S3Server, upload: Any) -> set[int]:
    """The numbers of the parts that the server has."""
    which = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
    parts = server.client().list_parts(Bucket=BUCKET, **which).get("Parts", [])
    return {part["PartNumber"] for part in parts}


def sent(wire: Wire) -> list[int]:
    """The numbers of the parts that were sent, each time."""
    found = [re.search(r"partNumber=(\d+)", one.url) for one in wire.of("UploadPart")]
    return sorted(int(match[1]) for match in found if match)


def is_whole(store: S3Store) -> bool:
    entry = store.stat(blob_name(DIGEST))
    return entry is not None and store.check_blob(DIGEST) == entry.size == len(LARGE)


def test_a_large_blob_comes_back_as_it_was_put(
    store: S3Store, seaweedfs: S3Server, source: Path, tmp_path: Path
) -> None:
    wire = Wire(store)
    assert store.put_blob(source, digest=DIGEST) is True
    assert sent(wire) == [1, 2, 3, 4]
    assert store.put_blob(source, digest=DIGEST) is False
    assert uploads(seaweedfs, store) == []
    assert store.fetch_blob(DIGEST, tmp_path / "target") == len(LARGE)
    assert (tmp_path / "target").read_bytes() == LARGE
    assert store.read_blob(DIGEST) == LARGE
    assert list(store.list("blobs")) == [store.stat(blob_name(DIGEST))]


@pytest.mark.parametrize("offset", [0, 5, WINDOW_BYTES + 7, len(LARGE) - 1, len(LARGE), 10**9])
def test_the_rest_of_a_blob_is_streamed(store: S3Store, source: Path, offset: int) -> None:
    store.put_blob(source, digest=DIGEST)
    assert b"".join(store.stream_blob(DIGEST, offset=offset)) == LARGE[offset:]


def test_a_writer_killed_in_the_middle_is_gone_on_from(
    store: S3Store, seaweedfs: S3Server, source: Path
) -> None:
    command = [sys.executable, "-m", "tests.contract.s3_uploader", store.url, str(source), "2"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert store.stat(blob_name(DIGEST)) is None
    (upload,) = uploads(seaweedfs, store)
    there = finished(seaweedfs, upload)
    assert len(there) >= 2
    wire = Wire(store)
    assert store.put_blob(source, digest=DIGEST) is True
    assert sent(wire) == sorted({1, 2, 3, 4} - there)
    assert wire.of("CreateMultipartUpload") == []
    assert is_whole(store)
    assert uploads(seaweedfs, store) == []


def test_a_part_that_the_server_has_wrong_is_sent_again(
    store: S3Store, seaweedfs: S3Server, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_uploads, "IDLE_SECONDS", -1)
    begin(seaweedfs, store, LARGE[:PART_BYTES], b"x" * PART_BYTES)
    wire = Wire(store)
    assert store.put_blob(source, digest=DIGEST) is True
    assert sent(wire) == [2, 3, 4]
    assert is_whole(store)


def test_parts_carry_the_checksums_that_were_asked_for(s3_url: str, source: Path) -> None:
    store = S3Store(f"{s3_url}&checksums=supported", retry=TINY)
    wire = Wire(store)
    wire.faults["UploadPart"] += [spoiled, spoiled]
    wire.faults["CompleteMultipartUpload"] += [unsent] * 4
    with pytest.raises(GaveUp):
        store.put_blob(source, digest=DIGEST)
    assert len(sent(wire)) == 6
    assert store.put_blob(source, digest=DIGEST) is True
    assert all("x-amz-checksum-sha256" in one.headers for one in wire.of("UploadPart"))
    assert is_whole(store)


def test_an_upload_cut_into_other_parts_is_not_gone_on_with(
    store: S3Store, seaweedfs: S3Server, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_uploads, "IDLE_SECONDS", -1)
    begin(seaweedfs, store, LARGE[: 5 << 20])
    wire = Wire(store)
    assert store.put_blob(source, digest=DIGEST) is True
    assert sent(wire) == [1, 2, 3, 4]
    assert is_whole(store)
    assert uploads(seaweedfs, store) == []


def test_an_upload_that_another_host_may_work_on_is_left_to_it(
    store: S3Store, seaweedfs: S3Server, source: Path
) -> None:
    begin(seaweedfs, store, LARGE[:PART_BYTES])
    (theirs,) = uploads(seaweedfs, store)
    wire = Wire(store)
    assert store.put_blob(source, digest=DIGEST) is True
    assert sent(wire) == [1, 2, 3, 4]
    (left,) = uploads(seaweedfs, store)
    assert (left["UploadId"], finished(seaweedfs, left)) == (theirs["UploadId"], {1})


def test_an_upload_that_a_living_process_works_on_is_left_to_it(
    store: S3Store, seaweedfs: S3Server, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_uploads, "IDLE_SECONDS", -1)
    ended: list[int] = []

    def another(_: Any) -> None:
        (upload,) = uploads(seaweedfs, store)
        pid = os.fork()
        if not pid:
            wrote = False
            try:
                forked = S3Store(store.url, retry=TINY)
                wire = Wire(forked)
                wrote = forked.put_blob(source, digest=DIGEST) and sent(wire) == [1, 2, 3, 4]
            finally:
                os._exit(0 if wrote else 1)
        ended.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        (left,) = uploads(seaweedfs, store)
        assert left["UploadId"] == upload["UploadId"]

    wire = Wire(store)
    wire.faults["CompleteMultipartUpload"] += [another]
    assert store.put_blob(source, digest=DIGEST) is True
    assert ended == [0]
    assert is_whole(store)
    assert uploads(seaweedfs, store) == []


@pytest.mark.parametrize(
    "fault",
    [unsent, hollow, lost, saying(503, "SlowDown"), saying(400, "BadDigest")],
    ids=["unsent", "hollow", "lost", "503", "digest"],
)
def test_trouble_that_passes_is_not_seen(
    store: S3Store, seaweedfs: S3Server, source: Path, fault: Fault
) -> None:
    wire = Wire(store)
    for operation in ("HeadObject", "ListMultipartUploads", "CreateMultipartUpload", "UploadPart"):
        wire.faults[operation] += [fault, passed, fault]
    wire.faults["CompleteMultipartUpload"] += [unsent] * 4
    with pytest.raises(GaveUp):
        store.put_blob(source, digest=DIGEST)
    for operation in ("ListParts", "CompleteMultipartUpload", "AbortMultipartUpload"):
        wire.faults[operation] += [fault]
    wire.sent.clear()
    assert store.put_blob(source, digest=DIGEST) is True
    assert sent(wire) == []
    assert is_whole(store)
    # An upload that was begun although nobody was told of it is left alone while it is new.
    assert [finished(seaweedfs, one) for one in uploads(seaweedfs, store)] in ([], [set()])


def test_trouble_that_stays_leaves_what_was_sent_for_the_next_call(
    store: S3Store, seaweedfs: S3Server, source: Path
) -> None:
    wire = Wire(store)
    wire.faults["UploadPart"] += [passed, *[unsent] * 16]
    with pytest.raises(GaveUp, match=f"cannot store blob {DIGEST[:12]}"):
        store.put_blob(source, digest=DIGEST)
    assert store.stat(blob_name(DIGEST)) is None
    assert list(store.list("")) == []
    (upload,) = uploads(seaweedfs, store)
    there = finished(seaweedfs, upload)
    assert there
    wire.faults.clear()
    wire.sent.clear()
    assert store.put_blob(source, digest=DIGEST) is True
    assert sent(wire) == sorted({1, 2, 3, 4} - there)


def test_wrong_bytes_leave_nothing_behind(
    store: S3Store, seaweedfs: S3Server, source: Path
) -> None:
    other = Digest(digest_bytes(b"another file"))
    with pytest.raises(BlobDamaged) as caught:
        store.put_blob(source, digest=other)
    assert caught.value.message == (
        f"{source} is not blob {other[:12]}…: its sha256 is {DIGEST[:12]}…"
    )
    assert store.stat(blob_name(other)) is None
    assert (list(store.list("")), uploads(seaweedfs, store)) == ([], [])


def test_writers_of_one_blob_do_not_hurt_each_other(
    store: S3Store, seaweedfs: S3Server, source: Path
) -> None:
    others = [S3Store(store.url, retry=TINY) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        wrote = list(pool.map(lambda one: one.put_blob(source, digest=DIGEST), others))
    assert any(wrote)
    assert is_whole(store)
    assert uploads(seaweedfs, store) == []


def test_an_upload_that_others_have_ended_is_begun_again(
    store: S3Store, seaweedfs: S3Server, source: Path
) -> None:
    def aborted(_: Any) -> None:
        (upload,) = uploads(seaweedfs, store)
        which = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
        seaweedfs.client().abort_multipart_upload(Bucket=BUCKET, **which)

    wire = Wire(store)
    wire.faults["CompleteMultipartUpload"] += [aborted]
    assert store.put_blob(source, digest=DIGEST) is True
    assert is_whole(store)
    wire.faults["CompleteMultipartUpload"] += [aborted] * 4
    store.remove(blob_name(DIGEST))
    with pytest.raises(StoreError, match="its upload was ended by others 4 times"):
        store.put_blob(source, digest=DIGEST)


def test_an_upload_that_another_writer_completes_is_not_ours(store: S3Store, source: Path) -> None:
    def completed(request: Any) -> Any:
        assert S3Store(store.url).put_blob(source, digest=DIGEST) is True
        # Some servers take a second completion for the first one's; this one does not.
        return saying(404, "NoSuchUpload")(request)

    wire = Wire(store)
    wire.faults["CompleteMultipartUpload"] += [completed]
    assert store.put_blob(source, digest=DIGEST) is False
    assert is_whole(store)


def test_a_server_that_lies_about_completion_is_caught(store: S3Store, source: Path) -> None:
    def lied(request: Any) -> Any:
        answer = passed_on(request)
        S3Store(store.url).remove(blob_name(DIGEST))
        return answer

    passed_on = cut_to(10**6)
    wire = Wire(store)
    wire.faults["CompleteMultipartUpload"] += [lied]
    with pytest.raises(StoreError, match="says that it is complete, and has not all of its"):
        store.put_blob(source, digest=DIGEST)


def test_faults_in_the_windows_of_a_large_blob_are_not_seen(
    store: S3Store, source: Path, tmp_path: Path
) -> None:
    store.put_blob(source, digest=DIGEST)
    wire = Wire(store)
    wire.faults["GetObject"] += [cut_to(1 << 20), passed, cut_to(0), unsent, hollow, flipped]
    assert store.fetch_blob(DIGEST, tmp_path / "target") == len(LARGE)
    assert (tmp_path / "target").read_bytes() == LARGE
    assert [path.name for path in tmp_path.iterdir() if path != source] == ["target"]


def test_a_large_damaged_blob_is_copied_aside_in_ranges(
    store: S3Store, source: Path, seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_quarantine, "COPY_BYTES", 10 << 20)
    store.put_blob(source, digest=DIGEST)
    prefix = store.url.removeprefix(f"s3://{BUCKET}/").partition("?")[0]
    damaged = b"x" + LARGE[1:]
    seaweedfs.client().put_object(Bucket=BUCKET, Key=f"{prefix}/{blob_name(DIGEST)}", Body=damaged)
    store.discard_blob(DIGEST)
    assert store.stat(blob_name(DIGEST)) is None
    (aside,) = store.list("quarantine")
    assert store.read(aside.name) == damaged


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1, 8 << 20),
        (10_000 * (8 << 20), 8 << 20),
        (10_000 * (8 << 20) + 1, 9 << 20),
        (5 << 40, 525 << 20),
    ],
)
def test_parts_grow_so_that_ten_thousand_suffice(size: int, expected: int) -> None:
    assert part_size(size) == expected
    assert -(-size // expected) <= 10_000
