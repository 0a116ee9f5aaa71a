"""Trying again, with growing, jittered waits, at most as long as it was said to be worth.

A server that names a time (``Retry-After``) is obeyed; one that names too long a time ends the
attempts at once, because a night's job is better off failing than sleeping.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from tidemill.sources.landing import infrastructure_error, say

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often, and how long. Seconds; ``longest`` bounds our own waits, ``asked`` a server's."""

    attempts: int = 6
    first: float = 1.0
    longest: float = 30.0
    asked: float = 330.0  # the hub's rate windows are five minutes long


class TransientError(Exception):
    """Something that may be better in a while; ``asked`` is the wait in seconds a server named."""

    def __init__(self, reason: str, *, asked: float | None = None) -> None:
        super().__init__(reason)
        self.asked = asked


def retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds to wait from a ``Retry-After`` header: a number or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())


def persevere(work: Callable[[], T], *, what: str, patience: Patience) -> T:
    """The result of ``work``, called again while it raises TransientError.

    Raises WorkError (infrastructure) when patience is at its end; other errors pass through.
    """

    def too_long(state: RetryCallState) -> bool:
        return (_asked(state) or 0.0) > patience.asked

    def wait(state: RetryCallState) -> float:
        grown = min(patience.longest, patience.first * 2.0 ** (state.attempt_number - 1))
        # Jitter, so that the jobs of one night do not come back at the same moment.
        own = grown * random.uniform(0.5, 1.0)  # noqa: S311  not a secret
        return max(own, _asked(state) or 0.0)

    def tell(state: RetryCallState) -> None:
        seconds = state.next_action.sleep if state.next_action else 0.0
        say(
            f"{what}: {_failure(state)}; attempt {state.attempt_number} of "
            f"{patience.attempts} failed, waiting {seconds:.1f} s"
        )

    tries = Retrying(
        retry=retry_if_exception_type(TransientError),
        stop=lambda state: stop_after_attempt(patience.attempts)(state) or too_long(state),
        wait=wait,
        before_sleep=tell,
        reraise=True,
    )
    try:
        return tries(work)
    except TransientError as error:
        made = tries.statistics["attempt_number"]
        asks = "" if error.asked is None else f"; the server asks to wait {error.asked:.0f} s"
        raise infrastructure_error(
            f"{what}: gave up after {made} attempts: {error}{asks}",
            hint="the server or the network failed, not the manifest: run again later",
        ) from error


def _failure(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _asked(state: RetryCallState) -> float | None:
    failure = _failure(state)
    return failure.asked if isinstance(failure, TransientError) else None
