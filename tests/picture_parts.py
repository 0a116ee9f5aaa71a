"""Makes the parts of a text-to-image model in one process: export, pack, and compile for cpu.

Run under the toolchain's interpreter in a folder with ``jobs.json``: folder → fields of export and
of pack, input files, compiler flags. Writes model.mlir, model.irpa and model.vmfb into each folder.
"""

import json
import os
from pathlib import Path
from typing import Any

from iree import compiler

from tidemill.steps.work import export, pack
from tidemill.steps.work.protocol import OUT, Request


def make(job: dict[str, Any]) -> None:
    """The three files of one part, in the current folder."""
    export.run(Request(step="export", fields=job["export"], inputs=job["inputs"]))
    pack.run(Request(step="pack", fields=job["pack"], inputs=job["inputs"]))
    for file in Path(OUT).iterdir():
        file.rename(file.name)
    compiler.compile_file("model.mlir", output_file="model.vmfb", extra_args=job["flags"])


if __name__ == "__main__":
    root = Path.cwd()
    for folder, job in json.loads((root / "jobs.json").read_text(encoding="utf-8")).items():
        (root / folder).mkdir(parents=True)
        os.chdir(root / folder)
        make(job)
    os.chdir(root)
    Path("findings.json").write_text("{}", encoding="utf-8")
