"""Refuses compiled modules that the IREE runtime which is installed here cannot load.

IREE promises nothing between releases. A runtime is taken to be too old for what a newer compiler
made, and too new for what was made before a release that is known to have changed the format. The
runtime is asked for its version only; it is not loaded.
"""

import re
from collections.abc import Iterable, Sequence

from tidemill.errors import ToolError
from tidemill.records import COMPILER, Artifact, Release

RUNTIME = "iree-base-runtime"
#: Releases whose runtime loads nothing that an earlier compiler made, as was tried with all of 3.9
#: to 3.13: new bytecode versions, new features of it, and in 3.12 a new version of the hal module.
_BREAKS = ((3, 10), (3, 11), (3, 12))
_VERSION = re.compile(r"(\d+)\.(\d+)")


def installed_runtime() -> str | None:
    """The version of the IREE runtime that this interpreter would import; None without one."""
    from importlib import metadata  # noqa: PLC0415 - who pulls no VMFB does not pay for it

    try:
        return metadata.version(RUNTIME)
    except metadata.PackageNotFoundError:
        return None


def check_runtime(release: Release, wanted: Iterable[Artifact]) -> None:
    """Raise ToolError when ``wanted`` has a VMFB that the installed runtime cannot load.

    Without a runtime there is nothing to check: who pulls need not be who runs.
    """
    compilers = {
        one.file: one.compiler or release.tools.get(COMPILER, "")
        for one in wanted
        if one.kind == "vmfb"
    }
    runtime = installed_runtime() if any(compilers.values()) else None
    if not runtime:
        return
    for compiler in sorted(set(compilers.values())):
        modules = sorted(file for file, made_by in compilers.items() if made_by == compiler)
        _check(runtime, modules, compiler=compiler)


def _check(runtime: str, modules: Sequence[str], *, compiler: str) -> None:
    if why := unfit(runtime, compiler=compiler):
        more = f" and {len(modules) - 1} more" if len(modules) > 1 else ""
        fitting = ".".join(map(str, numbers_of(compiler)))
        raise ToolError(
            f"{modules[0]}{more}: made by {COMPILER} {compiler}; {RUNTIME} {runtime}, which is"
            f" installed here, is too {why} to load it",
            hint=f"pip install '{RUNTIME}=={fitting}.*', or pull a release that was made for yours;"
            " --any-runtime takes the files as they are",
        )


def unfit(runtime: str, *, compiler: str) -> str:
    """What the runtime is too much of to load what the compiler makes: "old", "new" or "".

    Major and minor versions count; ones that do not begin with two numbers are not compared.
    """
    has, needs = numbers_of(runtime), numbers_of(compiler)
    if not has or not needs or has == needs:
        return ""
    if has < needs:
        return "old"
    return "new" if any(needs < one <= has for one in _BREAKS) else ""


def numbers_of(version: str) -> tuple[int, ...]:
    """Major and minor of a version that begins with two numbers; else ()."""
    found = _VERSION.match(version)
    return (int(found[1]), int(found[2])) if found else ()
