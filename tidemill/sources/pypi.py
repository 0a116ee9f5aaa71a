"""``pypi:``: one wheel of one exact version, by pip, with pip's own configuration of this machine.

pip checks the digest (hash-checking mode) and never builds: a version that has only a source
archive is refused, because pip would run that archive's code to look into it.
"""

import re
import sys
from pathlib import Path

from tidemill.errors import WorkError
from tidemill.sources import Source
from tidemill.sources.client import Ran, run_client
from tidemill.sources.landing import (
    fetch_error,
    host_error,
    infrastructure_error,
    mismatch,
    say,
)

_GOT = re.compile(r"^\s*Got\s+([0-9a-f]{64})\s*$", re.MULTILINE)
# pip says the first of these when a connection breaks, the others when it gave an address up.
_NETWORK = re.compile(
    r"Retrying \(Retry\(|Max retries exceeded|Read timed out|Connection (?:refused|reset)"
    r"|HTTP error (?:429|5\d\d)|Could not fetch URL \S+ (?!404)(?:429|5\d\d|connection error)"
    r"|IncompleteRead|Connection broken"
)
_SKIPPED = re.compile(r"Skipping link: (.*?): (\S+)")


def download(source: Source, *, digest: str, folder: Path) -> Path:
    """The wheel in ``folder``, its digest checked by pip. Raises WorkError."""
    folder.mkdir()
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{source.label} --hash=sha256:{digest}\n", encoding="utf-8")
    ran = _pip(
        "--require-hashes", "--requirement", str(requirements), "--dest", str(folder / "wheel")
    )
    wheels = sorted((folder / "wheel").glob("*.whl"))
    if ran.code == 0 and len(wheels) == 1:
        return wheels[0]
    said = ran.text
    if "No matching distribution found" in said:
        # Only the detailed log tells an absent version from a refused one or a silent index.
        probe = folder / "probe"
        ran = _pip("-vv", "--retries", "0", source.label, "--dest", str(probe), quiet=True)
        said += ran.text
    raise explain(said, source, digest=digest, disk_full=ran.disk_full)


def explain(said: str, source: Source, *, digest: str, disk_full: bool = False) -> WorkError:
    """What went wrong, from pip's own words."""
    if got := _GOT.search(said):
        return mismatch(f"archive {source.label}", expected=digest, got=got[1])
    if "No module named pip" in said:
        return host_error(
            f"{sys.executable} has no pip", hint="install pip there: python -m ensurepip"
        )
    if disk_full:
        return infrastructure_error(
            f"the disk is full while fetching {source.label}", hint="make room and run again"
        )
    if _NETWORK.search(said):
        return infrastructure_error(
            f"pip could not reach the package index for {source.label}",
            hint="see the log; try again, or check PIP_INDEX_URL and the proxy variables",
        )
    return _absent(said, source)


def _absent(said: str, source: Source) -> WorkError:
    # File names of wheels and source archives: packaging.python.org, "Binary distribution format".
    ours = re.compile(rf"-{re.escape(source.version)}(?:-|\.tar|\.tgz|\.zip)")
    skipped = {
        (link.partition("#")[0].rsplit("/", 1)[-1], reason)
        for reason, link in _SKIPPED.findall(said)
    }
    refused = {file: reason for file, reason in sorted(skipped) if ours.search(file)}
    wheels = {file: reason for file, reason in refused.items() if file.endswith(".whl")}
    if wheels:
        return fetch_error(
            f"no wheel of {source.label} fits this machine: {'; '.join(wheels.values())}",
            hint="fetch on a machine that the wheel is made for, or choose another version",
        )
    if refused:
        return fetch_error(
            f"{source.label} has no wheel, only a source archive: {', '.join(refused)}",
            hint="its code would run when pip opens it: choose a version that has a wheel",
        )
    if versions := re.search(r"\(from versions: (.*?)\)", said):
        return fetch_error(
            f"the package index has no {source.label}",
            hint=f"versions that it offers to this machine: {versions[1]}",
        )
    errors = [line for line in said.splitlines() if line.startswith("ERROR: ")]
    detail = errors[0].removeprefix("ERROR: ") if errors else "it gave no reason"
    return fetch_error(f"pip failed on {source.label}: {detail}", hint="the log has all of it")


def _pip(*arguments: str, quiet: bool = False) -> Ran:
    # The store keeps what was fetched, so a second copy in pip's cache would only fill the disk.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-cache-dir", "--no-input", "--progress-bar", "off", *arguments]
    if not quiet:
        say(f"running pip {' '.join(command[3:])}")
    environment = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "NO_COLOR": "1"}
    return run_client(command, environment=environment, quiet=quiet)
