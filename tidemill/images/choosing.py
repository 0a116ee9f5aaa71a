"""Which released programs play the parts of something larger than one program. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from tidemill.address import Address
from tidemill.errors import UsageError
from tidemill.records import Artifact

_DIGITS = "0123456789"


def choose(
    released: Iterable[Artifact],
    *,
    model: str,
    target: str,
    dtype: str,
    names: Mapping[str, str],
    axes: Sequence[str] = (),
) -> dict[str, str]:
    """Role → address of the one artifact that plays it; ``names`` are role → component.

    ``axes`` are parts of variant names, such as ``latent64``, which decide where a component has
    several variants. Raises UsageError that names what is missing, or what there is to choose from.
    """
    compiled = [Address.parse(one.address) for one in released if one.kind == "vmfb"]
    own = [one for one in compiled if one.model == model]
    if not own:
        models = ", ".join(sorted({one.model for one in compiled})) or "none"
        raise UsageError(f"the release has no model {model!r}", hint=f"it has: {models}")
    chosen = {}
    for role, name in names.items():
        fitting = [
            one
            for one in own
            if (one.component, one.target) == (name, target)
            and one.variant.partition("-")[0] == dtype
        ]
        wanted = f"{model}/{name}/{dtype}*/{target}"
        if not fitting:
            raise _absent(own, name, wanted=wanted)
        chosen[role] = str(_the_one(fitting, axes, wanted=wanted))
    known = {part.rstrip(_DIGITS) for one in own for part in one.variant.split("-")[1:]}
    if odd := [axis for axis in axes if axis.rstrip(_DIGITS) not in known]:
        raise UsageError(
            f"no component of {model} has an axis of {', '.join(odd)}",
            hint=f"there are {', '.join(sorted(known)) or 'none'}",
        )
    return chosen


def _absent(own: Sequence[Address], name: str, *, wanted: str) -> UsageError:
    same = sorted(str(one) for one in own if one.component == name)
    targets = ", ".join(sorted({one.target for one in own}))
    others = ", ".join(sorted({one.component for one in own}))
    return UsageError(
        f"the release has no {wanted}, which a pipeline needs",
        hint=f"of {name} it has {', '.join(same)}"
        if same
        else f"the model has {others}; its targets are {targets}",
    )


def _the_one(fitting: Sequence[Address], axes: Sequence[str], *, wanted: str) -> Address:
    asked = [one for one in fitting if _has(one.variant.split("-")[1:], axes)]
    if not asked:
        names = ", ".join(one.variant for one in fitting)
        raise UsageError(
            f"no variant of {wanted} is {' and '.join(axes)}", hint=f"there are {names}"
        )
    if len(asked) > 1:
        names = ", ".join(one.variant for one in asked)
        raise UsageError(
            f"{wanted} are several: {names}", hint="decide with --axis, as in --axis latent64"
        )
    return asked[0]


def _has(parts: Sequence[str], axes: Sequence[str]) -> bool:
    """Whether a variant has every asked size of the axes that it has at all."""
    names = {part.rstrip(_DIGITS) for part in parts}
    return all(axis in parts for axis in axes if axis.rstrip(_DIGITS) in names)
