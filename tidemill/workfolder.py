"""The empty folder in which one action runs, and the sweep of folders whose owner is dead."""

import contextlib
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from tidemill.digest import Digest
from tidemill.errors import BlobDamaged
from tidemill.store.contract import Store
from tidemill.store.trouble import disk_error


def _owner() -> str:
    started = int(psutil.Process().create_time() * 100)
    return f"{socket.gethostname()}.{os.getpid()}.{started}"


@contextlib.contextmanager
def work_folder(root: Path, *, keep: bool = False) -> Iterator[Path]:
    """A fresh folder below ``root``, removed at the end. Its name says which process owns it.

    Trouble with the disk, here or in the body, is raised as StoreError.
    """
    folder = root / f"{_owner()}.{uuid.uuid4().hex[:8]}"
    try:
        for name in ("in", "out", "tmp"):
            (folder / name).mkdir(parents=True)
        yield folder
    except OSError as error:
        raise disk_error(error, doing="work there", where=root) from error
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def sweep(root: Path) -> int:
    """Remove folders left by processes of this host that are gone; return how many."""
    swept = 0
    for folder in root.iterdir() if root.is_dir() else ():
        # The host's name may hold dots itself.
        parts = folder.name.rsplit(".", 3)
        if len(parts) != 4 or parts[0] != socket.gethostname():  # noqa: PLR2004 - see _owner
            continue
        if not _alive(parts[1], started=parts[2]):
            shutil.rmtree(folder, ignore_errors=True)
            swept += 1
    return swept


def _alive(pid: str, *, started: str) -> bool:
    """Whether the process runs; one that has ended and that nobody has waited for does not."""
    try:
        process = psutil.Process(int(pid))
        same = abs(process.create_time() * 100 - int(started)) < 200  # noqa: PLR2004 - two seconds
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError):
        return False


def place_inputs(
    store: Store, inputs: Mapping[str, Mapping[str, str]], *, folder: Path
) -> dict[str, dict[str, str]]:
    """Copy input blobs to ``in/<role>/<name>``, hashing; return role → name → relative path.

    Raises BlobDamaged, after setting the damaged blob aside, or another StoreError.
    """
    placed: dict[str, dict[str, str]] = {}
    for role, files in inputs.items():
        for name, digest in files.items():
            target = Path("in") / role / name
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            try:
                store.fetch_blob(Digest(digest), folder / target)
            except BlobDamaged:
                store.discard_blob(Digest(digest))
                raise
            placed.setdefault(role, {})[name] = target.as_posix()
    return placed
