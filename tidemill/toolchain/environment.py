"""The environment of a toolchain: an interpreter that has exactly the locked packages.

An environment lies at ``<folder>/<name>-<first 12 of the lock's digest>/`` and counts as there only
once its stamp is, which is written last; a half-built one is built again. Several processes may ask
for the same environment at once: one builds, the others wait for it. Nothing here imports torch.
"""

import contextlib
import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tidemill.digest import fsync_folder
from tidemill.errors import StoreError, ToolError, UsageError
from tidemill.toolchain.lock import Lock, normalise
from tidemill.toolchain.pin import parse_report

Report = Callable[[str], None]

STAMP = ".complete"
#: Where the wheels of iree-base-compiler and iree-base-runtime keep the programs themselves. What
#: lies in bin/ are Python scripts that start these; they cost half a second and a second process.
_NATIVE = ("iree/compiler/_mlir_libs", "iree/_runtime_libs")
_PROOF = "import torch, iree.compiler, iree.runtime"
_CUDA_SIGNS = (
    "libcud",
    "libnv",
    "libcublas",
    "libnccl",
    "libcusparse",
    "libcufft",
    "libtorch_cuda",
)
_TAIL_LINES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A complete environment of a lock."""

    lock: Lock
    root: Path

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.root / "bin" / "python"

    @property
    def flags_cache(self) -> Path:
        """Where ``flags.known_flags`` may keep the compiler's answer."""
        return self.root / "compiler-flags.json"

    def tool(self, name: str) -> Path:
        """The program ``name``, the native one where there is one. Raises ToolError if absent."""
        packages = self.root / "lib"
        for site in sorted(packages.glob("python*/site-packages")):
            for folder in _NATIVE:
                if os.access(native := site / folder / name, os.X_OK):
                    return native
        script = self.root / "bin" / name
        if os.access(script, os.X_OK):
            return script
        raise ToolError(
            f"toolchain {self.lock.name} has no program {name} in {self.root}",
            hint=f"rebuild it: tidemill toolchain sync {self.lock.name} --force",
        )


def folder_of(state: Path) -> Path:
    """Where environments lie: $TIDEMILL_TOOLCHAINS, else ``toolchains`` in the state folder."""
    shared = os.environ.get("TIDEMILL_TOOLCHAINS")
    return Path(shared).expanduser().absolute() if shared else state.absolute() / "toolchains"


def locate(state: Path, lock: Lock) -> Environment | None:
    """The complete environment of ``lock``, or None. Costs two looks at the disk."""
    root = _root(state, lock)
    environment = Environment(lock=lock, root=root)
    whole = (root / STAMP).is_file() and environment.python.exists()
    return environment if whole else None


def require(state: Path, lock: Lock) -> Environment:
    """Like ``locate``, but raises UsageError that says how to build it."""
    environment = locate(state, lock)
    if environment is None:
        raise UsageError(
            f"toolchain {lock.name} is not built here",
            hint=f"build it: tidemill toolchain sync {lock.name}",
        )
    return environment


def sync(state: Path, lock: Lock, *, report: Report, force: bool = False) -> Environment:
    """The environment of ``lock``, built first if it is not complete (or if ``force``).

    ``report`` gets progress lines. Raises ToolError when pip or the check of what it installed
    fails; the environment then does not count as there.
    """
    if not force and (found := locate(state, lock)) is not None:
        return found
    root = _root(state, lock)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(root.with_name(f"{root.name}.lock"), report=report):
            if not force and (found := locate(state, lock)) is not None:
                return found
            environment = Environment(lock=lock, root=root)
            _build(environment, report=report)
            return environment
    except OSError as error:
        raise StoreError(f"cannot build toolchain {lock.name} in {root}: {error}") from error


def _root(state: Path, lock: Lock) -> Path:
    return folder_of(state) / f"{lock.name}-{lock.digest[:12]}"


