"""``file:``: declared files of a folder on this machine, copied while they are hashed.

What is read lies below the folder, links followed: a path or a symbolic link that leaves it is
refused. The folder is not changed.
"""

from collections.abc import Sequence
from pathlib import Path

from tidemill.sources import Source
from tidemill.sources.landing import Wanted, fetch_error, land


def copy_files(source: Source, wanted: Sequence[Wanted], *, base: str, folder: Path) -> int:
    """Land every wanted file; return their total size. ``base`` is what a relative name starts at.

    Raises WorkError.
    """
    root = (Path(base) / source.name).resolve()
    if not root.is_dir():
        raise fetch_error(
            f"{source.text}: there is no such folder",
            hint="a relative path starts at the folder of the workspace",
        )
    total = 0
    for file in wanted:
        path = _resolved(root / file.path)
        if path is None or not path.is_relative_to(root):
            raise fetch_error(
                f"file {file.name}: {file.path} is a link that leaves {source.text}",
                hint="put the file itself into the folder",
            )
        if not path.is_file():
            raise fetch_error(
                f"file {file.name}: there is no file {file.path} in {source.text}",
                hint="declare a path relative to the source's folder",
            )
        with path.open("rb") as stream:
            total += land(stream, file, folder=folder)
    return total


def _resolved(path: Path) -> Path | None:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # Python before 3.13 raises RuntimeError on a loop of links
        return None
