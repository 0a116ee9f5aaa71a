"""The toolchains of one run: its own, and those that components of its manifests name.

A component without a word about it is made with the run's own, which is the one that the command
line chooses. The locks of all are read at once; an environment only has to be there for what is
really built.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tidemill.errors import UsageError
from tidemill.toolchain.environment import Environment, locate, require
from tidemill.toolchain.lock import Lock

COMPILER = "iree-base-compiler"


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchains:
    """``own`` is the run's own lock, ``others`` those that components name; ``state`` holds them.

    Everywhere, the name "" stands for the run's own.
    """

    own: Lock
    others: Mapping[str, Lock]
    state: Path

    def lock(self, name: str) -> Lock:
        """The lock of a toolchain."""
        return self.others[name] if name else self.own

    def names(self) -> tuple[str, ...]:
        """All of them, the run's own first."""
        return ("", *sorted(self.others))

    def versions(self, name: str) -> Mapping[str, str]:
        """Package → version in one toolchain."""
        return {package: pin.version for package, pin in self.lock(name).pins.items()}

    def compilers(self) -> Mapping[str, str]:
        """The version of iree-base-compiler in each. Raises UsageError where a lock has none."""
        return {name: self.lock(name).version(COMPILER) for name in self.names()}

    def environment(self, name: str) -> Environment:
        """The environment of a toolchain. Raises UsageError that says how to build it."""
        return require(self.state, self.lock(name))

    def built(self, name: str) -> Environment | None:
        """The environment of a toolchain, or None where it is not built on this machine."""
        return locate(self.state, self.lock(name))

    def require(self, names: Iterable[str]) -> None:
        """Raise UsageError that says how to build those of ``names`` that are not here."""
        absent = {name for name in set(names) if self.built(name) is None}
        missing = sorted(self.lock(name).name for name in absent)
        if missing:
            raise UsageError(
                f"toolchain {', '.join(missing)} is not built here",
                hint=f"build it: tidemill toolchain sync {' '.join(missing)}",
            )

    def tools(self, used: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Name → version for (toolchain, package) pairs; ``sharktank/torch`` for another's torch.

        Raises UsageError when a lock lacks the package.
        """
        return dict(sorted(self._named(used)))

    def _named(self, used: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        for name, package in used:
            shown = f"{name}/{package}" if name else package
            yield shown, self.lock(name).version(package)
