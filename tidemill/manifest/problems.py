"""Problems in YAML files: collected, located, and reported all at once."""

from dataclasses import dataclass

from tidemill.errors import ManifestError

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake: the file as the user knows it, line (from 1), path of keys, words."""

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}"
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


def path_text(location: Location) -> str:
    """A location as people write it: ``components.encoder.samples[0].dims``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def raise_problems(problems: list[Problem]) -> None:
    """Raise one ManifestError that lists every problem; return when there is none."""
    if not problems:
        return
    lines = "\n".join(str(problem) for problem in sorted(set(problems)))
    count = len(set(problems))
    noun = "problem" if count == 1 else "problems"
    raise ManifestError(f"{lines}\n{count} {noun} in the manifests", hint="Mend the lines above.")
