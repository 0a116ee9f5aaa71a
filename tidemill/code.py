"""Which of our own source files an action runs, and their digest: the step-code part of a key.

The closure follows ``import`` statements of tidemill modules by reading the source, never by
importing it, so it costs no torch. Editing a module re-runs exactly the steps that import it. The
``__init__`` of a package counts where it is imported by its own name; on the way to a module in it
there is nothing to run in one (tests/boundaries).
"""

import ast
import functools
from collections.abc import Iterable
from pathlib import Path

from tidemill.digest import Digest, digest_bytes, digest_json

PACKAGE = Path(__file__).parent


def _path_of(module: str, package: Path) -> Path | None:
    parts = module.split(".")[1:]
    file = package.joinpath(*parts)
    for candidate in (file.with_suffix(".py"), file / "__init__.py"):
        if parts and candidate.is_file():
            return candidate
    return None


def imports_of(path: Path, *, module: str) -> frozenset[str]:
    """The tidemill modules that a file imports anywhere, and names in them that may be modules."""
    inside = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return _imports_in(path.read_bytes(), inside=inside)


@functools.cache  # by the bytes: every action looks at its code again, and it is hardly ever new
def _imports_in(source: bytes, *, inside: str) -> frozenset[str]:
    """The same of a source text; ``inside`` is the package that relative imports start from."""
    package = inside.split(".")
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return frozenset(name for name in names if name.startswith("tidemill."))


def closure(roots: Iterable[str], *, package: Path = PACKAGE) -> dict[str, Path]:
    """Every tidemill module that ``roots`` import, directly or not, with its file."""
    found: dict[str, Path] = {}
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        path = _path_of(module, package)
        if module in found or path is None:
            continue
        found[module] = path
        waiting += sorted(imports_of(path, module=module))
    return found


@functools.cache
def code_digest(roots: tuple[str, ...], *, package: Path = PACKAGE) -> Digest:
    """``fresh_code_digest``, remembered for the life of this process."""
    return fresh_code_digest(roots, package=package)


def fresh_code_digest(roots: tuple[str, ...], *, package: Path = PACKAGE) -> Digest:
    """The digest of all source files in the closure of ``roots``."""
    files = closure(roots, package=package)
    return digest_json(
        {module: digest_bytes(path.read_bytes()) for module, path in sorted(files.items())}
    )
