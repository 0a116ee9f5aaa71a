"""What a manifest says of a paged model, as sharktank's exporter is told."""

from dataclasses import replace
from typing import Any

import pytest

from tidemill.errors import WorkError
from tidemill.exporters.base import InputSpec, Spec
from tidemill.exporters.sharktank_spec import element_types, export_arguments, paged_of

FNUZ = "float8_e4m3fnuz"
SPEC = Spec(
    dtype="f32",
    options={},
    inputs=(
        InputSpec(name="prompt", dtype="i64", shape=(16, "seq")),
        InputSpec(name="lengths", dtype="i64", shape=(16,)),
        InputSpec(name="continuation", dtype="i64", shape=(16, "steps")),
    ),
    dynamic={},
    config={},
)


def spec(**options: Any) -> Spec:
    return replace(SPEC, options=options)


def arguments(*, narrowed: str, **options: Any) -> list[str]:
    one = spec(**options)
    files = {"irpa": "a.irpa", "mlir": "model.mlir", "config": "config.json"}
    return export_arguments(paged_of(one), element_types(one, narrowed=narrowed), files)


def test_the_seeds_export_command_but_for_the_flag_that_is_gone() -> None:
    assert arguments(narrowed=FNUZ, attention_kernel="sharktank") == [
        "--irpa-file=a.irpa",
        "--output-mlir=model.mlir",
        "--output-config=config.json",
        "--bs-prefill=16",
        "--bs-decode=16",
        "--activation-dtype=float32",
        f"--attention-dtype={FNUZ}",
        f"--kv-cache-dtype={FNUZ}",
        "--attention-kernel=sharktank",
        "--block-seq-stride=32",
        "--device-block-count=512",
        "--use-hf",
    ]


def test_attention_that_is_not_quantised_stays_in_the_models_type() -> None:
    found = arguments(narrowed="")
    assert "--attention-dtype=float32" in found
    assert "--kv-cache-dtype=float32" in found
    assert "--attention-kernel=torch" in found


def test_a_cache_may_be_half_as_wide() -> None:
    assert "--kv-cache-dtype=float16" in arguments(narrowed="", kv_cache_dtype="f16")


@pytest.mark.parametrize(
    ("narrowed", "options"),
    [
        ("", {"attention_dtype": "f8E4M3FNUZ"}),
        ("", {"kv_cache_dtype": "f8E4M3FN"}),
        (FNUZ, {"kv_cache_dtype": "f32"}),
        (FNUZ, {"attention_dtype": "f8E4M3FN"}),
    ],
)
def test_a_type_that_the_dataset_has_no_scales_for_is_refused(
    narrowed: str, options: dict[str, str]
) -> None:
    with pytest.raises(WorkError) as raised:
        element_types(spec(**options), narrowed=narrowed)
    assert "attention of this dataset is" in raised.value.message
    assert "quantize.attention" in raised.value.hint


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"attention_kernel": "flash"}, "options.attention_kernel is 'flash'"),
        ({"block_seq_stride": 0}, "options.block_seq_stride is 0"),
        ({"device_block_count": True}, "options.device_block_count is True"),
        ({"block_seq_stride": "32"}, "options.block_seq_stride is '32'"),
    ],
)
def test_an_option_that_means_nothing_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(WorkError) as raised:
        paged_of(spec(**options))
    assert said in raised.value.message


@pytest.mark.parametrize("inputs", [SPEC.inputs[:2], (), SPEC.inputs[::-1]])
def test_inputs_of_another_program_are_refused(inputs: tuple[InputSpec, ...]) -> None:
    with pytest.raises(WorkError, match=r"^the inputs are "):
        paged_of(replace(SPEC, inputs=inputs))


def test_a_batch_that_is_not_fixed_is_refused() -> None:
    inputs = tuple(replace(one, shape=("batch", *one.shape[1:])) for one in SPEC.inputs)
    with pytest.raises(WorkError) as raised:
        paged_of(replace(SPEC, inputs=inputs))
    assert "batch is a number" in raised.value.hint
