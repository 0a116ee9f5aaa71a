"""Pins: what a person keeps from gc, and until when."""

from tidemill.channels import read_release
from tidemill.errors import StoreError, UsageError
from tidemill.keeping import Keeper
from tidemill.records import encode
from tidemill.retention import Pin
from tidemill.store.contract import Store
from tidemill.store.layout import pin_name
from tidemill.sweeping.roots import Roots, read_blobs


def add_pin(store: Store, pin: Pin) -> int:
    """Keep what ``pin`` names from now on. A release must be there, with all its blobs.

    An address keeps what is there; how many blobs that it picks are gone already is returned.
    Raises UsageError for a name that is taken, StoreError for a release that is not whole.
    """
    release = read_release(store, pin.release) if pin.release else None
    if not store.create(pin_name(pin.name), encode(pin)):
        raise UsageError(
            f"there is a pin {pin.name!r} already",
            hint=f"choose another name, or `tidemill pin remove {pin.name}` first",
        )
    try:
        if release is None:
            return len(_hold_picked(store, pin))
        Keeper(store).hold(release)
    except StoreError:
        store.remove(pin_name(pin.name))
        raise
    return 0


def _hold_picked(store: Store, pin: Pin) -> frozenset[str]:
    """Make sure that what an address picks and is there stays; what is gone is returned."""
    keeper = Keeper(store)
    keeper.learn()
    picked = Roots(store=store).picked(pin)
    keeper.keep(picked)
    return picked - read_blobs(store).keys()


def remove_pin(store: Store, name: str) -> None:
    """Take a pin away. Raises UsageError when there is none of that name."""
    if store.stat(pin_name(name)) is None:
        raise UsageError(f"there is no pin {name!r}", hint="see `tidemill pin list`")
    store.remove(pin_name(name))
