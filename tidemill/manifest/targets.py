"""targets.yaml and expectations.yaml: what a target means, and what is known to fail."""

import datetime
import functools
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version
from pydantic import Field, ValidationInfo, field_validator

from tidemill.address import split_pattern
from tidemill.errors import FailureClass, ManifestError, UsageError
from tidemill.manifest.part import Many, Name, Part, Reason
from tidemill.records import Stage

_URL = re.compile(r"https://\S+")


class FlagsPart(Part):
    """The compiler flags of a target for a range of compiler versions (PEP 440)."""

    versions: str
    flags: Many[str] = Field(min_length=1)

    @field_validator("versions")
    @classmethod
    def _versions(cls, text: str) -> str:
        try:
            SpecifierSet(text)
        except InvalidSpecifier:
            raise ValueError(f"'{text}' is not a version range like '>=3.11,<3.14'") from None
        return text


class TargetPart(Part):
    """One compile target: the runtime device that executes it and its flags by compiler version."""

    device: Literal["local-task", "hip", "cuda", "vulkan"]
    needs: Literal["none", "amdgpu", "nvidia", "vulkan"]
    chip: str = ""
    flags: Many[FlagsPart] = Field(min_length=1)
    resources: dict[str, int] = Field(default_factory=dict)

    def flags_for(self, compiler: str, *, name: str) -> tuple[str, ...]:
        """The flags for this compiler version. Raises ManifestError when no range covers it."""
        for entry in self.flags:
            if _in_range(compiler, entry.versions):
                return entry.flags
        raise ManifestError(
            f"manifests/targets.yaml: targets.{name}: no flags for compiler {compiler}",
            hint="Add a range that covers this version.",
        )


@functools.cache
def _in_range(compiler: str, versions: str) -> bool:
    return SpecifierSet(versions).contains(Version(compiler), prereleases=True)


class RenamePart(Part):
    """A flag that a compiler version renamed or removed (``replacement`` null)."""

    flag: str
    replacement: str | None
    since: str
    note: str = ""


class TargetsPart(Part):
    """All of targets.yaml."""

    targets: dict[Name, TargetPart] = Field(min_length=1)
    renames: Many[RenamePart] = ()


class RungPart(Part):
    """Compile flags under which it works all the same, in place of those of the same name."""

    name: Name
    flags: Many[str] = Field(min_length=1)


class Expectation(Part):
    """A known failure. It turns that failure amber until ``expires``; an unexpected pass is red."""

    address: str
    stage: Stage
    failure: str = Field(alias="class")
    match: str = Field(min_length=1)
    reason: Reason
    issue: str
    owner: str = Field(min_length=1)
    expires: str
    rung: RungPart | None = None

    @field_validator("address")
    @classmethod
    def _address(cls, text: str) -> str:
        try:
            split_pattern(text)
        except UsageError as error:
            raise ValueError(f"{error.message}: {error.hint}") from None
        return text

    @field_validator("failure")
    @classmethod
    def _failure(cls, text: str) -> str:
        if text not in set(FailureClass):
            known = ", ".join(FailureClass)
            raise ValueError(f"unknown failure class '{text}' (known: {known})")
        return text

    @field_validator("issue")
    @classmethod
    def _issue(cls, text: str) -> str:
        if not _URL.fullmatch(text) or text.rstrip("/").endswith("/issues"):
            raise ValueError("give the https address of the issue that tracks this failure")
        return text

    @field_validator("rung")
    @classmethod
    def _rung(cls, rung: RungPart | None, info: ValidationInfo) -> RungPart | None:
        if rung and info.data.get("stage") != "compile":
            raise ValueError("only a compile has rungs: other flags")
        return rung

    @field_validator("expires")
    @classmethod
    def _expires(cls, text: str) -> str:
        try:
            datetime.date.fromisoformat(text)
        except ValueError:
            raise ValueError(f"'{text}' is not a date like 2027-01-31") from None
        return text


class InheritedExpectation(Expectation):
    """What is expected of the model ``of``, for one that says that it fails like that."""

    of: str


def inherit(expectations: Sequence[Expectation], *, model: str, of: str) -> list[Expectation]:
    """The expectations of the model ``of`` with the addresses of ``model``, but those it has."""
    inherited: list[Expectation] = []
    for one in expectations:
        first, *rest = split_pattern(one.address)
        if fnmatchcase(of, first) and not fnmatchcase(model, first):
            words = dict(one) | {"address": "/".join((model, *rest)), "of": of}
            inherited.append(InheritedExpectation.model_construct(**words))
    return inherited


class ExpectationsPart(Part):
    """All of expectations.yaml."""

    expectations: Many[Expectation] = ()
