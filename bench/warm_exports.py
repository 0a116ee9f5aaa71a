"""`tidemill run nightly --stage export` with a warm process against every export by itself.

    make setup toolchain && .venv/bin/python bench/warm_exports.py [--model M] [--rounds N]

Every side builds all exports of one model into an empty store; which one begins alternates. A run
that could not be warm says so among its problems, and ends this. Processor seconds are those of the
whole process tree, as the kernel counted them.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent


def run(model: str, *, workers: int, warm: bool) -> tuple[float, float]:
    """Wall and processor seconds of one run."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "tidemill", "run", "nightly", "--no-progress"]
        chosen = ["--stage", "export", "--model", model, "--workers", str(workers)]
        how = [] if warm else ["--no-warm"]
        done = subprocess.run(
            [*command, *chosen, *how, "--json", "--store", store],
            cwd=REPO,
            check=True,
            capture_output=True,
        )
    if problems := json.loads(done.stdout)["problems"]:
        raise SystemExit(problems)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, processor


def main() -> None:
    """Print each round and the medians of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="sd-small")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    ratios = []
    for number in range(options.rounds):
        order = (True, False) if number % 2 else (False, True)
        took = {way: run(options.model, workers=options.workers, warm=way) for way in order}
        warm, cold = took[True], took[False]
        ratios.append((warm[0] / cold[0], warm[1] / cold[1]))
        print(
            f"round {number + 1}: warm {warm[0]:.0f} s ({warm[1]:.0f} s of processors),"
            f" cold {cold[0]:.0f} s ({cold[1]:.0f} s): {ratios[-1][0]:.2f}, {ratios[-1][1]:.2f}"
        )
    wall, processor = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"warm / cold: {wall:.2f} of wall time, {processor:.2f} of processor time")


if __name__ == "__main__":
    main()
