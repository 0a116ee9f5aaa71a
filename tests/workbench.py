"""A small workspace with real models of a few hundred weights, driven through the command line.

Nothing here is a double: manifests, pipelines, toolchain, compiler, runtime and store are the real
ones, only small. Every command is a process of its own, as a person or CI would start it.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.workbench_models import (
    LANGUAGE_CONFIG,
    MAKE_ONNX,
    PIPELINES,
    TARGETS,
    language_manifest,
    onnx_manifest,
)
from tidemill.records import ChannelEntry
from tidemill.toolchain.environment import Environment, folder_of, require
from tidemill.toolchain.lock import read_lock
from tidemill.trust.documents import decode, told

REPO = Path(__file__).parents[1]
#: What every pipeline runs on.
PIPELINE_MODULES = ("base", "gather", "outcome", "publish", "runner", "warming", "__init__")
TIDEMILL = Path(sys.executable).with_name("tidemill")
#: Where a test's clients keep what they have seen (tests/conftest.py).
MEMORY = ("TIDEMILL_CACHE", "TIDEMILL_TRUST")
Outcomes = dict[tuple[str, str], str]


def toolchain() -> Environment:
    """The environment of the checkout's default toolchain; UsageError says how to build it."""
    return require(REPO / ".tidemill", read_lock(REPO / "toolchains/default.lock"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.out)

    @property
    def outcomes(self) -> Outcomes:
        """(stage, address) → outcome, of ``run --json``."""
        return {(n["stage"], n["address"]): n["outcome"] for n in self.json["nodes"]}

    @property
    def built(self) -> set[str]:
        """``stage:address`` of what ``run --json`` built."""
        return {f"{s}:{a}" for (s, a), outcome in self.outcomes.items() if outcome == "built"}

    def key(self, node: str) -> str:
        """The key of a node, ``stage:address``, of ``run --json``."""
        nodes = {f"{n['stage']}:{n['address']}": n["key"] for n in self.json["nodes"]}
        return str(nodes[node])


@dataclass(slots=True, kw_only=True)
class Workbench:
    """One workspace. ``extra`` are environment variables of every command."""

    root: Path
    store: Path
    extra: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def make(root: Path) -> "Workbench":
        """A workspace with two ONNX models, a language model with synthetic weights, no state."""
        bench = Workbench(root=root, store=root / ".tidemill/store")
        for folder in ("manifests/models", "toolchains", "pipelines"):
            (root / folder).mkdir(parents=True)
        for name in PIPELINE_MODULES:
            (root / f"pipelines/{name}.py").symlink_to(REPO / f"pipelines/{name}.py")
        for name, text in PIPELINES.items():
            bench.write(f"pipelines/{name}.py", text)
        (root / "tasks").symlink_to(REPO / "tasks")
        (root / "luigi.cfg").symlink_to(REPO / "luigi.cfg")
        shutil.copy(REPO / "toolchains/default.lock", root / "toolchains")
        bench.write("manifests/targets.yaml", TARGETS)
        bench.write("manifests/models/lm/config.json", LANGUAGE_CONFIG)
        bench.write("manifests/models/lm.yaml", language_manifest(bench.sha("lm/config.json")))
        for name, seed, width in (("tiny", 1, 16), ("twin", 2, 24)):
            bench.onnx(name, seed=seed, width=width)
        return bench

    def onnx(self, name: str, *, seed: int, width: int) -> None:
        """A model ``tanh(x @ weight + bias)`` from an ONNX file, and its manifest."""
        path = self.root / f"manifests/models/{name}/model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [str(toolchain().python), "-c", MAKE_ONNX, str(path), str(seed), str(width)]
        subprocess.run(command, check=True)
        text = onnx_manifest(name, self.sha(f"{name}/model.onnx"))
        self.write(f"manifests/models/{name}.yaml", text)

    def sha(self, file: str) -> str:
        """The sha256 of a file below manifests/models/."""
        return hashlib.sha256((self.root / "manifests/models" / file).read_bytes()).hexdigest()

    def copy(self, root: Path, *, state: bool = True) -> "Workbench":
        """The same workspace in another folder, nothing shared; ``state`` takes the store along."""
        left_out = shutil.ignore_patterns("work", *(() if state else (".tidemill",)))
        shutil.copytree(self.root, root, symlinks=True, ignore=left_out)
        return Workbench(root=root, store=root / ".tidemill/store", extra=self.extra)

    def write(self, file: str, text: str) -> None:
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def edit(self, file: str, change: tuple[str, str]) -> None:
        """Replace text that must occur exactly once in a file of the workspace: (old, new)."""
        text, (old, new) = (self.root / file).read_text(encoding="utf-8"), change
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {file}"
        self.write(file, text.replace(old, new))

    def model(self, name: str, **parts: str) -> None:
        """Append to the one component of a model: ``limits=…``, ``flags=…``, ``numerics=…``."""
        path = self.root / f"manifests/models/{name}.yaml"
        lines = "".join(f"    {part}: {text}\n" for part, text in parts.items())
        path.write_text(path.read_text(encoding="utf-8") + lines, encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        ours = ("TIDEMILL_", "COV_")
        inherited = {k: v for k, v in os.environ.items() if k in MEMORY or not k.startswith(ours)}
        toolchains = str(folder_of(REPO / ".tidemill"))
        return {**inherited, "TIDEMILL_TOOLCHAINS": toolchains, "COLUMNS": "160", **self.extra}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``tidemill …`` in the workspace, in a process group of its own."""
        return subprocess.Popen(
            [str(TIDEMILL), *arguments],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def call(self, *arguments: str, expect: int = 0) -> Done:
        """Run ``tidemill …`` to its end; its exit code must be the one expected."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        done = Done(code=process.returncode, out=out, err=err)
        assert done.code == expect, (
            f"tidemill {' '.join(arguments)}: exit {done.code}\n{out}\n{err}"
        )
        return done

    def run(self, pipeline: str = "small", *arguments: str, expect: int = 0) -> Done:
        """``tidemill run PIPELINE --json``."""
        return self.call("run", pipeline, "--workers", "2", "--json", *arguments, expect=expect)

    def states(self, pipeline: str = "small", *arguments: str) -> dict[str, dict[str, Any]]:
        """``stage:address`` → node of ``tidemill plan PIPELINE --json``."""
        nodes = self.call("plan", pipeline, "--json", *arguments).json["nodes"]
        return {f"{node['stage']}:{node['address']}": node for node in nodes}

    # What lies in the store.

    def files(self, room: str) -> dict[str, str]:
        """Name → sha256 of every file in a room of the store."""
        return {
            path.relative_to(self.store).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((self.store / room).rglob("*"))
            if path.is_file()
        }

    @property
    def records(self) -> Iterator[dict[str, Any]]:
        """Every record of an action that succeeded."""
        for path in sorted((self.store / "actions").rglob("*.json")):
            yield json.loads(path.read_bytes())

    def record(self, stage: str, address: str) -> dict[str, Any]:
        """The one record of a stage and address."""
        (found,) = (r for r in self.records if (r["step"], r["address"]) == (stage, address))
        return found

    def outputs(self) -> dict[str, str]:
        """``step address name`` → digest of every output of every record; logs are left out."""
        return {
            f"{record['step']} {record['address']} {output['name']}": output["digest"]
            for record in self.records
            for output in record["outputs"]
        }

    def blob(self, digest: str) -> Path:
        return self.store / "blobs/sha256" / digest[:2] / digest

    def torn(self) -> list[str]:
        """What a reader of the store would stumble over; empty when the store is whole."""
        found = [n for n, digest in self.files("blobs").items() if not n.endswith(digest)]
        for record in self.records:
            for output in (*record["outputs"], record["log"]):
                path = self.blob(output["digest"])
                if not path.is_file() or path.stat().st_size != output["size"]:
                    found.append(f"{record['step']} {record['address']} {output['name']}")
        releases = [n for n, digest in self.files("releases").items() if digest not in n]
        heads = [entry.release for entry in self.entries()]
        lost = [head for head in heads if not (self.store / f"releases/{head}.json").is_file()]
        return found + releases + lost

    def entries(self) -> list[ChannelEntry]:
        """What every entry of every channel tells, readable or not for a reader."""
        paths = [p for p in (self.store / "channels").rglob("*.json") if p.stem.isdecimal()]
        return [told(decode(path.read_bytes(), what="it"), what="it") for path in sorted(paths)]

    def survivors(self) -> list[str]:
        """Running processes whose folder or command line is in this workspace."""
        found = []
        for process in psutil.process_iter():
            try:
                words, where = process.cmdline(), process.cwd()
                alive = process.status() != psutil.STATUS_ZOMBIE
            except psutil.Error:
                continue
            inside = f"{self.root}/"
            if alive and any(inside in f"{text}/" for text in (where, *words)):
                found.append(f"{process.pid} {' '.join(words)[:160]}")
        return found

    def no_survivors(self, *, within: float = 10.0) -> list[str]:
        """``survivors`` once none is left, or after a generous time: a killed process ends soon."""
        deadline = time.monotonic() + within
        while (left := self.survivors()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left
