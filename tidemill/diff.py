"""What changed from one release to another. Pure: releases and records in, differences out."""

from collections.abc import Iterator, Mapping
from typing import Any

from tidemill.records import (
    ActionResult,
    Artifact,
    ArtifactChange,
    Difference,
    Release,
    ReleaseDiff,
)

#: The stage whose record tells how an artifact of a kind was made.
STAGE_OF_KIND = {
    "mlir": "export",
    "config": "export",
    "irpa": "pack",
    "tokenizer": "pack",
    "reference": "reference",
    "vmfb": "compile",
    "table": "conformance",
}
#: What the compiler counted, and what validation measured, as they are named in records.
COUNTED = ("dispatch_count", "executable_count", "transient_bytes")
MEASURED = ("max_abs", "rel_l2", "cosine", "snr_db", "limit_max_abs", "limit_rel_l2")

#: Stage and key → the record of that action.
Records = Mapping[tuple[str, str], ActionResult]


def wanted_records(before: Release, after: Release) -> frozenset[tuple[str, str]]:
    """Stage and key of the records that ``release_diff`` can use."""
    return frozenset(
        (STAGE_OF_KIND[was.kind], key)
        for was, now in _pairs(before, after)
        if was and now and _is_told(was, now)
        for key in (was.key, now.key)
    )


def _is_told(was: Artifact, now: Artifact) -> bool:
    """Whether the records of both say more: they were made by other actions, to some effect."""
    apart = was.key and now.key and was.key != now.key and was.kind in STAGE_OF_KIND
    # Flags and counts may differ where the bytes do not.
    return bool(apart) and (was.digest != now.digest or was.kind == "vmfb")


def release_diff(
    before: Release, after: Release, *, digests: tuple[str, str], records: Records
) -> ReleaseDiff:
    """What changed. ``digests`` are those of the two releases; a record may be missing."""
    changes, unknown, unchanged = list[ArtifactChange](), list[str](), 0
    for was, now in _pairs(before, after):
        if was is None or now is None:
            changes += _come_or_gone(was, now)
            continue
        step = STAGE_OF_KIND.get(was.kind, "")
        one, other = records.get((step, was.key)), records.get((step, now.key))
        differences = (*_own(was, now), *_compiled(was, now, one, other), *_measured(was, now))
        if not differences:
            unchanged += 1
            continue
        if _is_told(was, now) and not (one and other):
            unknown.append(now.file)
        changes.append(
            ArtifactChange(
                address=now.address,
                kind=now.kind,
                file=now.file,
                change="changed",
                differences=differences,
                causes=tuple(_causes(one.parts, other.parts)) if one and other else (),
            )
        )
    return ReleaseDiff(
        before=digests[0],
        after=digests[1],
        tools=tuple(_tools(before, after)),
        artifacts=tuple(changes),
        unchanged=unchanged,
        unknown=tuple(unknown),
    )


def first_release(release: Release, *, digest: str) -> ReleaseDiff:
    """Everything is new."""
    nothing = Release(pipeline=release.pipeline, toolchain="", tools={}, artifacts=())
    return release_diff(nothing, release, digests=("", digest), records={})


def _pairs(before: Release, after: Release) -> Iterator[tuple[Artifact | None, Artifact | None]]:
    """The files of both releases, in order, by their path."""
    one = {item.file: item for item in before.artifacts}
    other = {item.file: item for item in after.artifacts}
    for file in sorted(one.keys() | other.keys()):
        yield one.get(file), other.get(file)


def _come_or_gone(was: Artifact | None, now: Artifact | None) -> Iterator[ArtifactChange]:
    item = now or was
    # That a file which is not there any more was not there before either is no news.
    if item is None or (now is None and not item.digest):
        return
    told = (("size", item.size), ("status", item.status), ("digest", item.digest))
    yield ArtifactChange(
        address=item.address,
        kind=item.kind,
        file=item.file,
        change="added" if now else "removed",
        differences=tuple(
            Difference(name=name, was=None if now else value, now=value if now else None)
            for name, value in told
            if value
        ),
    )


def _own(was: Artifact, now: Artifact) -> Iterator[Difference]:
    if was.digest != now.digest:
        yield Difference(name="digest", was=was.digest or None, now=now.digest or None)
    if was.size != now.size:
        yield Difference(name="size", was=was.size, now=now.size)
    if was.status != now.status:
        yield Difference(name="status", was=was.status, now=now.status)


def _compiled(
    was: Artifact, now: Artifact, one: ActionResult | None, other: ActionResult | None
) -> Iterator[Difference]:
    if was.kind != "vmfb" or was.key == now.key or one is None or other is None:
        return
    flags = [[str(flag) for flag in each.parts["fields"].get("flags", ())] for each in (one, other)]
    if flags[0] != flags[1]:
        yield _flags(*flags)
    for name in COUNTED:
        yield from _different(name, one.facts.get(name), other.facts.get(name))


def _flags(was: list[str], now: list[str], /) -> Difference:
    """Those that went and came; all of them where only their order is another."""
    went = [flag for flag in was if flag not in now]
    came = [flag for flag in now if flag not in was]
    if not went and not came:
        went, came = was, now
    return Difference(name="flags", was=" ".join(went) or None, now=" ".join(came) or None)


def _measured(was: Artifact, now: Artifact) -> Iterator[Difference]:
    """Of a module only: its verdict file says the same at length."""
    if now.kind != "vmfb":
        return
    one, other = was.verdict or {}, now.verdict or {}
    before, after = _part(one, "summary"), _part(other, "summary")
    yield from _different("output", before.get("output"), after.get("output"))
    for name in MEASURED:
        # Each output has limits of its own: those of another one are no news.
        if before.get("output") == after.get("output") or not name.startswith("limit_"):
            yield from _different(name, before.get(name), after.get(name))
    yield from _different(
        "greedy_equal", _part(one, "greedy").get("equal"), _part(other, "greedy").get("equal")
    )


def _part(verdict: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = verdict.get(name)
    return part if isinstance(part, Mapping) else {}


def _different(name: str, was: Any, now: Any) -> Iterator[Difference]:
    if was != now:
        yield Difference(name=name, was=was, now=now)


def _tools(before: Release, after: Release) -> Iterator[Difference]:
    yield from _different("toolchain", before.toolchain or None, after.toolchain or None)
    for name in sorted(before.tools.keys() | after.tools.keys()):
        yield from _different(name, before.tools.get(name), after.tools.get(name))


def _causes(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """The parts of two keys that differ, named as people speak of them."""
    for name in _changed(was.get("fields"), now.get("fields")):
        yield name
    for role in _changed(was.get("inputs"), now.get("inputs")):
        for file in _changed(_part(was["inputs"], role), _part(now["inputs"], role)):
            yield f"input {role}/{file}"
    for name in _changed(was.get("tools"), now.get("tools")):
        yield f"tool {name}"
    for name in ("code", "salt", "format"):
        if was.get(name) != now.get(name):
            yield name


def _changed(was: Any, now: Any) -> list[str]:
    one, other = was or {}, now or {}
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
