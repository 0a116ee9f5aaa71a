"""What the reading commands share: the store to read, and the released artifacts in it."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tidemill import channels
from tidemill.address import closest, matches
from tidemill.cli.output import complain, workspace_of
from tidemill.client import resolve
from tidemill.client.trusting import open_trust
from tidemill.errors import UsageError
from tidemill.records import Artifact
from tidemill.store import open_store
from tidemill.store.contract import Store

if TYPE_CHECKING:  # a locked pull needs no tuf
    from tidemill.trust.follow import Trust


@dataclass(frozen=True, slots=True)
class Listed:
    """An artifact and the channels that have it, joined by commas."""

    artifact: Artifact
    channel: str

    def as_dict(self, fields: Sequence[str] = ()) -> dict[str, Any]:
        """The artifact's ``fields`` (all of them by default), and its channel."""
        known = msgspec.to_builtins(self.artifact)
        return {**{name: known[name] for name in fields or known}, "channel": self.channel}


def store_of(workspace_dir: Path | None, store_url: str | None) -> Store:
    """The store to read. It must be there already; a checkout is needed only to find it."""
    if url := store_url or os.environ.get("TIDEMILL_STORE"):
        return open_store(url, must_exist=True)
    url = workspace_of(workspace_dir, None).store_url
    if not Path(url).exists():
        # Nobody named this store, so nobody mistyped it.
        raise UsageError(
            "nothing was built in this checkout yet", hint="make smoke (or tidemill run smoke)"
        )
    return open_store(url, must_exist=True)


def trust_of(workspace_dir: Path | None, store: Store) -> "Trust":
    """What this machine believes of the store.

    Of a workspace's embedded store that is kept beside it, and goes with it when it is deleted.
    """
    folder = None
    with contextlib.suppress(UsageError):
        state = workspace_of(workspace_dir, None).state
        folder = state / "trust" if store.url.startswith(state.as_uri() + "/") else None
    return open_trust(complain, folder=folder)


def bound_of(verdict: Mapping[str, Any] | None) -> str:
    """``for …`` where a verdict holds for some inputs only; else ""."""
    bound = (verdict or {}).get("holds_for")
    return f"for {bound}" if bound else ""


def released(store: Store, *, channel: str, workspace_dir: Path | None) -> list[Listed]:
    """The artifacts of a channel's head, or of the heads of all channels.

    A file that channels have with the same bytes and the same status appears once. Raises
    ChannelRefused for what this machine may not believe.
    """
    names = (channel,) if channel else channels.names(store)
    if not names:
        raise UsageError("the store has no channel yet", hint="Run one: tidemill run smoke")
    trust = trust_of(workspace_dir, store)
    found: dict[tuple[str, str, str], tuple[Artifact, list[str]]] = {}
    for name in names:
        for item in resolve(store, channel=name, trust=trust).release.artifacts:
            key = (item.file, item.digest, item.status)
            found.setdefault(key, (item, []))[1].append(name)
    listed = [Listed(item, ",".join(sorted(set(having)))) for item, having in found.values()]
    return sorted(listed, key=lambda one: (one.artifact.address, one.artifact.file, one.channel))


def fitting(listed: Sequence[Listed], pattern: str) -> list[Listed]:
    """Those whose address ``pattern`` picks."""
    return [one for one in listed if matches(pattern, one.artifact.address)]


def closest_released(listed: Sequence[Listed], pattern: str) -> str:
    """A hint where ``pattern`` picks nothing."""
    return closest(pattern, (one.artifact.address for one in listed))
