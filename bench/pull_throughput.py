"""`tidemill pull` against `aws s3 cp` and `hf download`, over loopback, on the same bytes.

    make setup servers && .venv/bin/python bench/pull_throughput.py [--rounds N]

`aws` is installed into .tidemill/bench-aws when it is not there. Both S3 sides read the same blobs
from the same SeaweedFS; `hf` reads from a server of ours that speaks the hub's protocol, and
tidemill beside it from one that gives plain files. Every side starts as a command, into an empty
folder and with an empty cache, and tidemill hashes what it pulls. Rounds alternate; the first is
the warm-up and does not count. Then: how many requests a pull takes that finds nothing new, and
how long `import tidemill.client` takes.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from bench.s3_noop import upload
from tests.faults.proxy import Faults, running_proxy
from tests.hub_server import running_hub
from tests.servers import BUCKET, WRITER, S3Server, running_server
from tests.signing import SIGNER
from tests.web_server import running_web
from tidemill.channels import put_release
from tidemill.digest import digest_file
from tidemill.moves import move
from tidemill.records import Artifact, Release
from tidemill.store.folder import FolderStore
from tidemill.store.layout import blob_name

SIZES = (256 << 20, 128 << 20, 64 << 20, 32 << 20, 16 << 20, *(4 << 20 for _ in range(4)))
REPOSITORY, REVISION = "bench/model", "0" * 40
BIN = Path(sys.executable).parent
SECRETS = {
    "AWS_ACCESS_KEY_ID": WRITER[0],
    "AWS_SECRET_ACCESS_KEY": WRITER[1],
    "AWS_DEFAULT_REGION": "us-east-1",
}


def make_store(folder: Path) -> dict[str, Path]:
    """A release of random bytes in channel ``bench`` of a folder store; file name → blob."""
    store = FolderStore(folder)
    chance = np.random.default_rng(1)
    artifacts = []
    for number, size in enumerate(SIZES):
        source = folder.parent / "bytes"
        source.write_bytes(chance.bytes(size))
        digest = digest_file(source)
        store.put_blob(source, digest=digest)
        name = f"m{number}/c/f32"
        artifacts.append(
            Artifact(
                address=name,
                kind="irpa",
                file=f"{name}/model.irpa",
                digest=digest,
                size=size,
                key="k",
                status="validated",
            )
        )
    release = Release(pipeline="p", toolchain="t", tools={}, artifacts=tuple(artifacts))
    digest = put_release(store, release)
    move(store, "bench", release=digest, expecting=0, run="r", reason="bench", signer=SIGNER)
    return {one.file.replace("/", "-"): folder / blob_name(one.digest) for one in artifacts}


def aws_cli() -> Path:
    """The program, in an environment of its own."""
    folder = REPO / ".tidemill" / "bench-aws"
    if not (folder / "bin" / "aws").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin/pip"), "install", "-qq", "awscli"], check=True)
    return folder / "bin" / "aws"


def timed(
    command: list[str], *, environment: Mapping[str, str], work: Path, anew: bool = True
) -> float:
    """Seconds of a command that fills the folder ``work``/out, ``anew``: from nothing."""
    if anew:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    own = {
        "TIDEMILL_CACHE": str(work / "cache"),
        "TIDEMILL_TRUST": str(work / "trust"),
        "HF_HOME": str(work / "hf"),
    }
    started = time.perf_counter()
    done = subprocess.run(
        command,
        check=False,
        cwd=work,
        capture_output=True,
        text=True,
        env={**kept, **own, **environment},
    )
    seconds = time.perf_counter() - started
    came = sum(path.stat().st_size for path in (work / "out").rglob("*") if path.is_file())
    if done.returncode or came < sum(SIZES):
        raise SystemExit(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return seconds


def measure(sides: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, float]:
    """The median seconds of each side, which take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            took = side()
            if number:
                seconds[name].append(took)
    return {name: statistics.median(one) for name, one in seconds.items()}


def import_milliseconds() -> tuple[float, float]:
    """Median milliseconds of a bare interpreter, and of one that imports tidemill.client."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def start(code: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, env=kept)
        return 1000 * (time.perf_counter() - started)

    pairs = [(start("pass"), start("import tidemill.client")) for _ in range(21)]
    bare, with_client = zip(*pairs[1:], strict=True)
    return statistics.median(bare), statistics.median(with_client)


def sides(server: S3Server, *, web: str, hub: str, work: Path) -> dict[str, Callable[[], float]]:
    """Name → one pull of everything by that program; its seconds."""
    aws = str(aws_cli())

    def copy() -> float:
        source = f"s3://{BUCKET}/bench/blobs"
        command = [aws, "--endpoint-url", server.endpoint, "s3", "cp", "--recursive"]
        command += ["--no-progress", source, "out"]
        return timed(command, environment=SECRETS, work=work)

    def download() -> float:
        command = [str(BIN / "hf"), "download", REPOSITORY, "--revision", REVISION]
        environment = {"HF_ENDPOINT": hub, "HF_HUB_DISABLE_XET": "1"}
        return timed([*command, "--local-dir", "out"], environment=environment, work=work)

    return {
        "tidemill pull s3": lambda: pull(server.store_url("bench"), work=work),
        "aws s3 cp": copy,
        "tidemill pull http": lambda: pull(web, work=work),
        "hf download": download,
    }


def pull(store: str, *, work: Path, anew: bool = True) -> float:
    """Seconds of `tidemill pull`; not ``anew``: into the folder and cache of the last one."""
    command = [str(BIN / "tidemill"), "pull", "*", "--channel", "bench", "--no-progress"]
    command += ["--to", "out", "--store", store]
    return timed(command, environment=SECRETS, work=work, anew=anew)


def requests_of_no_news(server: S3Server, *, work: Path) -> int:
    """How many requests a pull takes that finds nothing new."""
    with running_proxy(server.endpoint) as proxy:
        through = server.store_url("bench").replace(server.endpoint, proxy.endpoint)
        pull(through, work=work)
        proxy.faults = Faults()
        pull(through, work=work, anew=False)
        return proxy.faults.count


def show(found: Mapping[str, float]) -> None:
    """Print seconds, throughput and the two ratios."""
    megabytes = sum(SIZES) / 1e6
    for name, seconds in found.items():
        print(f"{name:18} {seconds:5.2f} s {megabytes / seconds:6.0f} MB/s")
    print(f"s3: tidemill / aws {found['aws s3 cp'] / found['tidemill pull s3']:.2f} x")
    print(f"http: tidemill / hf {found['hf download'] / found['tidemill pull http']:.2f} x")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=REPO / ".tidemill")))
        files, work = make_store(root / "store"), root / "work"
        server = stack.enter_context(running_server("seaweedfs"))
        upload(root / "store", server, "bench")
        web = stack.enter_context(running_web(root / "store"))
        hub = stack.enter_context(running_hub())
        hub.add(REPOSITORY, REVISION, {name: path.read_bytes() for name, path in files.items()})
        hub.linked.update(files)
        programs = sides(server, web=web.url, hub=hub.url, work=work)
        show(measure(programs, rounds=options.rounds))
        print(f"nothing new: {requests_of_no_news(server, work=work)} request")
    bare, client = import_milliseconds()
    print(f"import tidemill.client: {client - bare:.0f} ms over a bare start of {bare:.0f} ms")


if __name__ == "__main__":
    main()
