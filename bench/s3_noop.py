"""What a run over artifacts that are all up to date asks of a store in S3, and how long it takes.

    make setup servers toolchain && .venv/bin/python bench/s3_noop.py

The server is SeaweedFS on loopback behind a small proxy of ours that counts requests. Prints, for
a small and a large number of artifacts, the seconds and the requests of a run that has nothing to
do: the third one, since the first reads every record and hashes every blob once.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from bench.generated import fill, make_workspace
from tests.faults.proxy import Faults, Proxy, running_proxy
from tests.servers import BUCKET, WRITER, S3Server, running_server
from tidemill.opening import open_mill

ARTIFACTS_OF_A_MODEL = 2 * (1 + 1 + 3 + 8)
MODELS = (4, 39)
THREADS = 16


def upload(folder: Path, server: S3Server, prefix: str) -> int:
    """Copy a folder store into the bucket; return how many objects."""
    client = server.client()
    files = [path for path in folder.rglob("*") if path.is_file()]

    def put(path: Path) -> None:
        key = f"{prefix}/{path.relative_to(folder).as_posix()}"
        client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(put, files))
    return len(files)


def run(root: Path, url: str, proxy: Proxy) -> tuple[float, Counter[str], dict[str, Any]]:
    """Seconds, requests by kind, and the report of one `tidemill run nightly`."""
    proxy.faults = Faults()
    environment = {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"AWS_ACCESS_KEY_ID": WRITER[0], "AWS_SECRET_ACCESS_KEY": WRITER[1]}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "tidemill", "run", "nightly", "--json", "--store", url],
        cwd=root,
        check=False,
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": str(REPO)},
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return seconds, Counter(map(_kind, proxy.faults.asked)), json.loads(done.stdout)


def _kind(asked: str) -> str:
    method, _, path = asked.partition(" ")
    return "LIST" if "list-type=2" in path else method


def main() -> None:
    """Measure with few and with many artifacts, and print."""
    os.environ.setdefault("TIDEMILL_TOOLCHAINS", str(REPO / ".tidemill" / "toolchains"))
    with running_server("seaweedfs") as server, running_proxy(server.endpoint) as proxy:
        for models in MODELS:
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder)
                workspace = make_workspace(root, models=models)
                nodes = fill(open_mill(workspace))
                prefix = f"models-{models}"
                objects = upload(root / ".tidemill" / "store", server, prefix)
                url = server.store_url(prefix).replace(server.endpoint, proxy.endpoint)
                print(
                    f"{models * ARTIFACTS_OF_A_MODEL} artifacts, {nodes} nodes, {objects} objects"
                )
                for number in (1, 2, 3):
                    seconds, requests, report = run(root, url, proxy)
                    outcomes = Counter(node["outcome"] for node in report["nodes"])
                    told = ", ".join(f"{n} {kind}" for kind, n in sorted(requests.items()))
                    print(
                        f"  run {number}: {seconds:.2f} s, {sum(requests.values())} requests"
                        f" ({told}); {dict(outcomes)}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
