"""Running a registry's ordinary client (pip, npm) with this machine's own configuration."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill.sources.landing import say

DISK_FULL = ("No space left on device", "ENOSPC", "Disk quota exceeded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a client ended, and what it said on standard output and error."""

    code: int
    output: str
    errors: str

    @property
    def text(self) -> str:
        """Everything it said."""
        return f"{self.output}\n{self.errors}"

    @property
    def disk_full(self) -> bool:
        """Whether it said that the disk is full."""
        return any(sign in self.text for sign in DISK_FULL)


def run_client(
    command: Sequence[str], *, environment: Mapping[str, str], quiet: bool = False
) -> Ran:
    """Run ``command`` to its end; its words go to the log unless ``quiet``. Raises OSError.

    ``environment`` is added to this process's own, so proxies and registries set there count.
    """
    done = subprocess.run(
        list(command),
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    ran = Ran(code=done.returncode, output=done.stdout, errors=done.stderr)
    if not quiet and ran.text.strip():
        say(ran.text.strip())
    return ran
