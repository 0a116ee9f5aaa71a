"""A list of known failures as YAML that people read and write: reasons folded, names in lines."""

import json
import textwrap
from collections.abc import Iterator

from tidemill.manifest.suites import CausePart, KnownPart

_WIDTH = 118
_HEADER = """\
# What fails of {suite} on {target}, and why. Causes are written by people: the class of the
# failure, what is found in "name: line" (the first cause that fits counts), the reason. All else
# comes from
#     tidemill conformance accept {suite} --target {target}
"""


def known_yaml(known: KnownPart, *, suite: str, target: str) -> str:
    """The text of the file; read back, it is ``known`` again."""
    lines = [_HEADER.format(suite=suite, target=target).rstrip(), "tools:"]
    lines += [f"  {name}: {json.dumps(version)}" for name, version in sorted(known.tools.items())]
    lines += ["groups:"]
    lines += [
        f"  {json.dumps(name)}: {{tests: {group.tests}, passing: {group.passing}}}"
        for name, group in known.groups.items()
    ]
    lines += ["causes:"]
    for cause in known.causes:
        lines += _cause(cause)
    return "\n".join(lines) + "\n"


def _cause(cause: CausePart) -> Iterator[str]:
    yield f"  - class: {cause.lost}"
    if cause.match:
        yield f"    match: {json.dumps(cause.match, ensure_ascii=False)}"
    if cause.sometimes:
        yield "    sometimes: true"
    yield "    reason: >-"
    yield from _wrapped(cause.reason, indent="      ")
    if cause.example:
        yield "    example:"
        yield f"      test: {cause.example.test}"
        yield f"      line: {json.dumps(cause.example.line, ensure_ascii=False)}"
    yield "    tests:"
    yield from _wrapped(f"[{', '.join(cause.tests)}]", indent="      ")


def _wrapped(text: str, *, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=_WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
