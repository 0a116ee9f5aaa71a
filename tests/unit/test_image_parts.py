"""Which artifacts make a pipeline, whether they fit, and the loop over them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tidemill.errors import ToolError, UsageError
from tidemill.images.files import read_array
from tidemill.images.parts import check_fit, choose_parts
from tidemill.images.sampling import Pipeline, first_noise, make_image
from tidemill.images.signature import Signature, TensorType, read_signature
from tidemill.records import Artifact

NAMES = ("text-encoder", "euler-start", "unet-cfg", "euler-step", "vae-decode")
NOISE = (1, 4, 8, 8)


def floats(*shape: int | None) -> TensorType:
    return TensorType("f32", shape)


LATENTS, ONE = floats(*NOISE), floats(1)
COUNT = TensorType("i64", (1,))
FITTING = {
    "text-encoder": Signature((TensorType("i64", (None, 77)),), (floats(None, 77, 32),)),
    "start": Signature((LATENTS,), (LATENTS, LATENTS, ONE, COUNT)),
    "unet-cfg": Signature((LATENTS, ONE, floats(2, 77, 32), ONE), (LATENTS,)),
    "step": Signature((LATENTS, LATENTS, COUNT), (LATENTS, LATENTS, ONE)),
    "vae-decode": Signature((LATENTS,), (floats(1, 3, 64, 64),)),
}


def released(*addresses: str) -> list[Artifact]:
    """A VMFB for each address, and the MLIR that all targets share."""
    return [
        Artifact(
            address=address, kind=kind, file=f"{address}/{kind}", digest="", size=0, key="k",
            status="validated",
        )
        for address in addresses
        for kind in ("vmfb", "mlir")
    ]  # fmt: skip


def chosen(*addresses: str, **changes: Any) -> dict[str, str]:
    asked = {"model": "sd", "target": "cpu", "dtype": "f32", "sampler": "euler", **changes}
    return choose_parts(released(*addresses), **asked)


SIZES = ["sd/text-encoder/f32/cpu", *(f"sd/{name}/f32-latent8/cpu" for name in NAMES[1:])]


def test_the_parts_are_found_by_their_names() -> None:
    others = [f"sd/{name}/f16-latent8/cpu" for name in NAMES]
    others += ["sd/unet-cfg/f32-latent8/gfx942", "sd/ddim-step/f32-latent8/cpu"]
    found = chosen(*SIZES, *others)
    assert list(found) == ["text-encoder", "start", "unet-cfg", "step", "vae-decode"]
    assert list(found.values()) == SIZES


def test_an_axis_decides_between_variants() -> None:
    larger = [one.replace("latent8", "latent16") for one in SIZES[1:]]
    with pytest.raises(UsageError) as caught:
        chosen(*SIZES, *larger)
    several = "sd/euler-start/f32*/cpu are several: f32-latent8, f32-latent16"
    assert caught.value.message == several
    found = chosen(*SIZES, *larger, axes=("latent16",))
    # The text encoder has one variant, which has no such axis.
    assert list(found.values()) == [SIZES[0], *larger]


def test_several_axes_decide_together() -> None:
    many = [
        f"sd/unet-cfg/f32-batch{batch}-latent{size}/cpu"
        for batch, size in ((1, 8), (1, 16), (2, 8))
    ]
    rest = [one for one in SIZES if "unet-cfg" not in one]
    assert chosen(*rest, *many, axes=("batch1", "latent8"))["unet-cfg"] == many[0]


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ("latent9", "no variant of sd/euler-start/f32*/cpu is latent9"),
        ("length8", "no component of sd has an axis of length8"),
    ],
)
def test_an_axis_that_is_not_there_is_told(axis: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen(*SIZES, axes=(axis,))
    assert caught.value.message == said


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"model": "sdxl"}, "the release has no model 'sdxl'", "it has: sd"),
        (
            {"sampler": "ddim"},
            "the release has no sd/ddim-start/f32*/cpu, which a pipeline needs",
            "the model has euler-start, euler-step, text-encoder, unet-cfg, vae-decode;"
            " its targets are cpu",
        ),
        (
            {"dtype": "f3"},
            "the release has no sd/text-encoder/f3*/cpu, which a pipeline needs",
            "",
        ),
    ],
)
def test_what_is_missing_is_named(changes: dict[str, str], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen(*SIZES, **changes)
    assert caught.value.message == message
    assert caught.value.hint.startswith(hint)


def test_programs_that_fit_tell_what_the_caller_gives() -> None:
    sizes = check_fit(FITTING)
    assert (sizes.tokens, sizes.noise) == (77, NOISE)


def altered(role: str, side: str, place: int, /, tensor: TensorType) -> dict[str, Signature]:
    """The fitting programs with one argument or result changed."""
    tensors = list(getattr(FITTING[role], side))
    tensors[place] = tensor
    return {**FITTING, role: replace(FITTING[role], **{side: tuple(tensors)})}


SMALL = floats(1, 4, 4, 4)


@pytest.mark.parametrize(
    ("role", "side", "place", "tensor", "said"),
    [
        ("text-encoder", "inputs", 0, TensorType("i64", (1, 77)), "prompts of text-encoder is [1]"),
        ("text-encoder", "inputs", 0, TensorType("i64", (2, None)), "tokens (None) or noise"),
        (
            "text-encoder",
            "outputs",
            0,
            floats(None, 77, 64),
            "text is [2, 77, 32], not [2, 77, 64]",
        ),
        ("start", "outputs", 0, SMALL, "start's latents is [1, 4, 4, 4], not [1, 4, 8, 8]"),
        ("start", "outputs", 1, SMALL, "start's sample is"),
        ("start", "outputs", 2, floats(2), "start's timestep is [2], not [1]"),
        ("start", "outputs", 3, TensorType("i64", ()), "start's number of steps is [], not [1]"),
        ("unet-cfg", "inputs", 0, SMALL, "start's sample is [1, 4, 8, 8], not [1, 4, 4, 4]"),
        ("unet-cfg", "inputs", 2, floats(1, 77, 32), "unet-cfg's text is [1, 77, 32], not [2, 77,"),
        ("unet-cfg", "inputs", 3, floats(2), "unet-cfg's guidance is [2], not [1]"),
        ("unet-cfg", "inputs", 1, TensorType("bf16", (1,)), "unet-cfg takes bf16; arrays can be"),
        ("unet-cfg", "outputs", 0, SMALL, "unet-cfg's prediction is"),
        ("step", "inputs", 0, SMALL, "step's argument latents is"),
        ("step", "inputs", 2, TensorType("i64", (2,)), "step's argument index is [2], not [1]"),
        ("step", "outputs", 0, SMALL, "step's latents is"),
        ("step", "outputs", 1, SMALL, "step's sample is"),
        ("step", "outputs", 2, floats(2), "step's timestep is"),
        ("vae-decode", "inputs", 0, SMALL, "vae-decode's argument is"),
        ("vae-decode", "outputs", 0, floats(1, 1, 64, 64), "image is [1, 1], not [1, 3]"),
    ],
)
def test_one_shape_that_does_not_fit_is_told(
    role: str, side: str, place: int, tensor: TensorType, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check_fit(altered(role, side, place, tensor))
    assert caught.value.message.startswith("the components do not make a pipeline: ")
    assert said in caught.value.message


def test_another_number_of_arguments_is_told() -> None:
    plain = replace(FITTING["unet-cfg"], inputs=FITTING["unet-cfg"].inputs[:3])
    with pytest.raises(UsageError, match="unet-cfg has 3 arguments and 1 results, not 4 and 1"):
        check_fit({**FITTING, "unet-cfg": plain})


def test_two_images_at_a_time_are_told() -> None:
    with pytest.raises(UsageError, match=r"the number of images is \[2\], not \[1\]"):
        check_fit(altered("start", "inputs", 0, floats(2, 4, 8, 8)))


def test_a_signature_is_read_from_mlir(tmp_path: Path) -> None:
    text = (
        "module @module {\n  util.global private @__auto.weight : tensor<2xf32>\n"
        "  func.func @main(%arg0: !torch.vtensor<[?,77],si64>, %arg1: !torch.vtensor<[],f16>)"
        " -> (!torch.vtensor<[?,77,32],f32>, !torch.vtensor<[1],i1>) attributes {torch.a} {\n"
    )
    (tmp_path / "model.mlir").write_text(text)
    found = read_signature(tmp_path / "model.mlir")
    assert found == Signature(
        (TensorType("i64", (None, 77)), TensorType("f16", ())),
        (TensorType("f32", (None, 77, 32)), TensorType("bool", (1,))),
    )


def test_a_module_without_main_has_no_signature(tmp_path: Path) -> None:
    (tmp_path / "model.mlir").write_text("module @module {\n}\n")
    with pytest.raises(UsageError, match="has no function @main"):
        read_signature(tmp_path / "model.mlir")


class Scripted:
    """Programs that follow a formula, and remember what they were given."""

    def __init__(self, *, steps: int) -> None:
        self.given: list[tuple[str, list[Any]]] = []
        self.steps = steps

    def __getitem__(self, role: str) -> Any:
        def call(arrays: Sequence[Any]) -> list[Any]:
            self.given.append((role, list(arrays)))
            return list(self.answer(role, *arrays))

        return call

    def answer(self, role: str, first: Any, *rest: Any) -> Sequence[Any]:
        match role:
            case "text-encoder":
                return [np.zeros((2, 77, 32), np.float32)]
            case "start":
                return first * 10, first, np.array([900.5], np.float32), np.array([self.steps])
            case "unet-cfg":
                return [first + rest[2]]
            case "step":
                return first - rest[0], first / 10, 800.5 - rest[1]
        return [np.concatenate([first[:, :3]], 1)]


def test_the_programs_are_called_in_order_each_with_what_the_last_gave() -> None:
    programs = Scripted(steps=2)
    signatures = altered("unet-cfg", "inputs", 1, TensorType("f16", (1,)))
    heard: list[tuple[str, int]] = []
    totals: list[int] = []
    image = make_image(
        Pipeline(programs=programs, signatures=signatures),  # type: ignore[arg-type]
        ids=np.zeros((2, 77), np.int32),
        noise=np.ones(NOISE),
        guidance=3.0,
        watch=lambda name, step, _: heard.append((name, step)),
        total=totals.append,
    )
    order = ["text-encoder", "start", *(["unet-cfg", "step"] * 2), "vae-decode"]
    assert [role for role, _ in programs.given] == order
    # Scaled latents are 1 at first, and guidance makes 4 of them: 10 - 4, then 6 - (1 + 3).
    assert image.tolist() == np.full((1, 3, 8, 8), 2.0).tolist()
    assert [given[1].tolist() for role, given in programs.given if role == "unet-cfg"] == [
        [900.5],
        [800.5],
    ]
    assert [given[2].tolist() for role, given in programs.given if role == "step"] == [[0], [1]]
    assert [one.dtype.name for one in programs.given[2][1]] == [
        "float32", "float16", "float32", "float32",
    ]  # fmt: skip
    assert programs.given[0][1][0].dtype == np.int64
    assert totals == [2]
    latents = [("latents", 0), ("prediction", 1), ("latents", 1), ("prediction", 2), ("latents", 2)]
    assert heard == [("states", 0), *latents, ("image", 2)]


def test_latents_that_overflow_end_the_walk() -> None:
    with pytest.raises(ToolError, match="the latents are not finite after step 1 of 3"):
        make_image(
            Pipeline(
                programs=Overflowing(steps=3),  # type: ignore[arg-type]
                signatures=FITTING,
            ),
            ids=np.zeros((2, 77)),
            noise=np.ones(NOISE),
            guidance=1.0,
        )


class Overflowing(Scripted):
    """A network that overflows at once."""

    def answer(self, role: str, first: Any, *rest: Any) -> Sequence[Any]:
        return [first * np.inf] if role == "unet-cfg" else super().answer(role, first, *rest)


def test_noise_follows_from_the_seed() -> None:
    noise = first_noise(7, NOISE)
    assert noise.shape == NOISE
    assert noise.dtype == np.float32
    assert np.array_equal(noise, first_noise(7, NOISE))
    assert not np.array_equal(noise, first_noise(8, NOISE))
    assert abs(noise.std() - 1) < 0.2


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words.npy").write_text("words")
    with pytest.raises(UsageError, match=r"words\.npy is no array"):
        read_array(tmp_path / "words.npy", shape=(2,), what="ids")
    (tmp_path / "nothing.npy").write_bytes(b"")
    with pytest.raises(UsageError, match=r"nothing\.npy is no array"):
        read_array(tmp_path / "nothing.npy", shape=(2,), what="ids")
