"""What changed since a release, as every report shows it. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tidemill.records import ArtifactChange, Difference, ReleaseDiff
from tidemill.report.text import number_text, one_line, plural, size_text

DIGITS = 12
#: How many digits of a number are shown, where two are not right.
_DIGITS = {"cosine": 7, "snr_db": 3}
_WORDS = {
    "dispatch_count": "dispatches",
    "executable_count": "executables",
    "transient_bytes": "transient memory",
    "max_abs": "max abs",
    "rel_l2": "rel L2",
    "snr_db": "SNR dB",
    "output": "worst output",
    "limit_max_abs": "limit of max abs",
    "limit_rel_l2": "limit of rel L2",
    "greedy_equal": "greedy tokens",
}
#: These have columns of their own.
_COLUMNS = frozenset({"digest", "size", "status"})
#: One of these is among the differences of a file that is really another, or of another status.
_BYTES_DIFFER = frozenset({"digest", "status"})
_BYTES = frozenset({"size", "transient_bytes"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """One line of a table: ``what`` came, went or changed. The files of a reference are one line.

    ``size`` is ``1.2 MB → 1.1 MB (0.92)``, one number where it is new, gone or the same.
    """

    address: str
    kind: str
    what: str
    size: str
    status: str
    digest: str
    details: tuple[str, ...]


def title(diff: ReleaseDiff) -> str:
    """``from release 0123456789ab to 456789abcdef``."""
    if not diff.before:
        return f"the first release, {diff.after[:DIGITS]}"
    return f"from release {diff.before[:DIGITS]} to {diff.after[:DIGITS]}"


def in_short(diff: ReleaseDiff) -> str:
    """One sentence: that nothing changed, or how much did, or how much there is at first."""
    if not diff.before:
        made = sum(any(one.name == "digest" for one in each.differences) for each in diff.artifacts)
        lost = len(diff.artifacts) - made
        said = f"First release of the channel: {plural(made, 'artifact')}"
        return f"{said}, {lost} not made." if lost else f"{said}."
    if diff.before == diff.after:
        return f"Nothing changed: it is the same release {diff.after[:DIGITS]}."
    counts = [f"{count} {word}" for word, count in _counts(diff) if count]
    files = f"{', '.join(counts) or 'no files changed'}, {diff.unchanged} as before"
    versions = f"; {plural(len(diff.tools), 'version')} changed" if diff.tools else ""
    return f"Files: {files}{versions}."


def _counts(diff: ReleaseDiff) -> Iterator[tuple[str, int]]:
    for word in ("added", "removed"):
        yield word, sum(one.change == word for one in diff.artifacts)
    changed = [one for one in diff.artifacts if one.change == "changed"]
    same = sum(not any(each.name in _BYTES_DIFFER for each in one.differences) for one in changed)
    yield "changed", len(changed) - same
    yield "made anew with the same bytes", same


def tool_lines(diff: ReleaseDiff) -> list[str]:
    """``torch 2.12 → 2.13``, one a tool; none for a first release."""
    return [_said(one) for one in diff.tools] if diff.before else []


def unknown_line(diff: ReleaseDiff) -> str:
    """That some records are gone, or ""."""
    if not diff.unknown:
        return ""
    return (
        f"The records of {plural(len(diff.unknown), 'file')} are not there any more, so flags,"
        f" dispatch counts and causes are not told: {', '.join(map(one_line, diff.unknown[:3]))}"
        f"{' …' if len(diff.unknown) > 3 else ''}"  # noqa: PLR2004 - as many as are shown
    )


def change_rows(diff: ReleaseDiff) -> tuple[ChangeRow, ...]:
    """The changes by address, then kind; the files of one reference together.

    None for a first release: that everything is new is said in a sentence.
    """
    if not diff.before:
        return ()
    groups: dict[tuple[str, str, str], list[ArtifactChange]] = {}
    for number, one in enumerate(diff.artifacts):
        several = one.kind == "reference"
        groups.setdefault(
            (one.address, one.kind, one.change if several else f"{number}"), []
        ).append(one)
    ordered = sorted(groups.items(), key=lambda item: item[0][:2])
    return tuple(_row(group) for _, group in ordered)


def _row(group: Sequence[ArtifactChange]) -> ChangeRow:
    one = group[0]
    several = f" ({len(group)} files)" if len(group) > 1 else ""
    causes = dict.fromkeys(cause for each in group for cause in each.causes)
    shown = [each for each in one.differences if each.name not in _COLUMNS]
    details = [text for each in shown if (text := _said(each))]
    if causes:
        details.append(f"because of {', '.join(map(one_line, causes))}")
    return ChangeRow(
        address=one.address,
        kind=one.kind,
        what=f"{one.change}{several}",
        size=_size(group),
        status=_arrow(one.differences, "status"),
        digest="" if several else _arrow(one.differences, "digest"),
        details=tuple(details),
    )


def _size(group: Iterable[ArtifactChange]) -> str:
    sizes = [each for one in group for each in one.differences if each.name == "size"]
    was = sum(int(one.was) for one in sizes if one.was is not None)
    now = sum(int(one.now) for one in sizes if one.now is not None)
    if not was or not now:
        return size_text(was or now) if sizes else ""
    return f"{size_text(was)} → {size_text(now)} ({now / was:.2f})"


def _arrow(differences: Iterable[Difference], name: str) -> str:
    one = next((each for each in differences if each.name == name), None)
    if one is None:
        return ""
    ends = [text for value in (one.was, one.now) if (text := _value(name, value))]
    return " → ".join(ends)


def _said(one: Difference) -> str:
    """The difference in words; "" for numbers that differ in digits that nobody is shown."""
    if one.name == "flags":
        ends = (("without", one.was), ("with", one.now))
        return f"flags {'; '.join(f'{word} {one_line(str(end))}' for word, end in ends if end)}"
    was, now = (_value(one.name, value) or "none" for value in (one.was, one.now))
    return f"{_WORDS.get(one.name, one_line(one.name))} {was} → {now}" if was != now else ""


def _value(name: str, value: str | int | float | None) -> str:
    if value is None:
        return ""
    if name in _BYTES and isinstance(value, int):
        return size_text(value)
    if isinstance(value, float):
        return number_text(value, digits=_DIGITS.get(name, 2))
    text = one_line(str(value))
    return text[:DIGITS] if name == "digest" else text
