"""Which released artifacts make a text-to-image pipeline, and whether they fit together. Pure.

A pipeline is declared nowhere else: a model has one if its components have these names and their
MLIR takes and gives what fits. A second declaration of the same thing could disagree with the
artifacts; the artifacts cannot disagree with themselves.

================  =====================================  ==================================
``text-encoder``  ids [2, tokens]                        states [2, tokens, width]
``NAME-start``    noise                                  latents, sample, timestep, steps
``unet-cfg``      sample, timestep, states, guidance     prediction
``NAME-step``     latents, prediction, index             latents, sample, timestep
``vae-decode``    latents                                image [1, 3, height, width]
================  =====================================  ==================================

NAME is the sampler's, such as ``euler``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tidemill.address import Address
from tidemill.errors import UsageError
from tidemill.images.sampling import TYPES
from tidemill.images.signature import Shape, Signature
from tidemill.records import Artifact

_DIGITS = "0123456789"
#: Role → how many arguments and results its program has.
ARITY = {
    "text-encoder": (1, 1),
    "start": (1, 4),
    "unet-cfg": (4, 1),
    "step": (3, 3),
    "vae-decode": (1, 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a caller must know: how many tokens a prompt has, and the shape of the noise."""

    tokens: int
    noise: tuple[int, ...]


def choose_parts(
    released: Iterable[Artifact],
    *,
    model: str,
    target: str,
    dtype: str,
    sampler: str,
    axes: Sequence[str] = (),
) -> dict[str, str]:
    """Role → address of the one artifact that plays it.

    ``axes`` are parts of variant names, such as ``latent64``, which decide where a component has
    several variants. Raises UsageError that names what is missing, or what there is to choose from.
    """
    compiled = [Address.parse(one.address) for one in released if one.kind == "vmfb"]
    own = [one for one in compiled if one.model == model]
    if not own:
        models = ", ".join(sorted({one.model for one in compiled})) or "none"
        raise UsageError(f"the release has no model {model!r}", hint=f"it has: {models}")
    chosen = {}
    for role in ARITY:
        name = f"{sampler}-{role}" if role in {"start", "step"} else role
        fitting = [
            one
            for one in own
            if (one.component, one.target) == (name, target)
            and one.variant.partition("-")[0] == dtype
        ]
        wanted = f"{model}/{name}/{dtype}*/{target}"
        if not fitting:
            same = sorted(str(one) for one in own if one.component == name)
            targets = ", ".join(sorted({one.target for one in own}))
            others = ", ".join(sorted({one.component for one in own}))
            raise UsageError(
                f"the release has no {wanted}, which a pipeline needs",
                hint=f"of {name} it has {', '.join(same)}"
                if same
                else f"the model has {others}; its targets are {targets}",
            )
        chosen[role] = str(_the_one(fitting, axes, wanted=wanted))
    known = {part.rstrip(_DIGITS) for one in own for part in one.variant.split("-")[1:]}
    if odd := [axis for axis in axes if axis.rstrip(_DIGITS) not in known]:
        raise UsageError(
            f"no component of {model} has an axis of {', '.join(odd)}",
            hint=f"there are {', '.join(sorted(known)) or 'none'}",
        )
    return chosen


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


def check_fit(signatures: Mapping[str, Signature]) -> Sizes:
    """Whether these programs, by role, can call one another; what the caller must give.

    Raises UsageError with everything that does not fit.
    """
    if problems := [words for role in ARITY for words in _arguments(role, signatures[role])]:
        raise _unfit(problems)
    problems = [
        f"{what} is {_text(found)}, not {_text(wanted)}"
        for what, found, wanted in _links(signatures)
        if found != wanted
    ]
    tokens = signatures["text-encoder"].inputs[0].shape[-1]
    noise = signatures["start"].inputs[0].shape
    fixed = tuple(size for size in noise if size)
    if tokens is None or len(fixed) < len(noise):
        problems.append(f"the sizes of tokens ({tokens}) or noise ({_text(noise)}) are not fixed")
    if problems or tokens is None:
        raise _unfit(problems)
    return Sizes(tokens=tokens, noise=fixed)


def _links(signatures: Mapping[str, Signature]) -> Iterator[tuple[str, Shape, Shape]]:
    """What is to agree: words, the shape that is there, the shape that is needed."""
    (ids,), (states,) = _both(signatures["text-encoder"])
    (noise,), (begun, first, begun_at, steps) = _both(signatures["start"])
    (sample, timestep, given, guidance), (prediction,) = _both(signatures["unet-cfg"])
    (latents, predicted, index), (after, scaled, at) = _both(signatures["step"])
    (decoded,), (image,) = _both(signatures["vae-decode"])
    # One image, so two rows of text under guidance; a text encoder may take any number of them.
    yield "the number of prompts of text-encoder", ids[:1], (2 if ids[0] else None,)
    yield "the number of images", noise[:1], (1,)
    yield "start's latents", begun, noise
    yield "start's sample", first, sample
    yield "start's timestep", begun_at, timestep
    yield "start's number of steps", steps, (1,)
    yield "unet-cfg's text", given, (2, *states[1:])
    yield "unet-cfg's guidance", guidance, (1,)
    yield "unet-cfg's prediction", prediction, predicted
    yield "step's argument latents", latents, noise
    yield "step's argument index", index, (1,)
    yield "step's latents", after, noise
    yield "step's sample", scaled, sample
    yield "step's timestep", at, timestep
    yield "vae-decode's argument", decoded, noise
    yield "vae-decode's image", image[:2], (1, 3)


def _both(one: Signature) -> tuple[tuple[Shape, ...], tuple[Shape, ...]]:
    return tuple(each.shape for each in one.inputs), tuple(each.shape for each in one.outputs)


def _arguments(role: str, one: Signature) -> Iterator[str]:
    takes, gives = ARITY[role]
    if (len(one.inputs), len(one.outputs)) != (takes, gives):
        there = f"{len(one.inputs)} arguments and {len(one.outputs)} results"
        yield f"{role} has {there}, not {takes} and {gives}"
    for tensor in one.inputs:
        if tensor.dtype not in TYPES:
            yield f"{role} takes {tensor.dtype}; arrays can be {', '.join(sorted(TYPES))}"


def _text(shape: Shape) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def _unfit(problems: Sequence[str]) -> UsageError:
    return UsageError(
        f"the components do not make a pipeline: {'; '.join(problems)}",
        hint="tidemill/images/parts.py says what each of them must take and give",
    )
