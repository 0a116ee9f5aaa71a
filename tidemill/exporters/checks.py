"""Checks of what a manifest says, which several families make."""

from tidemill.errors import FailureClass, WorkError
from tidemill.exporters.base import Spec


def require_inputs(spec: Spec, wanted: tuple[str, ...]) -> None:
    """Raises WorkError unless the manifest's inputs are ``wanted``, in this order."""
    names = tuple(item.name for item in spec.inputs)
    if names != wanted:
        raise WorkError(
            FailureClass.EXPORT,
            f"with these options the inputs are {', '.join(wanted)}, not {', '.join(names)}",
            hint="correct `inputs` in the manifest; their order counts",
        )


def choice(spec: Spec, option: str, *, among: tuple[str, ...]) -> str:
    """The value of a text option; the first of ``among`` where the manifest says nothing."""
    value = spec.options.get(option, among[0])
    if value not in among:
        raise WorkError(
            FailureClass.EXPORT,
            f"options.{option} is {value!r}; it can be {' or '.join(among)}",
            hint="correct it in the manifest",
        )
    return str(value)