@contextlib.contextmanager
def _only_one(path: Path, *, report: Report) -> Iterator[None]:
    """Hold ``path`` as a lock; the kernel lets go of it when the process ends, however it ends."""
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("another process is building this toolchain: waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _build(environment: Environment, *, report: Report) -> None:
    lock, root = environment.lock, environment.root
    if root.exists():
        report(f"{root} is incomplete or unwanted: building it again")
        (root / STAMP).unlink(missing_ok=True)
        shutil.rmtree(root)
    report(f"building toolchain {lock.name}: {len(lock.pins)} packages into {root}")
    _run([sys.executable, "-m", "venv", "--without-pip", str(root)], lock=lock, report=None)
    pip = [sys.executable, "-m", "pip", "--python", str(environment.python)]
    pip += ["--disable-pip-version-check", "--no-input"]
    requirements = root / "requirements.txt"
    requirements.write_text(_requirements(lock, pip=pip), encoding="utf-8")
    # Compiling every module of torch and transformers takes longer than installing them, and most
    # are never imported: Python compiles those that are.
    install = ["install", "--no-deps", "--require-hashes", "--no-compile", "--progress-bar=off"]
    _run([*pip, *install, "-r", str(requirements)], lock=lock, report=report)
    report("checking what was installed")
    _verify(environment, pip=pip)
    _stamp(root, lock)
    report(f"toolchain {lock.name} is ready")


def _requirements(lock: Lock, *, pip: list[str]) -> str:
    """What pip gets to read: the lock, with the build named where a version has several."""
    lines = []
    for name, pin in sorted(lock.pins.items()):
        several = len(pin.hashes) > 1
        version = _best_build(name, lock=lock, pip=pip) if several else pin.version
        lines.append(
            " ".join([f"{name}=={version}", *(f"--hash=sha256:{sha}" for sha in pin.hashes)])
        )
    return "\n".join(lines) + "\n"


def _best_build(name: str, *, lock: Lock, pip: list[str]) -> str:
    """The full version of the build of ``name`` that pip prefers where it sees no hashes.

    With hashes, pip prefers a file whose hash the index tells, so the registry's CUDA build of
    torch would win over the CPU build in a folder. Without, the local version (+cpu) wins.
    """
    pin = lock.pins[name]
    with tempfile.TemporaryDirectory(prefix="tidemill-sync-") as folder:
        answer = Path(folder, "report.json")
        ask = ["install", "--dry-run", "--quiet", "--no-deps", "--ignore-installed"]
        _run(
            [*pip, *ask, "--report", str(answer), f"{name}=={pin.version}"], lock=lock, report=None
        )
        found = parse_report(answer.read_text(encoding="utf-8"))[0]
    if found.sha256 not in pin.hashes:
        raise ToolError(
            f"toolchain {lock.name}: pip finds {name} {found.version} with sha256 {found.sha256},"
            " which the lock does not list",
            hint="if you trust that file, pin anew with it: tidemill toolchain pin " + lock.name,
        )
    return found.version


def _run(command: list[str], *, lock: Lock, report: Report | None) -> None:
    """Run one building step; its last lines become the error. ``report`` counts packages."""
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    done = 0
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None  # noqa: S101 (asked for one line above)
        try:
            for line in process.stdout:
                tail.append(line.rstrip())
                if report is None:
                    continue
                if line.startswith(("Collecting ", "Processing ")):
                    done += 1
                    report(f"{done}/{len(lock.pins)} {Path(line.split()[1]).name}")
                elif line.startswith("Installing "):
                    report("installing")
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise ToolError(
            f"cannot build toolchain {lock.name}: {command[0]} ended with {process.returncode}\n"
            + "\n".join(tail),
            hint="the lock holds the files for CPython 3.11 on Linux x86_64; this is"
            f" {platform.python_implementation()} {platform.python_version()} on"
            f" {platform.system()} {platform.machine()}",
        )


def _verify(environment: Environment, *, pip: list[str]) -> None:
    """See that torch and IREE import, then that no package misses another."""
    proof = subprocess.run(
        [str(environment.python), "-c", _PROOF], capture_output=True, text=True, check=False
    )
    if proof.returncode:
        raise explain_import_failure(proof.stderr, lock=environment.lock)
    check = subprocess.run([*pip, "check"], capture_output=True, text=True, check=False)
    if check.returncode and (wrong := complaints(check.stdout, lock=environment.lock)):
        raise ToolError(
            f"toolchain {environment.lock.name} is not closed:\n" + "\n".join(wrong),
            hint=f"pin it again: tidemill toolchain pin {environment.lock.name}",
        )


def complaints(check: str, *, lock: Lock) -> list[str]:
    """What is wrong of what ``pip check`` printed.

    A package that the lock takes without its requirements may want other versions than are there;
    a package that it needs and that is not there at all is wrong in any case.
    """
    lines = [line.strip() for line in check.splitlines() if line.strip()]
    return [
        line
        for line in lines
        if not (normalise(line.split()[0]) in lock.alone and " has requirement " in line)
    ]


def explain_import_failure(stderr: str, *, lock: Lock) -> ToolError:
    """The error for an environment that does not import; ``stderr`` is what Python printed."""
    last = (stderr.strip().splitlines() or ["no output"])[-1]
    message = f"toolchain {lock.name} was installed but does not import: {last}"
    if not any(sign in last for sign in _CUDA_SIGNS):
        return ToolError(message)
    return ToolError(
        message,
        hint="pip found only the CUDA build of torch, and its libraries are not here. Make the CPU"
        f" build ({lock.version('torch')}+cpu) reachable for pip: set PIP_FIND_LINKS to a folder"
        " that holds its wheel, or PIP_EXTRA_INDEX_URL to an index that has it; then sync again.",
    )


def _stamp(root: Path, lock: Lock) -> None:
    temporary = root / f"{STAMP}.new"
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(f"{lock.digest}\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(root / STAMP)
    fsync_folder(root)
