"""Where the files of a model come from: the text of a manifest's ``from:`` as a frozen value.

Pure and standard library only, because the manifest loader reads every source with it. The modules
beside this one fetch; they are imported only in the child process of the fetch step.
"""

import re
from dataclasses import dataclass
from typing import Literal

Scheme = Literal["pypi", "npm", "hf", "file", "synthetic"]

FORMS: dict[Scheme, str] = {
    "pypi": "pypi:name==version",
    "npm": "npm:name@version",
    "hf": "hf:org/name@<commit sha>",
    "file": "file:folder",
    "synthetic": "synthetic:seed=7",
}
#: The variable that holds the token of the hub, for gated files.
TOKEN = "HF_TOKEN"  # noqa: S105 - the name of a variable
#: Schemes whose bytes come as one archive, which is pinned by a digest of its own.
ARCHIVED = frozenset({"pypi", "npm"})

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SEED = re.compile(r"seed=([0-9]{1,18})")
# The names that the Python packaging specification ("Names and normalization") allows.
_PYPI_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
# One version, not a range: PEP 440 has no "*", "<" or "," in a version.
_PYPI_VERSION = re.compile(r"[0-9][0-9A-Za-z.!+_-]*")
_NPM_NAME = re.compile(r"(?:@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*")
# Semantic Versioning 2.0.0, so neither a range nor a tag such as "latest".
_NPM_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?")
_HF_NAME = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One parsed ``from:``. ``name`` is a package, a repository or a folder.

    ``version`` is the exact version or the commit, "" for ``file`` and ``synthetic``; ``seed`` is
    None except for ``synthetic``. ``text`` is what was parsed.
    """

    scheme: Scheme
    name: str
    text: str
    version: str = ""
    seed: int | None = None

    @property
    def label(self) -> str:
        """The package, repository or folder with its version, without the scheme, for messages."""
        return self.text.partition(":")[2]


def parse_source(text: str) -> Source:
    """Read ``scheme:rest``. Raises ValueError with a sentence that says what is missing."""
    scheme, colon, rest = text.partition(":")
    match scheme if colon else "":
        case "pypi":
            return _pypi(text, rest)
        case "npm":
            return _npm(text, rest)
        case "hf":
            return _hub(text, rest)
        case "file":
            return _folder(text, rest)
        case "synthetic":
            return _synthetic(text, rest)
    known = ", ".join(f"{name}:" for name in FORMS)
    raise ValueError(f"{text}: unknown scheme; known ones are {known}")


def _pypi(text: str, rest: str) -> Source:
    name, _, version = rest.partition("==")
    _need(_PYPI_NAME.fullmatch(name), text, problem="not the name of a package", form="pypi")
    _need(version, text, problem="the version is missing", form="pypi")
    _need(_PYPI_VERSION.fullmatch(version), text, problem="not one exact version", form="pypi")
    return Source(scheme="pypi", name=name, version=version, text=text)


def _npm(text: str, rest: str) -> Source:
    # A scoped name begins with "@", so the version follows the last one.
    name, at, version = rest.rpartition("@")
    if not name:
        name, version = at + version, ""
    _need(_NPM_NAME.fullmatch(name), text, problem="not the name of a package", form="npm")
    _need(version, text, problem="the version is missing", form="npm")
    _need(_NPM_VERSION.fullmatch(version), text, problem="not one exact version", form="npm")
    return Source(scheme="npm", name=name, version=version, text=text)


def _hub(text: str, rest: str) -> Source:
    name, _, revision = rest.partition("@")
    _need(_HF_NAME.fullmatch(name), text, problem="not the name of a repository", form="hf")
    if not _COMMIT.fullmatch(revision):
        raise ValueError(
            f"{text}: revision must be a commit sha of 40 hex digits, "
            "so that the bytes cannot change"
        )
    return Source(scheme="hf", name=name, version=revision, text=text)


def _folder(text: str, rest: str) -> Source:
    _need(rest and "\0" not in rest, text, problem="the folder is missing", form="file")
    return Source(scheme="file", name=rest, text=text)


def _synthetic(text: str, rest: str) -> Source:
    match = _SEED.fullmatch(rest)
    if match is None:
        problem = "the seed must be a whole number of at most 18 digits"
        raise ValueError(f"{text}: {problem}; expected {FORMS['synthetic']}")
    return Source(scheme="synthetic", name=rest, text=text, seed=int(match[1]))


def _need(good: object, text: str, *, problem: str, form: Scheme) -> None:
    if not good:
        raise ValueError(f"{text}: {problem}; expected {FORMS[form]}")
