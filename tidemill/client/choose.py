"""Which artifacts of which release a pull means. ``resolve`` reads a store; choosing is pure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidemill.address import closest, matches
from tidemill.channels import follow, names, read_release
from tidemill.client.trusting import open_trust
from tidemill.digest import is_digest
from tidemill.errors import TidemillError, ToolError, UsageError
from tidemill.records import Artifact, Release
from tidemill.store.contract import Store, Unlistable
from tidemill.store.layout import short

if TYPE_CHECKING:
    from tidemill.trust.follow import Trust

#: An artifact of such a status has no bytes that anybody should use.
WITHOUT_BYTES = frozenset({"missing", "expected-failure"})

_TARGET_PARTS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A release and how it was found; ``channel`` is "" and ``sequence`` 0 for one by digest."""

    digest: str
    release: Release
    channel: str = ""
    sequence: int = 0

    @property
    def title(self) -> str:
        """Words for a message."""
        if self.channel:
            return f"channel {self.channel!r} (sequence {self.sequence})"
        return f"release {short(self.digest)}"


@dataclass(frozen=True, slots=True)
class Choice:
    """``wanted`` is to be copied; ``refused`` was asked for and cannot be had, with its reasons."""

    wanted: tuple[Artifact, ...]
    refused: tuple[Artifact, ...]


def resolve(
    store: Store, *, channel: str = "", release: str = "", trust: "Trust | None" = None
) -> Resolved:
    """The head of ``channel``, or the release of that digest. Raises UsageError or StoreError.

    The head is what a reader with this ``trust`` may believe; by default with what this user
    believes of stores. One request when nothing has changed. Raises ChannelRefused for a head that
    may not be believed.
    """
    if bool(channel) == bool(release):
        raise UsageError("name a channel or a release", hint="one of them, not both")
    if release:
        if not is_digest(release):
            raise UsageError(f"{release!r} is not the digest of a release", hint="give 64 digits")
        return Resolved(digest=release, release=read_release(store, release))
    entry = follow(store, channel, trust=trust or open_trust(_warn))
    if entry is None:
        raise UsageError(
            f"{store.url} has no channel {channel!r}",
            hint=_channels_of(store),
        )
    return Resolved(
        digest=entry.release,
        release=read_release(store, entry.release),
        channel=channel,
        sequence=entry.sequence,
    )


def _warn(words: str) -> None:
    import logging  # noqa: PLC0415 - seldom said, and everybody imports this

    logging.getLogger("tidemill").warning(words)


def _channels_of(store: Store) -> str:
    try:
        return f"its channels are: {', '.join(names(store)) or 'none yet'}"
    except Unlistable:
        return "see whether that is the URL of a store, and how its channels are called"


def choose(
    resolved: Resolved,
    patterns: Sequence[str],
    *,
    kinds: Collection[str] = (),
    require_validated: bool = False,
) -> Choice:
    """The artifacts that ``patterns`` pick, and the shared ones that their variants need.

    A picked target brings MLIR, parameters and reference of its variant, unless ``kinds`` leaves
    them out. Artifacts without bytes are refused, and bring nothing. ``require_validated`` refuses
    the whole pull when any of these, shared ones too, has any status but ``validated``. Raises
    UsageError when a pattern picks nothing, or what may not be had unvalidated; ToolError when
    nothing is left, or something required is not there, because it has no bytes.
    """
    known = resolved.release.artifacts
    _check_patterns(resolved, patterns)
    _check_kinds(resolved, kinds)
    picked = [one for one in known if any(matches(pattern, one.address) for pattern in patterns)]
    without = [one for one in picked if one.status in WITHOUT_BYTES]
    picked_addresses = {one.address for one in picked}
    variants = {
        one.address.rpartition("/")[0]
        for one in picked
        if _has_target(one) and one.status not in WITHOUT_BYTES
    } - picked_addresses
    brought = [one for one in known if one.address in variants]
    asked = [one for one in (*picked, *brought) if not kinds or one.kind in kinds]
    wanted = [one for one in asked if one.status not in WITHOUT_BYTES]
    refused = [one for one in asked if one.status in WITHOUT_BYTES]
    doubtful = [one for one in wanted if one.status != "validated"]
    if not wanted:
        raise _refusal(resolved, refused or without, patterns)
    if require_validated and (refused or doubtful):
        raise _refusal(resolved, refused + doubtful, patterns)
    return Choice(wanted=_sorted(wanted), refused=_sorted(refused))


def _check_patterns(resolved: Resolved, patterns: Sequence[str]) -> None:
    if not patterns:
        raise UsageError(
            "no address is given", hint="give at least one, such as 'model/component/*/target'"
        )
    addresses = sorted({one.address for one in resolved.release.artifacts})
    for pattern in patterns:
        if not any(matches(pattern, address) for address in addresses):
            raise UsageError(
                f"nothing in {resolved.title} matches {pattern!r}",
                hint=closest(pattern, addresses),
            )


def _check_kinds(resolved: Resolved, kinds: Iterable[str]) -> None:
    there = {one.kind for one in resolved.release.artifacts}
    for kind in sorted(set(kinds) - there):
        raise UsageError(
            f"{resolved.title} has no artifact of kind {kind!r}",
            hint=f"its kinds are: {', '.join(sorted(there))}",
        )


def _refusal(
    resolved: Resolved, refused: Sequence[Artifact], patterns: Sequence[str]
) -> TidemillError:
    if not refused:
        return UsageError(
            f"nothing in {resolved.title} matches {' '.join(patterns)} and the kinds asked for",
            hint="ask for other kinds",
        )
    reasons = "; ".join(
        f"{one.address} {one.kind} is {one.status}" + (f" ({one.reason})" if one.reason else "")
        for one in _sorted(refused)
    )
    # What is there without a verdict is for the caller to allow; what is not there is not.
    lacks = any(one.status in WITHOUT_BYTES for one in refused)
    return (ToolError if lacks else UsageError)(
        f"{resolved.title} cannot give what is asked for: {reasons}",
        hint="ask for other addresses, or see the run's report",
    )


def _has_target(artifact: Artifact) -> bool:
    return artifact.address.count("/") + 1 == _TARGET_PARTS


def _sorted(found: Iterable[Artifact]) -> tuple[Artifact, ...]:
    return tuple(sorted(found, key=lambda one: (one.address, one.kind, one.file)))
