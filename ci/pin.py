"""Write ci/requirements.lock: our own environment, every extra, with hashes."""

import tomllib
from pathlib import Path

from tidemill.toolchain.pin import Wanted, pin

#: hatchling asks for this when it makes the editable install.
EDITABLE = "editables>=0.5"


def requirements(pyproject: Path) -> list[str]:
    """What an editable install with every extra needs, the build backend included."""
    document = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    project = document["project"]
    extras = project["optional-dependencies"].values()
    wanted = {*project["dependencies"], *document["build-system"]["requires"], EDITABLE}
    return sorted(wanted.union(*extras))


def main() -> None:
    """Resolve and write."""
    root = Path(__file__).parents[1]
    wanted = Wanted(solved=tuple(requirements(root / "pyproject.toml")))
    text = pin(wanted, header="Made by: make pin")
    (root / "ci" / "requirements.lock").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
