"""channel: list, promote, rollback, pin, unpin, sign, rotate-key, provenance, forget."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from securesystemslib.signer import CryptoSigner, Signer

from tidemill import channels, moves
from tidemill.cli.listing import store_of, trust_of
from tidemill.cli.output import (
    complain,
    json_option,
    say,
    say_json,
    workspace_of,
    workspace_options,
)
from tidemill.compare import find_release
from tidemill.errors import ExitCode, TidemillError, UsageError
from tidemill.records import ChannelEntry
from tidemill.store.contract import Store
from tidemill.trust import authority, keys, provenance

Command = TypeVar("Command", bound=Callable[..., Any])
_BY_HAND = "by-hand"


@click.group()
def channel() -> None:
    """List, promote, roll back, pin and sign channels."""


def _reason(command: Command) -> Command:
    return click.option("--reason", required=True, help="Why; it is kept with the entry.")(command)


def _signer(store: Store, workspace_dir: Path | None) -> Signer:
    return authority.signer_for(store, workspace_of(workspace_dir, None).state)


@channel.command("list")
@click.argument("name", default="")
@json_option
@workspace_options
def channel_list(
    name: str, *, as_json: bool, workspace_dir: Path | None, store_url: str | None
) -> int:
    """List channels, or the history of one, newest first."""
    store = store_of(workspace_dir, store_url)
    entries: list[ChannelEntry] = []
    code = ExitCode.GOOD
    if name:
        entries += channels.history(store, name)
        if not entries:
            known = ", ".join(channels.names(store)) or "none yet"
            raise UsageError(f"{store.url} has no channel {name!r}", hint=f"its channels: {known}")
    else:
        code = _each(channels.names(store), lambda one: entries.extend(_head(store, one)))
    if as_json:
        say_json([msgspec.to_builtins(entry) for entry in entries])
    else:
        for entry in entries:
            _say(entry)
    return code


def _head(store: Store, name: str) -> list[ChannelEntry]:
    entry = channels.head(store, name)
    return [entry] if entry else []


def _each(names: Iterable[str], act: Callable[[str], object]) -> ExitCode:
    """Act on every channel; one with which something is wrong does not stand in others' way."""
    code = ExitCode.GOOD
    for name in names:
        try:
            act(name)
        except TidemillError as error:
            complain(f"error: channel {name}: {error.message}", hint=error.hint)
            code = error.exit_code
    return code


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
    """Point channel NAME at RELEASE: a digest or its first digits, a channel, or channel@N."""
    store = store_of(workspace_dir, store_url)
    release = find_release(store, release_digest)
    _say(
        moves.move(
            store,
            name,
            release=release,
            expecting=channels.latest(store, name),
            run=_BY_HAND,
            reason=reason,
            signer=_signer(store, workspace_dir),
            provenance=provenance.find_statement(store, release) or "",
        )
    )


@channel.command("rollback")
@click.argument("name")
@click.option(
    "--to",
    "sequence",
    type=click.IntRange(min=1),
    help="The sequence to go back to [the one before].",
)
@_reason
@workspace_options
def channel_rollback(
    name: str,
    *,
    sequence: int | None,
    reason: str,
    workspace_dir: Path | None,
    store_url: str | None,
) -> None:
    """Give channel NAME a newer entry that points at an older release."""
    store = store_of(workspace_dir, store_url)
    _say(
        moves.rollback(
            store,
            name,
            to=sequence or 0,
            run=_BY_HAND,
            reason=reason,
            signer=_signer(store, workspace_dir),
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
        moves.move(
            store,
            name,
            release=held.release,
            expecting=held.sequence,
            run=_BY_HAND,
            reason=reason,
            signer=_signer(store, workspace_dir),
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
) -> int:
    """Sign the heads of channels (all of them, or NAME...) anew, so that they do not expire."""
    store = store_of(workspace_dir, store_url)
    signer = _signer(store, workspace_dir)
    return _each(
        names or channels.names(store),
        lambda name: _say(moves.resign(store, name, signer=signer, reason=reason)),
    )


@channel.command("rotate-key")
@click.option(
    "--new-key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The new private key (PEM) [made anew, in place of the workspace's own].",
)
@workspace_options
def channel_rotate_key(
    *, new_key: Path | None, workspace_dir: Path | None, store_url: str | None
) -> int:
    """Sign with another key from now on. Readers follow, since the old key vouches for the new one.

    Every channel is signed anew, with both keys, before the store names the new one. Should this be
    broken off, run it again. A key given with --new-key stays where it is: its content belongs into
    TIDEMILL_SIGNING_KEY afterwards. The workspace's old key is kept for its other stores.
    """
    store = store_of(workspace_dir, store_url)
    state = workspace_of(workspace_dir, None).state
    if keys.from_environment() and not new_key:
        raise UsageError(
            "the key comes from the environment, so the new one must, too",
            hint="make one (openssl genpkey -algorithm ed25519), and name its file with --new-key",
        )
    new = _given(new_key) if new_key else keys.next_signer(state)
    root = authority.read_root(store)
    code = ExitCode.GOOD
    if root is None or not authority.may_sign(root.signed, new):
        code = _change(store, old=authority.signer_for(store, state), new=new)
    if not new_key:
        keys.adopt(state, new)
    say(f"channels of {store.url} are signed with {new.public_key.keyid[:12]}… now")
    if new_key:
        complain(f"Give the content of {new_key} in {keys.PRIVATE} from now on.")
    # Who moved a channel in the meantime has signed with the old key only.
    return _each(channels.names(store), lambda name: _head(store, name)) or code


def _given(file: Path) -> CryptoSigner:
    try:
        return keys.private_signer(file.read_bytes(), where=str(file))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error


def _change(store: Store, *, old: Signer, new: Signer) -> ExitCode:
    reason = "the key is changed"
    code = _each(
        channels.names(store),
        lambda name: _say(moves.resign(store, name, signer=old, successor=new, reason=reason)),
    )
    authority.rotate(store, old=old, new=new)
    return code


@channel.command("provenance")
@click.argument("name")
@workspace_options
def channel_provenance(name: str, *, workspace_dir: Path | None, store_url: str | None) -> None:
    """Print where channel NAME's release comes from: its in-toto statement, verified, as JSON."""
    store = store_of(workspace_dir, store_url)
    entry = channels.head(store, name)
    if entry is None:
        raise UsageError(f"{store.url} has no channel {name!r}")
    if not entry.provenance:
        raise UsageError(f"nothing is said of where release {entry.release[:12]} comes from")
    say_json(provenance.read_statement(store, entry.release, expected=entry.provenance))


@channel.command("forget")
@workspace_options
def channel_forget(*, workspace_dir: Path | None, store_url: str | None) -> None:
    """Forget what this machine has seen of the store: it was made anew, or its key was lost."""
    store = store_of(workspace_dir, store_url)
    trust_of(workspace_dir, store).forget(store)
    say(f"nothing is known of {store.url} any more: its root is trusted on next use")
