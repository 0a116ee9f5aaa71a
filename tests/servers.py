"""Real S3 servers on loopback, for tests that ask for one: started once, gone with pytest.

Their packages are pinned in ci/servers.lock and installed by `make test`. With
TIDEMILL_TEST_S3=s3://bucket/prefix?… the contract suite also runs there, with the credentials that
boto3 finds.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tidemill.child import die_with_parent, end_group

BUCKET = "mill"
WRITER = ("mill-writer", "mill-writer-secret")
#: May read and list, not write. Known to SeaweedFS only.
READER = ("mill-reader", "mill-reader-secret")
#: The URL of somebody's own store to test, or "".
GIVEN = os.environ.get("TIDEMILL_TEST_S3", "")
#: The kinds of stores where ``create`` works; others refuse it.
CREATING = ("folder", "seaweedfs", *(["given"] if GIVEN else []))
_START_SECONDS = 60
_STARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """A running server with the empty bucket BUCKET, which WRITER may use."""

    name: str
    endpoint: str

    def store_url(self, prefix: str) -> str:
        """The URL of a store in it."""
        return f"s3://{BUCKET}/{prefix}?endpoint={self.endpoint}&region=us-east-1"

    def client(self, credentials: tuple[str, str] = WRITER) -> Any:
        """A plain client, to look behind a store's back."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=credentials[0],
            aws_secret_access_key=credentials[1],
            config=Config(
                retries={"total_max_attempts": 1}, request_checksum_calculation="when_required"
            ),
        )


def _seaweedfs(folder: Path, ports: Sequence[int]) -> list[str]:
    identities = [
        _identity("writer", WRITER, ["Admin", "Read", "Write", "List", "Tagging"]),
        _identity("reader", READER, ["Read", "List"]),
    ]
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": identities}), encoding="utf-8")
    inner = ("master.port", "volume.port", "filer.port")
    grpc = ("master.port.grpc", "volume.port.grpc", "filer.port.grpc", "s3.port.grpc")
    return [
        *(_program("weed"), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}"),
        *("-filer", "-s3", f"-s3.config={config}", f"-s3.port={ports[0]}"),
        *("-master.volumeSizeLimitMB=64", "-volume.max=200"),
        # What it would else have at fixed places.
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"),
        *(f"-s3.localSocket={folder / 's3.sock'}", f"-filer.localSocket={folder / 'filer.sock'}"),
        *(f"-{name}={port}" for name, port in zip((*inner, *grpc), ports[1:], strict=True)),
    ]


def _identity(name: str, credentials: tuple[str, str], actions: list[str]) -> dict[str, Any]:
    access, secret = credentials
    return {
        "name": name,
        "credentials": [{"accessKey": access, "secretKey": secret}],
        "actions": actions,
    }


def _rclone(folder: Path, ports: Sequence[int]) -> list[str]:
    return [
        *(_program("rclone"), "serve", "s3", f"--addr=127.0.0.1:{ports[0]}"),
        *(f"--auth-key={','.join(WRITER)}", f"--config={folder / 'none'}", str(folder)),
    ]


#: Name → its command in a folder of its own at some free ports, and how many ports it needs.
_KINDS: dict[str, tuple[Callable[[Path, Sequence[int]], list[str]], int]] = {
    "seaweedfs": (_seaweedfs, 8),
    "rclone": (_rclone, 1),
}


@contextmanager
def running_server(name: str) -> Iterator[S3Server]:
    """A server of that kind until the block ends. Raises RuntimeError when it does not start."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"tidemill-{name}-")))
        for attempt in range(_STARTS):
            # A free port may be taken by somebody else before the server binds it.
            try:
                server = _start(name, folder / str(attempt), stack)
            except RuntimeError:
                if attempt == _STARTS - 1:
                    raise
            else:
                break
        yield server


def _start(name: str, folder: Path, stack: ExitStack) -> S3Server:
    command_of, needs = _KINDS[name]
    data = folder / "data"
    data.mkdir(parents=True)
    ports = _free_ports(needs)
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command_of(data, ports),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call
        )
    stack.callback(_sweep_sockets, ports)
    stack.callback(process.wait)
    stack.callback(end_group, process.pid)
    server = S3Server(name=name, endpoint=f"http://127.0.0.1:{ports[0]}")
    deadline = time.monotonic() + _START_SECONDS
    while not _is_ready(server):
        if process.poll() is not None or time.monotonic() > deadline:
            end_group(process.pid)
            tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"{name} does not start:\n{tail}")
        time.sleep(0.1)
    return server


def _is_ready(server: S3Server) -> bool:
    client = server.client()
    try:
        client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="ready", Body=b"yes")
        client.delete_object(Bucket=BUCKET, Key="ready")
    except (ClientError, BotoCoreError):
        return False
    finally:
        client.close()
    return True


def _sweep_sockets(ports: Sequence[int]) -> None:
    # SeaweedFS makes them there and nowhere else, and is killed.
    for port in ports:
        for left in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):  # noqa: S108 - see above
            left.unlink(missing_ok=True)


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _program(name: str) -> str:
    """A program of a package in ci/servers.lock."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
    if found is None:
        raise RuntimeError(f"{name} is not installed: run `make servers`")
    return found


def use(credentials: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have boto3 find these and nothing of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", credentials[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", credentials[1])


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[S3Server]:
    """SeaweedFS, which honours conditional writes."""
    with running_server("seaweedfs") as server:
        yield server


@pytest.fixture(scope="session")
def rclone() -> Iterator[S3Server]:
    """rclone, which ignores the conditions of writes."""
    with running_server("rclone") as server:
        yield server


@pytest.fixture
def s3_url(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty store in SeaweedFS; boto3 finds the credentials for it."""
    use(WRITER, monkeypatch)
    return seaweedfs.store_url(os.urandom(6).hex())
