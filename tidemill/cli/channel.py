"""channel: list, promote, rollback, pin, unpin, sign, rotate-key, provenance, forget."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from securesystemslib.signer import CryptoSigner, Signer

from tidemill import channels
from tidemill.cli.listing import store_of, trust_of
from tidemill.cli.output import (
    complain,
    json_option,
    say,
    say_json,
    workspace_of,
    workspace_options,
)
from tidemill.client import resolve
from tidemill.errors import UsageError
from tidemill.records import ChannelEntry
from tidemill.trust import authority, keys, provenance

Command = TypeVar("Command", bound=Callable[..., Any])
_BY_HAND = "by-hand"


@click.group()
def channel() -> None:
    """List, promote, roll back, pin and sign channels."""


def _reason(command: Command) -> Command:
    return click.option("--reason", required=True, help="Why; it is kept with the entry.")(command)


def _signer(workspace_dir: Path | None) -> Signer:
    return keys.signer_of(workspace_of(workspace_dir, None).state)


@channel.command("list")
@click.argument("name", default="")
@json_option
@workspace_options
def channel_list(
    name: str, *, as_json: bool, workspace_dir: Path | None, store_url: str | None
) -> None:
    """List channels, or the history of one, newest first."""
    store = store_of(workspace_dir, store_url)
    if name:
        entries = list(channels.history(store, name))
    else:
        heads = [channels.head(store, one) for one in channels.names(store)]
        entries = [entry for entry in heads if entry]
    if as_json:
        say_json([msgspec.to_builtins(entry) for entry in entries])
        return
    for entry in entries:
        _say(entry)


def _say(entry: ChannelEntry) -> None:
    pinned = f"  pinned: {entry.pinned}" if entry.pinned else ""
    say(
        f"{entry.channel} {entry.sequence}  release {entry.release[:12]}  {entry.moved_at}"
        f"  until {entry.expires[:10]}  {entry.reason}{pinned}"
    )


@channel.command("promote")
@click.argument("name")
@click.argument("release_digest", metavar="RELEASE")
@_reason
@workspace_options
def channel_promote(
    name: str,
    release_digest: str,
    *,
    reason: str,
    workspace_dir: Path | None,
    store_url: str | None,
) -> None:
    """Point channel NAME at RELEASE (a digest)."""
    store = store_of(workspace_dir, store_url)
    resolved = resolve(store, release=release_digest)
    _say(
        channels.move(
            store,
            name,
            release=resolved.digest,
            expecting=channels.latest(store, name),
            run=_BY_HAND,
            reason=reason,
            signer=_signer(workspace_dir),
        )
    )


@channel.command("rollback")
@click.argument("name")
@click.option(
    "--to", "sequence", type=int, default=0, help="The sequence to go back to [the one before]."
)
@_reason
@workspace_options
def channel_rollback(
    name: str,
    *,
    sequence: int,
    reason: str,
    workspace_dir: Path | None,
    store_url: str | None,
) -> None:
    """Give channel NAME a newer entry that points at an older release."""
    store = store_of(workspace_dir, store_url)
    _say(
        channels.rollback(
            store, name, to=sequence, run=_BY_HAND, reason=reason, signer=_signer(workspace_dir)
        )
    )


@channel.command("pin")
@click.argument("name")
@_reason
@workspace_options
def channel_pin(
    name: str, *, reason: str, workspace_dir: Path | None, store_url: str | None
) -> None:
    """Hold channel NAME where it is: runs go on, and do not move it."""
    _hold(name, reason=reason, pinned=reason, workspace_dir=workspace_dir, store_url=store_url)


@channel.command("unpin")
@click.argument("name")
@_reason
@workspace_options
def channel_unpin(
    name: str, *, reason: str, workspace_dir: Path | None, store_url: str | None
) -> None:
    """Let runs move channel NAME again."""
    _hold(name, reason=reason, pinned="", workspace_dir=workspace_dir, store_url=store_url)


def _hold(
    name: str, *, reason: str, pinned: str, workspace_dir: Path | None, store_url: str | None
) -> None:
    store = store_of(workspace_dir, store_url)
    held = channels.head(store, name)
    if held is None:
        raise UsageError(f"{store.url} has no channel {name!r}")
    _say(
        channels.move(
            store,
            name,
            release=held.release,
            expecting=held.sequence,
            run=_BY_HAND,
            reason=reason,
            signer=_signer(workspace_dir),
            pinned=pinned,
            unpin=True,
            provenance=held.provenance,
        )
    )


@channel.command("sign")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--reason", default="signed anew", show_default=True, help="Kept with the entry.")
@workspace_options
def channel_sign(
    names: tuple[str, ...], *, reason: str, workspace_dir: Path | None, store_url: str | None
) -> None:
    """Sign the heads of channels (all of them, or NAME...) anew, so that they do not expire."""
    store = store_of(workspace_dir, store_url)
    signer = _signer(workspace_dir)
    for name in names or channels.names(store):
        _say(channels.resign(store, name, signer=signer, reason=reason))


@channel.command("rotate-key")
@click.option(
    "--new-key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The new private key (PEM) [made anew, in place of the workspace's own].",
)
@workspace_options
def channel_rotate_key(
    *, new_key: Path | None, workspace_dir: Path | None, store_url: str | None
) -> None:
    """Sign with another key from now on. Readers follow, since the old key vouches for the new one.

    All channels are signed anew. A key given with --new-key stays where it is: name it in
    TIDEMILL_SIGNING_KEY afterwards.
    """
    store = store_of(workspace_dir, store_url)
    state = workspace_of(workspace_dir, None).state
    old = keys.signer_of(state)
    if new_key:
        new = keys.private_signer(new_key.read_bytes(), where=str(new_key))
    else:
        new = CryptoSigner.generate_ed25519()
    # Kept before the root names it: a key that is lost after that would lock everybody out.
    kept = new_key or keys.write_key(keys.key_file(state).with_name("next.pem"), new)
    authority.rotate(store, old=old, new=new)
    if not new_key:
        kept.replace(keys.key_file(state))
    for name in channels.names(store):
        _say(channels.resign(store, name, signer=new, reason="the key was changed"))
    say(f"channels of {store.url} are signed with {new.public_key.keyid[:12]}… now")
    if keys.from_environment():
        complain("The key is still taken from the environment: change it there, too.")


@channel.command("provenance")
@click.argument("name")
@workspace_options
def channel_provenance(name: str, *, workspace_dir: Path | None, store_url: str | None) -> None:
    """Print where channel NAME's release comes from: its in-toto statement, verified, as JSON."""
    store = store_of(workspace_dir, store_url)
    entry, root = channels.head(store, name), authority.read_root(store)
    if entry is None or root is None:
        raise UsageError(f"{store.url} has no channel {name!r}")
    if not entry.provenance:
        raise UsageError(f"nothing is said of where release {entry.release[:12]} comes from")
    say_json(
        provenance.read_statement(store, entry.release, expected=entry.provenance, root=root.signed)
    )


@channel.command("forget")
@workspace_options
def channel_forget(*, workspace_dir: Path | None, store_url: str | None) -> None:
    """Forget what this machine has seen of the store: it was made anew, or its key was lost."""
    store = store_of(workspace_dir, store_url)
    trust_of(workspace_dir, store).forget(store)
    say(f"nothing is known of {store.url} any more: its root is trusted on next use")
