"""A release as iree-test-suites' tests: what the JSON says, and what is refused."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.unit.exports import (
    CPU,
    FLAGS,
    GPU,
    GPU_FLAGS,
    OUT,
    VARIANT,
    Out,
    add_module,
    add_variant,
    add_verdict,
    open_exports,
    written,
)
from tests.unit.shop import Shop
from tidemill.client.suite_json import check_base_url

BASE = "https://mill.blob.core.windows.net/artifacts/nightly/7"
REFERENCE = f"files/{VARIANT}/reference"
#: 0.01, and half an epsilon of float16 for 2.0, the largest that is expected.
F16_THRESHOLD = (0.01 + 2.0**-11 * 2.0) * (1 + 2.0**-20)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return open_exports(tmp_path)


def read(folder: Path, file: str) -> Any:
    return json.loads((folder / file).read_text(encoding="utf-8"))


def bits(folder: Path, file: str, dtype: type) -> Any:
    return np.load(folder / "artifacts" / file).astype(dtype)


def test_a_module_is_its_flags_and_its_mlir(shop: Shop, tmp_path: Path) -> None:
    written(shop, "tiny", to=tmp_path / "out")
    for address, flags in ((CPU, FLAGS), (GPU, GPU_FLAGS)):
        assert read(tmp_path / "out", f"modules/{address}.json") == {
            "mlir": f"files/{VARIANT}/model.mlir",
            "compiler_flags": flags,
        }


def test_the_published_vmfb_lies_where_the_suite_looks_for_cached_ones(
    shop: Shop, tmp_path: Path
) -> None:
    written(shop, CPU, to=tmp_path / "out")
    folder = tmp_path / "out/artifacts"
    module = next(one for one in shop.artifacts if one.file == f"{CPU}/model.vmfb")
    assert (folder / f"modules/{CPU}/module.vmfb").read_bytes() == shop.blob(module).read_bytes()
    info = read(folder, f"modules/{CPU}/compilation_info.json")
    assert info == {"stream-aggregate": {"execution": {"dispatch-count": 7}}}


def test_a_quality_test_names_files_relatively_and_takes_its_threshold_from_the_verdict(
    shop: Shop, tmp_path: Path
) -> None:
    done = written(shop, CPU, to=tmp_path / "out")
    (one,) = done.modules
    assert one.tests == tuple(
        f"{CPU}/{name}.json" for name in ("compstat", "benchmark", "quality-noise")
    )
    assert one.notes == ()
    test = read(tmp_path / "out", f"tests/{CPU}/quality-noise.json")
    threshold = test["run_args"].pop()
    assert test == {
        "type": "quality",
        "markers": ["cpu"],
        "modules": [CPU],
        "weights": [],
        "inputs": [{"value": f"@{REFERENCE}/noise.input0.npy"}],
        "expected_outputs": [{"value": f"@{REFERENCE}/noise.expected0.f16.npy"}],
        "run_args": [
            "--device=local-task",
            "--function=forward",
            f"--parameters=model=files/{VARIANT}/model.irpa",
            "--expected_rtol=0",
        ],
    }
    name, _, value = threshold.partition("=")
    assert name == "--expected_f16_threshold"
    assert float(value) == pytest.approx(F16_THRESHOLD, rel=1e-8)
    expected = np.load(tmp_path / f"out/artifacts/{REFERENCE}/noise.expected0.f16.npy")
    assert expected.dtype == np.float16
    assert np.array_equal(expected, OUT.expected.astype(np.float16))


def test_the_other_tests_hold_counts_and_no_time(shop: Shop, tmp_path: Path) -> None:
    written(shop, CPU, to=tmp_path / "out")
    quality = read(tmp_path / "out", f"tests/{CPU}/quality-noise.json")
    benchmark = read(tmp_path / "out", f"tests/{CPU}/benchmark.json")
    assert benchmark == {
        **{name: quality[name] for name in ("markers", "modules", "weights", "inputs")},
        "type": "benchmark",
        "run_args": quality["run_args"][:3],
    }
    size = (tmp_path / f"out/artifacts/modules/{CPU}/module.vmfb").stat().st_size
    assert read(tmp_path / "out", f"tests/{CPU}/compstat.json") == {
        "type": "compstat",
        "markers": ["cpu"],
        "module": CPU,
        "golden_dispatch_count": 7,
        "golden_binary_size": size,
    }


def test_a_target_without_a_host_is_held_to_the_verdict_of_its_variant(
    shop: Shop, tmp_path: Path
) -> None:
    (one,) = written(shop, GPU, to=tmp_path / "out").modules
    assert (one.status, one.notes) == ("unvalidated", ())
    test = read(tmp_path / "out", f"tests/{GPU}/quality-noise.json")
    assert test["markers"] == ["hip", "gfx942"]
    assert test["run_args"][:2] == ["--device=hip", "--function=forward"]
    assert test["run_args"][-1].startswith("--expected_f16_threshold=0.0109")


def test_with_a_base_url_every_file_is_below_it(shop: Shop, tmp_path: Path) -> None:
    done = written(shop, CPU, to=tmp_path / "out", base_url=f"{BASE}/")
    assert "--cache-modules" not in done.command
    assert read(tmp_path / "out", f"modules/{CPU}.json")["mlir"] == f"{BASE}/{VARIANT}/model.mlir"
    test = read(tmp_path / "out", f"tests/{CPU}/quality-noise.json")
    reference = f"{BASE}/{VARIANT}/reference"
    assert test["weights"] == [
        {"type": "url", "scope": "model", "url": f"{BASE}/{VARIANT}/model.irpa"}
    ]
    assert test["inputs"] == [{"url": f"{reference}/noise.input0.npy"}]
    assert test["expected_outputs"] == [{"url": f"{reference}/noise.expected0.f16.npy"}]
    assert not any("parameters" in argument for argument in test["run_args"])
    urls = [test["weights"][0]["url"], test["inputs"][0]["url"], test["expected_outputs"][0]["url"]]
    for url in urls:
        assert (tmp_path / "out/artifacts/files" / url.removeprefix(f"{BASE}/")).is_file()


def test_what_the_suite_compiles_may_be_larger_by_the_names_of_its_files(
    shop: Shop, tmp_path: Path
) -> None:
    written(shop, CPU, to=tmp_path / "out", base_url=BASE)
    size = (tmp_path / f"out/artifacts/modules/{CPU}/module.vmfb").stat().st_size
    test = read(tmp_path / "out", f"tests/{CPU}/compstat.json")
    assert test["golden_binary_size"] == size + (3 + 3) * 256


@pytest.mark.parametrize("last", ["", "/", "/nightly/7"])
def test_a_container_or_a_folder_in_it_is_a_base_url(last: str) -> None:
    check_base_url(f"https://mill.blob.core.windows.net/artifacts{last}")


def test_outputs_with_different_limits_are_compared_in_different_runs(tmp_path: Path) -> None:
    outs = (
        Out(name="wide", expected=np.array([4.0, 1.0]), dtype="f16", limit=0.5),
        Out(name="exact", expected=np.array([3, 9]), dtype="i64", limit=0.0),
        Out(name="narrow", expected=np.array([1.0, 0.1]), dtype="f16", limit=0.01),
        Out(name="whole", expected=np.array([1.0], np.float32), dtype="f32", limit=1e-6),
    )
    written(open_exports(tmp_path, *outs), CPU, to=tmp_path / "out")
    tests = [read(tmp_path / "out", f"tests/{CPU}/quality-noise-{turn}.json") for turn in (1, 2)]
    compared = [[one["value"] for one in test["expected_outputs"]] for test in tests]
    assert compared == [
        [
            f"@{REFERENCE}/noise.expected0.f16.npy",
            f"@{REFERENCE}/noise.expected1.npy",
            "(ignored)",
            f"@{REFERENCE}/noise.expected3.npy",
        ],
        ["(ignored)", "(ignored)", f"@{REFERENCE}/noise.expected2.f16.npy", "(ignored)"],
    ]
    thresholds = [[one for one in test["run_args"] if "threshold" in one] for test in tests]
    # One that is compared in the type of the reference is not rounded.
    assert thresholds == [
        ["--expected_f16_threshold=0.501953604", "--expected_f32_threshold=1.00000095e-06"],
        ["--expected_f16_threshold=0.0104882913"],
    ]


def test_bfloat16_is_given_as_bare_elements_with_their_shape(tmp_path: Path) -> None:
    out = Out(name="y", expected=np.array([[1.0, 3.0]]), dtype="bf16", limit=0.1)
    shop = open_exports(tmp_path, out)
    written(shop, CPU, to=tmp_path / "out")
    test = read(tmp_path / "out", f"tests/{CPU}/quality-noise.json")
    file = f"{REFERENCE}/noise.expected0.bf16.bin"
    assert test["expected_outputs"] == [{"value": f"1x2xbf16=@{file}"}]
    assert (tmp_path / "out/artifacts" / file).read_bytes() == b"\x80\x3f\x40\x40"
    written(shop, CPU, to=tmp_path / "web", base_url=BASE)
    test = read(tmp_path / "web", f"tests/{CPU}/quality-noise.json")
    url = f"{BASE}/{file.removeprefix('files/')}"
    assert test["expected_outputs"] == [{"url": url, "value": "1x2xbf16"}]


def test_tools_that_know_no_tolerance_get_none(tmp_path: Path) -> None:
    bf16 = Out(name="brain", expected=np.array([1.0]), dtype="bf16", limit=0.1)
    shop = open_exports(tmp_path, OUT, bf16, compiler="3.11.0")
    (one,) = written(shop, CPU, to=tmp_path / "out").modules
    assert one.notes == (
        "sample noise: output brain is not compared: these tools compare bf16 bit by bit",
    )
    test = read(tmp_path / "out", f"tests/{CPU}/quality-noise.json")
    assert test["expected_outputs"][1] == {"value": "(ignored)"}
    assert not any("rtol" in argument for argument in test["run_args"])


def test_what_an_older_compiler_made_is_for_older_tools(shop: Shop, tmp_path: Path) -> None:
    (at,) = (n for n, one in enumerate(shop.artifacts) if one.file == f"{GPU}/model.vmfb")
    shop.artifacts[at] = msgspec.structs.replace(
        shop.artifacts[at], status="carried", compiler="3.11.0"
    )
    shop.publish()
    written(shop, "tiny", to=tmp_path / "out")
    tests = [read(tmp_path / "out", f"tests/{one}/quality-noise.json") for one in (CPU, GPU)]
    assert ["--expected_rtol=0" in test["run_args"] for test in tests] == [True, False]


def test_an_integer_that_may_be_off_is_not_compared_bit_by_bit(tmp_path: Path) -> None:
    out = Out(name="ids", expected=np.array([3, 9]), dtype="i64", limit=1.0)
    (one,) = written(open_exports(tmp_path, out), CPU, to=tmp_path / "out").modules
    assert one.notes == (
        "sample noise: output ids is not compared: it is i64, which the tools compare bit by bit,"
        " and may be off by 1",
    )
    assert [Path(name).name for name in one.tests] == ["compstat.json", "benchmark.json"]


def test_without_a_verdict_there_is_no_threshold_and_it_is_said(shop: Shop, tmp_path: Path) -> None:
    add_variant(shop, "tiny/net/f32", (OUT,))
    add_module(shop, "tiny/net/f32/cpu", FLAGS, status="unvalidated", reason="not asked for")
    shop.publish()
    (one,) = written(shop, "tiny/net/f32/cpu", to=tmp_path / "out").modules
    assert one.tests == ("tiny/net/f32/cpu/compstat.json",)
    assert one.notes == (
        "no quality test and no benchmark: nothing of its variant was validated with this"
        " reference",
    )


def test_a_verdict_of_another_reference_says_nothing(shop: Shop, tmp_path: Path) -> None:
    add_variant(shop, "tiny/net/f32", (OUT,))
    add_module(shop, "tiny/net/f32/cpu", FLAGS)
    add_verdict(shop, "tiny/net/f32/cpu", (OUT,), reference={"reference.json": "0" * 64})
    shop.publish()
    (one,) = written(shop, "tiny/net/f32/cpu", to=tmp_path / "out").modules
    assert "nothing of its variant was validated with this reference" in one.notes[0]


def test_a_release_without_a_reference_has_compstat_tests_only(shop: Shop, tmp_path: Path) -> None:
    shop.artifacts = [one for one in shop.artifacts if one.kind != "reference"]
    shop.publish()
    (one,) = written(shop, CPU, to=tmp_path / "out").modules
    assert one.tests == (f"{CPU}/compstat.json",)
    assert one.notes == ("no quality test and no benchmark: the release has no reference for it",)


def test_a_module_that_is_called_several_times_is_left_out_and_it_is_said(
    shop: Shop, tmp_path: Path
) -> None:
    address = "tiny/net/f32"
    reference = add_variant(shop, address, (OUT,))
    add_module(shop, f"{address}/cpu", FLAGS)
    called = {"driver": "cached_lm"}
    add_verdict(shop, f"{address}/cpu", (OUT,), reference=reference, called=called)
    add_module(shop, f"{address}/gfx942", GPU_FLAGS, status="unvalidated", reason="no such host")
    shop.publish()
    modules = written(shop, address, to=tmp_path / "out").modules
    assert [one.tests for one in modules] == [
        (f"{address}/{target}/compstat.json",) for target in ("cpu", "gfx942")
    ]
    assert {one.notes for one in modules} == {
        (
            "no quality test and no benchmark: its samples are several calls (driver cached_lm),"
            " and the suite makes one",
        )
    }


def test_counts_of_other_bytes_under_the_same_key_are_not_taken(shop: Shop, tmp_path: Path) -> None:
    (at,) = (n for n, one in enumerate(shop.artifacts) if one.file == f"{CPU}/model.vmfb")
    digest = shop.store.put_bytes(b"again")
    shop.artifacts[at] = msgspec.structs.replace(shop.artifacts[at], digest=digest, size=5)
    shop.publish()
    written(shop, CPU, to=tmp_path / "out")
    test = read(tmp_path / "out", f"tests/{CPU}/compstat.json")
    assert (test.get("golden_dispatch_count"), test["golden_binary_size"]) == (None, 5)


def test_a_dot_in_a_target_is_no_suffix_to_the_suite(shop: Shop, tmp_path: Path) -> None:
    address = f"{VARIANT}/sm8.9"
    add_module(shop, address, ["--iree-hal-target-device=cuda", "--iree-cuda-target=sm_89"])
    shop.publish()
    written(shop, address, to=tmp_path / "out")
    test = read(tmp_path / "out", f"tests/{address}/quality-noise.json")
    assert test["markers"] == ["cuda", "sm_89"]
    (name,) = test["modules"]
    assert (tmp_path / "out/modules" / Path(name).with_suffix(".json")).is_file()
    assert (tmp_path / "out/artifacts/modules" / name / "module.vmfb").is_file()


def test_flags_that_name_no_device_leave_nothing_to_run(shop: Shop, tmp_path: Path) -> None:
    add_module(shop, f"{VARIANT}/odd", ["--iree-hal-target-backends=odd"])
    shop.publish()
    (one,) = written(shop, f"{VARIANT}/odd", to=tmp_path / "out").modules
    assert one.notes == ("no quality test and no benchmark: its compile flags name no device",)
    test = read(tmp_path / "out", f"tests/{VARIANT}/odd/compstat.json")
    assert test["markers"] == ["unknown"]


def test_every_sample_has_a_quality_test_and_the_first_is_timed(shop: Shop, tmp_path: Path) -> None:
    address, names = "tiny/net/f32", ("one", "two")
    reference = add_variant(shop, address, (OUT,), samples=names)
    add_module(shop, f"{address}/cpu", FLAGS)
    add_verdict(shop, f"{address}/cpu", (OUT,), reference=reference, samples=names)
    shop.publish()
    (one,) = written(shop, address, to=tmp_path / "out").modules
    assert [Path(name).stem for name in one.tests] == [
        "compstat", "benchmark", "quality-one", "quality-two",
    ]  # fmt: skip


def test_an_output_that_no_verdict_names_is_not_compared(shop: Shop, tmp_path: Path) -> None:
    other = Out(name="z", expected=OUT.expected, dtype="f16", limit=0.1)
    reference = add_variant(shop, "tiny/net/f32", (OUT, other))
    add_module(shop, "tiny/net/f32/cpu", FLAGS)
    add_verdict(shop, "tiny/net/f32/cpu", (OUT,), reference=reference)
    shop.publish()
    (one,) = written(shop, "tiny/net/f32", to=tmp_path / "out").modules
    assert one.notes == (
        "sample noise: output z is not compared: no verdict says how far off it may be",
    )


def test_a_program_without_parameters_is_given_none(shop: Shop, tmp_path: Path) -> None:
    shop.artifacts = [one for one in shop.artifacts if one.kind != "irpa"]
    shop.publish()
    for name, base in (("out", ""), ("web", BASE)):
        written(shop, CPU, to=tmp_path / name, base_url=base)
        test = read(tmp_path / name, f"tests/{CPU}/quality-noise.json")
        assert test["weights"] == []
        assert not any("--parameters" in argument for argument in test["run_args"])
