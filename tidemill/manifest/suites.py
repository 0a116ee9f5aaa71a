"""manifests/conformance: suites of small tests, and which of them are known to fail on a target."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field, field_validator

from tidemill.manifest.model import LimitPart
from tidemill.manifest.part import Many, Name, Part, Reason, parse_time

#: Whole names of tests, one or several.
_NAMES = re.compile(r"\^(\w+|\(\w+(\|\w+)*\)):")
#: What may become of a test beside passing, in the order in which a test meets them.
Lost = Literal["import", "compile", "unsupported", "run", "numerics", "crash", "timeout"]


class SuitePart(Part):
    """One suite: ``kind`` of the onnx package's backend tests, on ``targets``.

    ``test_timeout`` is what the compiler may take for one test; ``flags`` come after the target's.
    """

    name: Name
    title: str
    license: str
    homepage: str = ""
    kind: Literal["node"]
    targets: Many[str] = Field(min_length=1)
    flags: Many[str] = ()
    test_timeout: str = "60s"
    limits: LimitPart = LimitPart(timeout="2h", memory="8GiB")

    @field_validator("test_timeout")
    @classmethod
    def _test_timeout(cls, text: str) -> str:
        parse_time(text)
        return text


class GroupPart(Part):
    """How many tests a group has, and how many of them pass."""

    tests: int = Field(ge=1)
    passing: int = Field(ge=0)


class ExamplePart(Part):
    """The first test of a cause, and what was said of it."""

    test: str
    line: str


class CausePart(Part):
    """Tests that fail for one reason: of ``class``, with ``match`` found in ``name: line``.

    ``sometimes`` is of tests that come out otherwise from run to run, as what they read is not
    theirs: ``match`` is their whole names, they count as failing, and neither way is a regression.
    """

    lost: Lost = Field(alias="class")
    match: str = ""
    sometimes: bool = False
    reason: Reason
    example: ExamplePart | None = None
    tests: Many[str] = ()

    @field_validator("match")
    @classmethod
    def _match(cls, text: str) -> str:
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(f"'{text}' is not a regular expression: {error}") from None
        return text


class KnownPart(Part):
    """The state of a suite on one target, as it was accepted: all numbers, and what fails why.

    ``tools`` are the versions that it was accepted with.
    """

    tools: dict[str, str] = Field(default_factory=dict)
    groups: dict[str, GroupPart] = Field(default_factory=dict)
    causes: Many[CausePart] = ()

    @property
    def tests(self) -> int:
        """How many tests the suite had."""
        return sum(group.tests for group in self.groups.values())

    @property
    def passing(self) -> int:
        """How many of them passed."""
        return sum(group.passing for group in self.groups.values())

    @property
    def failing(self) -> dict[str, str]:
        """Test → class, for every test that is known to fail."""
        return {test: cause.lost for cause in self.causes for test in cause.tests}

    @property
    def sometimes(self) -> frozenset[str]:
        """Those of them that pass now and then."""
        return frozenset(t for cause in self.causes if cause.sometimes for t in cause.tests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A suite and what is known of it by target; a target that nothing is known of is not in it."""

    part: SuitePart
    known: Mapping[str, KnownPart] = field(default_factory=dict)


def findings(known: KnownPart) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What does not fit together in a list of known failures: where, and why."""
    often = Counter(test for cause in known.causes for test in cause.tests)
    for index, cause in enumerate(known.causes):
        if cause.sometimes and not _NAMES.fullmatch(cause.match):
            yield (
                ("causes", index, "match"),
                "of tests that fail sometimes has whole names: ^test_one: or ^(test_one|test_two):",
            )
        for place, test in enumerate(cause.tests):
            if often[test] > 1:
                yield ("causes", index, "tests", place), f"'{test}' is listed more than once"


def unknown_targets(part: SuitePart, targets: Iterable[str]) -> Iterator[str]:
    """The targets of a suite that targets.yaml does not define."""
    known = set(targets)
    yield from (target for target in part.targets if target not in known)
