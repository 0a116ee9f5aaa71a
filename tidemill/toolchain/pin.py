"""Make a lock from a list of requirements, with pip's own resolver.

The result depends on what the indexes and folders that pip is configured with hold now; its text
does not depend on the host, the time or the order of the list.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidemill.errors import ManifestError, ToolError, UsageError
from tidemill.toolchain.lock import ALONE_MARK, normalise

#: The comment by which a line of a .in file asks for one package without what it requires.
_ALONE = "no-deps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """One package as pip chose it: its full version and the sha256 of the file."""

    name: str
    version: str
    sha256: str

    @property
    def public_version(self) -> str:
        """The version without its local part."""
        return self.version.partition("+")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A ``.in`` file: ``solved`` requirements with all that they need, ``alone`` those without.

    A package stands alone when what it asks for contradicts the rest and is known to be too
    narrow; its line says so, and why: ``name==version  # no-deps: reason``.
    """

    solved: tuple[str, ...]
    alone: tuple[str, ...] = ()


def read_requirements(path: Path) -> Wanted:
    """A ``.in`` file, one requirement a line. Raises UsageError when there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise UsageError(f"no {path.name} in {path.parent}") from error
    solved, alone = [], []
    for raw in lines:
        requirement, _, comment = (part.strip() for part in raw.partition("#"))
        if not requirement:
            continue
        directive, colon, reason = (part.strip() for part in comment.partition(":"))
        if directive != _ALONE:
            solved.append(requirement)
            continue
        if not (colon and reason):
            raise ManifestError(
                f"{path.name}: {requirement} is to be taken without its requirements, and no"
                " reason is given",
                hint=f"write it as: {requirement}  # {_ALONE}: why that holds together",
            )
        alone.append(requirement)
    if not solved:
        raise ManifestError(f"{path.name} names no package")
    return Wanted(solved=tuple(solved), alone=tuple(alone))


def pin(wanted: Wanted, *, header: str) -> str:
    """The text of a lock for ``wanted`` and all it needs, for this interpreter and platform.

    A package whose chosen file has a local version (the CPU build of torch) gets the hash of the
    public file as well, so the lock installs on a machine that sees only the registry. pip may have
    to load that file to learn its hash. ``header`` becomes the first comment. Raises ToolError.
    """
    chosen = parse_report(_resolve(wanted.solved))
    alone = parse_report(_resolve(wanted.alone, "--no-deps")) if wanted.alone else []
    chosen += alone
    extra: dict[str, str] = {}
    for package in chosen:
        if package.version == package.public_version:
            continue
        # Three equals signs compare text: 2.13.0 and not 2.13.0+cpu, wherever pip finds them.
        public_only = f"{package.name}==={package.public_version}"
        try:
            public = parse_report(_resolve([public_only], "--no-deps"))
        except ToolError:
            continue
        extra |= {found.name: found.sha256 for found in public}
    names = frozenset(package.name for package in alone)
    return render(chosen, extra=extra, alone=names, header=header)


def parse_report(text: str) -> list[Resolved]:
    """What pip's report (version 1) would install. Raises ToolError if a hash is missing."""
    resolved = []
    for item in json.loads(text)["install"]:
        name, version = normalise(item["metadata"]["name"]), item["metadata"]["version"]
        hashes = item["download_info"].get("archive_info", {}).get("hashes", {})
        if "sha256" not in hashes:
            raise ToolError(
                f"pip gives no sha256 for {name} {version}: it is not a file of an index"
            )
        resolved.append(Resolved(name=name, version=version, sha256=hashes["sha256"]))
    return resolved


def render(
    packages: Iterable[Resolved],
    *,
    extra: Mapping[str, str],
    alone: Collection[str] = (),
    header: str,
) -> str:
    """The lock's text: packages by name, hashes sorted. ``extra`` maps a name to a second hash."""
    lines = [f"# {header}", "# Files for CPython 3.11 on Linux x86_64."]
    for package in sorted(packages, key=lambda one: one.name):
        if package.version != package.public_version:
            second = "" if package.name in extra else "; the public file's hash could not be had"
            lines.append(f"# {package.name}: one hash is that of {package.version}{second}")
        if package.name in alone:
            lines.append(f"# {ALONE_MARK} {package.name}")
        hashes = sorted({package.sha256, extra.get(package.name, package.sha256)})
        options = " \\\n    ".join(f"--hash=sha256:{sha}" for sha in hashes)
        lines.append(f"{package.name}=={package.public_version} \\\n    {options}")
    return "\n".join(lines) + "\n"


def _resolve(requirements: Sequence[str], *options: str) -> str:
    with tempfile.TemporaryDirectory(prefix="tidemill-pin-") as folder:
        report = Path(folder, "report.json")
        command = [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install"),
            *("--dry-run", "--ignore-installed", "--quiet", "--only-binary=:all:"),
            *("--report", str(report), *options, *requirements),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            errors = re.findall(r"^ERROR: .*$", done.stderr, re.MULTILINE) or [done.stderr.strip()]
            raise ToolError("pip cannot resolve the list:\n" + "\n".join(errors))
        return report.read_text(encoding="utf-8")
