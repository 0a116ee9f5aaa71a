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

from tidemill.errors import UsageError
from tidemill.images.choosing import choose
from tidemill.images.sampling import TYPES
from tidemill.images.signature import Shape, Signature
from tidemill.records import Artifact

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
    names = {role: f"{sampler}-{role}" if role in {"start", "step"} else role for role in ARITY}
    return choose(released, model=model, target=target, dtype=dtype, names=names, axes=axes)


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
