"""The loop from tokens to a picture: five programs, called in the right order. numpy only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tidemill.errors import ToolError
from tidemill.images.signature import Signature
from tidemill.pixels.quality import Array

Call = Callable[[Sequence[Array]], list[Array]]
#: Hears of every array by name, and of the step after which it is so (0: before the first).
Watch = Callable[[str, int, Array], None]

#: Element types as signatures name them, of those that numpy has.
TYPES = {"f32": np.float32, "f16": np.float16, "i64": np.int64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Programs and their signatures by role (``parts``)."""

    programs: Mapping[str, Call]
    signatures: Mapping[str, Signature]

    def call(self, role: str, *arrays: Array) -> list[Array]:
        """The results of one program; each argument gets the element type that it declares."""
        types = [TYPES[one.dtype] for one in self.signatures[role].inputs]
        given = [array.astype(kind) for array, kind in zip(arrays, types, strict=True)]
        return self.programs[role](given)


def first_noise(seed: int, shape: Sequence[int]) -> Array:
    """Values of variance 1 from numpy's generator, float32; equal wherever numpy is equal."""
    return np.random.default_rng(seed).standard_normal(tuple(shape), dtype=np.float32)


def make_image(
    pipeline: Pipeline,
    *,
    ids: Array,
    noise: Array,
    guidance: float,
    watch: Watch = lambda *_: None,
    total: Callable[[int], None] = lambda _: None,
) -> Array:
    """The decoded image [1, 3, height, width].

    ``ids`` [2, tokens]: without the prompt, then with it. ``total`` hears once of the number of
    steps, which the programs know. Raises ToolError when latents stop being finite.
    """
    (states,) = pipeline.call("text-encoder", ids)
    watch("states", 0, states)
    latents, sample, timestep, count = pipeline.call("start", noise)
    watch("latents", 0, latents)
    steps, scale = int(count[0]), np.array([guidance])
    total(steps)
    for done in range(1, steps + 1):
        (prediction,) = pipeline.call("unet-cfg", sample, timestep, states, scale)
        index = np.array([done - 1])
        latents, sample, timestep = pipeline.call("step", latents, prediction, index)
        if not np.isfinite(latents).all():
            raise ToolError(
                f"the latents are not finite after step {done} of {steps}",
                hint="try f32; if that is finite, the network overflows in the type asked for",
            )
        watch("prediction", done, prediction)
        watch("latents", done, latents)
    (image,) = pipeline.call("vae-decode", latents)
    watch("image", steps, image)
    return image
