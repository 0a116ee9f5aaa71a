"""gc, pin: what stays in a store, and what goes."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec

from tidemill.address import split_pattern
from tidemill.cli.listing import store_of
from tidemill.cli.output import complain, json_option, say, say_json, workspace_options
from tidemill.compare import find_release
from tidemill.errors import UsageError
from tidemill.report.text import plural, size_text
from tidemill.retention import ENTRIES_KEPT, GRACE, KINDS, SWEPT_KINDS, Condemned, Lease, Pin, holds
from tidemill.store.contract import Store
from tidemill.store.layout import lease_name
from tidemill.sweeping import Plan, Roots, Step, Sweeper, Swept, read_locks
from tidemill.sweeping.pins import add_pin, remove_pin
from tidemill.sweeping.roots import read_pins

_ALL = "all"


@click.command()
@click.option("--yes", is_flag=True, help="Mark what may go; remove what was marked long ago.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([*KINDS, _ALL]),
    help=f"What may go (may be repeated) [{', '.join(sorted(SWEPT_KINDS))}].",
)
@click.option(
    "--entries",
    type=click.IntRange(min=1),
    default=ENTRIES_KEPT,
    show_default=True,
    help="How many last entries of each channel keep their releases.",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=GRACE.total_seconds() / 86_400,
    show_default=True,
    metavar="DAYS",
    help="Between the mark and the removal. A pull that takes longer may lose its files.",
)
@click.option(
    "--keep-lock",
    "locks",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A lock file whose release stays (may be repeated).",
)
@click.option(
    "--gone",
    "gone",
    multiple=True,
    metavar="RUN",
    help="A run that was killed; do not wait for it.",
)
@json_option
@workspace_options
def gc(
    *,
    yes: bool,
    kinds: tuple[str, ...],
    entries: int,
    grace: float,
    locks: tuple[Path, ...],
    gone: tuple[str, ...],
    as_json: bool,
    workspace_dir: Path | None,
    store_url: str | None,
) -> None:
    """Show what nothing keeps any more; with --yes, mark it, and remove what was marked before.

    Kept are the releases of each channel's last entries, pins, lock files that are named here, and
    what runs at work use. Records, MLIR and VMFBs stay: they are small, unless --kind names them.
    """
    store = store_of(workspace_dir, store_url)
    sweeper = Sweeper(
        store,
        roots=Roots(store=store, entries=entries, locks=read_locks(store, locks)),
        kinds=frozenset(KINDS) if _ALL in kinds else frozenset(kinds) or SWEPT_KINDS,
        grace=timedelta(days=grace),
    )
    if gone and not yes:
        raise UsageError("--gone changes the store", hint="give --yes as well")
    _forget(store, gone)
    plan = sweeper.plan()
    if not as_json:
        _say_plan(plan)
    marked = sweeper.mark(plan) if yes else None
    if marked and not as_json:
        say(f"marked {_so_much(marked.candidates)}, to be removed in {grace:g} days: {marked.id}")
    swept = list[Swept]()
    for mark in sweeper.due() if yes else ():
        swept.append(sweeper.sweep(mark, progress=_say_step))
        if not as_json:
            _say_swept(swept[-1])
    if as_json:
        say_json({**_plan_json(plan), "marked": marked and marked.id, "swept": _swept_json(swept)})
    elif not yes:
        say("Nothing was changed. --yes marks this, and removes what was marked long enough ago.")


def _forget(store: Store, runs: Iterable[str]) -> None:
    for run in runs:
        if store.stat(lease_name(run)) is None:
            raise UsageError(f"no run {run} is at work", hint="`tidemill gc` names those that are")
        store.remove(lease_name(run))


def _so_much(blobs: Iterable[Condemned]) -> str:
    sizes = [one.size for one in blobs]
    return f"{plural(len(sizes), 'blob')} ({size_text(sum(sizes))})"


def _run_words(lease: Lease) -> str:
    return f"{lease.run} on {lease.host}, since {lease.began_at:%Y-%m-%d %H:%M} UTC"


def _say_plan(plan: Plan) -> None:
    for kept in plan.survey.kept:
        say(f"keeps {plural(kept.blobs, 'blob')} ({size_text(kept.size)}): {kept.reason}")
    kinds = sorted({kind for one in plan.survey.candidates for kind in one.kinds})
    for kind in kinds:
        some = [one for one in plan.survey.candidates if kind in one.kinds]
        say(f"may go: {_so_much(some)} of kind {kind}")
    if not kinds:
        say("may go: nothing")
    for each in plan.marks:
        when = f"{each.sweepable_from:%Y-%m-%d %H:%M} UTC"
        say(f"marked before: {_so_much(each.mark.candidates)}, goes from {when}: {each.mark.id}")
        for lease in each.waits_for:
            say(f"  waits for run {_run_words(lease)}; was it killed? --gone {lease.run}")


def _say_swept(one: Swept) -> None:
    if one.waits_for:
        runs = "; ".join(map(_run_words, one.waits_for))
        say(f"mark {one.mark.id} waits for {runs}")
        return
    say(f"removed {_so_much(one.removed)} of mark {one.mark.id}")
    for why, blobs in sorted(one.spared.items()):
        say(f"  spared {plural(blobs, 'blob')}: {why}")


def _say_step(step: Step) -> None:
    if step.seconds:
        complain(f"waiting up to {step.seconds:.0f} s: {step.why}")
    elif step.blob and not step.why:
        complain(f"removed {step.blob.digest[:12]} {size_text(step.blob.size)}")


def _plan_json(plan: Plan) -> dict[str, Any]:
    return {
        "candidates": msgspec.to_builtins(plan.survey.candidates),
        "bytes": plan.survey.size,
        "kept": [
            {"reason": kept.reason, "blobs": kept.blobs, "bytes": kept.size}
            for kept in plan.survey.kept
        ],
        "marks": [
            {
                "id": each.mark.id,
                "at": each.mark.at,
                "blobs": len(each.mark.candidates),
                "bytes": each.mark.size,
                "sweepable_from": each.sweepable_from,
                "waits_for": [lease.run for lease in each.waits_for],
            }
            for each in plan.marks
        ],
    }


def _swept_json(swept: Iterable[Swept]) -> list[dict[str, Any]]:
    return [
        {
            "id": one.mark.id,
            "removed": [blob.digest for blob in one.removed],
            "bytes": one.size,
            "spared": dict(one.spared),
            "waits_for": [lease.run for lease in one.waits_for],
        }
        for one in swept
    ]


@click.group()
def pin() -> None:
    """Keep a release, or what an address picks in all releases, from gc."""


@pin.command("add")
@click.argument("name")
@click.option("--release", default="", help="A digest, a channel (its head), or channel@sequence.")
@click.option("--address", default="", help="A glob: what it picks in any release of the store.")
@click.option("--reason", required=True, help="Why.")
@click.option("--owner", required=True, help="Whom to ask.")
@click.option(
    "--expires", type=click.DateTime(["%Y-%m-%d"]), help="The last day that it holds [never]."
)
@workspace_options
def pin_add(
    name: str,
    *,
    release: str,
    address: str,
    reason: str,
    owner: str,
    expires: datetime | None,
    workspace_dir: Path | None,
    store_url: str | None,
) -> None:
    """Pin a release or an address as NAME."""
    if bool(release) == bool(address):
        raise UsageError("give either --release or --address")
    store = store_of(workspace_dir, store_url)
    if address:
        split_pattern(address)
    made = Pin(
        name=name,
        reason=reason,
        owner=owner,
        created_at=datetime.now(UTC),
        release=find_release(store, release) if release else "",
        address=address,
        expires=expires.date() if expires else None,
    )
    gone = add_pin(store, made)
    say(_pin_words(made))
    if gone:
        complain(f"{plural(gone, 'blob')} of what {address} picks had gone before")


@pin.command("list")
@json_option
@workspace_options
def pin_list(*, as_json: bool, workspace_dir: Path | None, store_url: str | None) -> None:
    """List pins; expired ones keep nothing any more."""
    pins = read_pins(store_of(workspace_dir, store_url))
    if as_json:
        say_json([msgspec.to_builtins(each) for each in pins])
        return
    for each in pins:
        say(_pin_words(each))


@pin.command("remove")
@click.argument("name")
@workspace_options
def pin_remove(name: str, *, workspace_dir: Path | None, store_url: str | None) -> None:
    """Take the pin NAME away; gc may remove what it kept, after its grace period."""
    remove_pin(store_of(workspace_dir, store_url), name)


def _pin_words(each: Pin) -> str:
    what = f"release {each.release[:12]}" if each.release else each.address
    until = f" until {each.expires}" if each.expires else ""
    expired = "" if holds(each, today=_today()) else " (expired)"
    return f"{each.name}: {what}{until}{expired}, by {each.owner}: {each.reason}"


def _today() -> date:
    return datetime.now(UTC).date()
