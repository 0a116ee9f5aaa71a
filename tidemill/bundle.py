"""The failure bundle: a small archive with what reproduces one failed action.

It holds the action (key parts, exact command, tools), the request, the log and a script; inputs are
named by digest, and small ones (MLIR) are inside. Equal contents give equal bytes.
"""

import gzip
import io
import json
import shlex
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tidemill.cutting import FOLDER, Cut
from tidemill.sources.landing import is_inner_path

MAX_INPUT_BYTES = 8 << 20
#: What a command writes to; it expects them to be there.
WRITTEN_FOLDERS = ("out", "tmp")


def reproduce_command(key: str, *, toolchain: str = "default") -> str:
    """The one command that rebuilds the work folder of an action and runs it again."""
    other = "" if toolchain == "default" else f" --toolchain {toolchain}"
    return f"tidemill repro {key}{other}"


def make_bundle(
    *,
    key: str,
    parts: Mapping[str, Any],
    command: Sequence[str],
    log: bytes,
    folder: Path,
    cut: Cut | None = None,
) -> bytes:
    """The bytes of the bundle. ``folder`` is the action's work folder, inputs below ``in/``.

    ``cut`` is the failing dispatch of a compile.
    """
    action = {"key": key, "parts": parts, "command": list(command)}
    files: dict[str, bytes] = {
        "README.txt": _readme(key).encode(),
        "action.json": json.dumps(action, indent=1, sort_keys=True).encode(),
        "command.txt": (shlex.join(command) + "\n").encode(),
        "log.txt": log,
    }
    for path in sorted((folder / "in").rglob("*")):
        if path.is_file() and path.stat().st_size <= MAX_INPUT_BYTES:
            files[path.relative_to(folder).as_posix()] = path.read_bytes()
    request = folder / "request.json"
    if request.exists():
        files["request.json"] = request.read_bytes()
    if cut:
        files[cut.file] = (folder / cut.file).read_bytes()
        files[f"{FOLDER}/command.txt"] = (shlex.join(cut.command) + "\n").encode()
        files[f"{FOLDER}/log.txt"] = cut.log.encode()
    return _archive(files)


def unpack(bundle: bytes, folder: Path) -> list[str]:
    """Write the files of a bundle below ``folder``; their names. Raises ValueError, OSError.

    Nothing is written at all if anything in it is no plain file or folder below it.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(bundle), mode="r:gz") as archive:
            files = dict(_contents(archive))
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"the bundle is damaged: {error}") from error
    for name in WRITTEN_FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return sorted(files)


def _contents(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    """The files that an archive of ours may have."""
    for member in archive:
        if not is_inner_path(member.name) or not (member.isreg() or member.isdir()):
            raise tarfile.TarError(f"{member.name!r} is no plain file or folder in it")
        if stream := archive.extractfile(member) if member.isreg() else None:
            yield member.name, stream.read()


def _archive(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in WRITTEN_FOLDERS:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _readme(key: str) -> str:
    return (
        "A failed action of tidemill.\n\n"
        f"With the workspace and its store at hand:  {reproduce_command(key)}\n"
        "Without: unpack this, install the tools that action.json names under parts.tools, put\n"
        "the inputs that are not here under in/ (action.json names their sha256), and run\n"
        "command.txt. A folder dispatch/ holds the part alone that the compiler fails on, with\n"
        "its own command and log: small enough for an issue upstream.\n"
    )
