"""Where this machine keeps what it believes of stores, outside the cache, which may be deleted."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.errors import UsageError

if TYPE_CHECKING:
    from tidemill.trust.follow import Trust

FOLDER = "TIDEMILL_TRUST"
ROOT = "TIDEMILL_ROOT"


def open_trust(said: Callable[[str], None], *, folder: Path | None = None) -> "Trust":
    """What is believed, in ``folder``, $TIDEMILL_TRUST or the user's state folder.

    $TIDEMILL_ROOT names the file of a store's root, as its owner gave it; else the first root that
    the store shows is trusted, and ``said`` hears of it. Raises UsageError when no folder is known.
    """
    # tuf and cryptography are slow to import, and who pulls by a lock needs neither.
    from tidemill.trust.follow import Trust  # noqa: PLC0415

    named = os.environ.get(FOLDER)
    folder = Path(named) if named else folder
    folder = folder or default_folder(os.environ, platform=sys.platform)
    if folder is None:
        raise UsageError(
            "there is no home folder to keep in what is known of channels",
            hint=f"name one: {FOLDER}=FOLDER; it should outlive the cache",
        )
    root = os.environ.get(ROOT)
    if root and not Path(root).is_file():
        raise UsageError(f"{ROOT}: {root} is no file", hint="give the store's trust/1.root.json")
    return Trust(folder.expanduser().absolute(), said=said, root=Path(root) if root else None)


def default_folder(environ: Mapping[str, str], *, platform: str) -> Path | None:
    """The folder that the platform means for state; None when it does not say."""
    home = environ.get("HOME")
    if platform == "darwin":
        return Path(home, "Library/Application Support/tidemill/trust") if home else None
    # XDG base directory specification: a path that is not absolute is to be ignored.
    named = environ.get("XDG_STATE_HOME", "")
    if named.startswith("/"):
        return Path(named, "tidemill/trust")
    return Path(home, ".local/state/tidemill/trust") if home else None
