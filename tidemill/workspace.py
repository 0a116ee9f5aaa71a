"""The checkout that tidemill works in: the folder with ``manifests/``, and its local state."""

import os
from dataclasses import dataclass
from pathlib import Path

from tidemill.errors import UsageError

STATE = ".tidemill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where manifests, toolchains and local state lie. ``store_url`` is the store in use."""

    root: Path
    store_url: str

    @property
    def state(self) -> Path:
        """Everything local that may be deleted at any time, but for the embedded store in it."""
        return self.root / STATE

    @property
    def work(self) -> Path:
        """Work folders of running actions."""
        return self.state / "work"

    @property
    def cache(self) -> Path:
        """Indexes that only save time."""
        return self.state / "cache"

    def run_folder(self, run: str) -> Path:
        """Where the reports, events and logs of one run lie on this machine."""
        return self.state / "runs" / run

    def lock_file(self, toolchain: str) -> Path:
        """The lock of a toolchain."""
        return self.root / "toolchains" / f"{toolchain}.lock"


def find_workspace(*, start: Path | None = None, store: str | None = None) -> Workspace:
    """Walk up from ``start`` to the folder with ``manifests/``. Raises UsageError without one.

    The store is ``store``, else $TIDEMILL_STORE, else ``.tidemill/store`` in the workspace.
    """
    begin = (start or Path.cwd()).absolute()
    for folder in (begin, *begin.parents):
        if (folder / "manifests").is_dir():
            url = store or os.environ.get("TIDEMILL_STORE") or str(folder / STATE / "store")
            return Workspace(root=folder, store_url=url)
    raise UsageError(
        f"{begin} is not in a tidemill workspace (no folder above it holds manifests/)",
        hint="Name a store (--store URL), or change into a checkout, or give --workspace.",
    )
