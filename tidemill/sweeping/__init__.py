"""``gc``: what is kept and why (``roots``), and the removal of the rest (``sweeper``)."""

from tidemill.sweeping.roots import Roots, read_locks
from tidemill.sweeping.sweeper import Plan, Step, Sweeper, Swept

__all__ = ["Plan", "Roots", "Step", "Sweeper", "Swept", "read_locks"]
