"""What a pipeline is."""

from dataclasses import dataclass, field

from tidemill.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A choice of models and targets, the channel that a whole run moves, and its policy.

    ``models`` or ``targets`` None means all of them. ``channel`` empty: nothing is published.
    """

    name: str
    about: str
    models: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    channel: str = ""
    policy: Policy = field(default_factory=Policy)
