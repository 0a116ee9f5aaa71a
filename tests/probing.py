"""Run a probe (tests/*_probes.py) under the toolchain's interpreter and read what it found."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def probe(python: Path, folder: Path, *command: str, hash_seed: str = "0") -> dict[str, Any]:
    """The findings of ``tests/<command>`` run in ``folder``. A probe that fails shows its log."""
    script, *arguments = command
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hash_seed}
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [str(python), str(ROOT / "tests" / script), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    findings: dict[str, Any] = json.loads((folder / "findings.json").read_text(encoding="utf-8"))
    return findings
