"""How long `tidemill plan` takes over a generated workspace of about 10,000 nodes.

    make setup toolchain && .venv/bin/python bench/plan_10000.py

Every node's record and blobs are really in the store, so a warm plan has looked at all of them. The
first plan hashes every blob; the second is the warm one. Prints seconds, and the ratio of the warm
plan to a bare `tidemill --version`, since machines differ.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from bench.generated import NODES_OF_A_MODEL, fill, make_workspace
from tidemill.opening import open_mill

NODES = 10_000


def timed(*arguments: str, cwd: Path) -> tuple[float, bytes]:
    """Seconds and output of one command."""
    # As people start it: with the bytecode of its modules kept.
    environment = {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "tidemill", *arguments],
        cwd=cwd,
        check=True,
        capture_output=True,
        env={**environment, "PYTHONPATH": str(REPO)},
    )
    return time.perf_counter() - started, done.stdout


def main() -> None:
    """Build the workspace, plan it cold and warm, print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        workspace = make_workspace(root, models=NODES // NODES_OF_A_MODEL + 1)
        os.environ.setdefault("TIDEMILL_TOOLCHAINS", str(REPO / ".tidemill" / "toolchains"))
        count = fill(open_mill(workspace))
        cold, _ = timed("plan", "nightly", "--json", cwd=root)
        runs = sorted(timed("plan", "nightly", "--json", cwd=root) for _ in range(5))
        warm, output = runs[len(runs) // 2]
        bare = sorted(timed("--version", cwd=root)[0] for _ in range(5))[2]
        states = [node["state"] for node in json.loads(output)["nodes"]]
        print(f"nodes {count}, up to date {states.count('up-to-date')}")
        print(f"cold {cold:.2f} s, warm median of 5 {warm:.2f} s, bare start {bare:.2f} s")
        print(f"warm / bare start = {warm / bare:.1f}")


if __name__ == "__main__":
    main()
