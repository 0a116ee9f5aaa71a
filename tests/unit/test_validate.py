"""Validation of really compiled modules, in the child process under the toolchain's interpreter."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.modules import (
    BIAS,
    EVERY_TYPE,
    INPUT,
    LOOK_UP,
    TABLE,
    WEIGHT,
    Bench,
    Toolchain,
    linear,
)
from tidemill.errors import FailureClass
from tidemill.steps.work.dtypes import round_to
from tidemill.steps.work.protocol import ChildError

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def toolchain(toolchain_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Toolchain:
    return Toolchain(python=toolchain_python, folder=tmp_path_factory.mktemp("compiled"))


@pytest.fixture
def bench(toolchain: Toolchain, tmp_path: Path) -> Bench:
    made = Bench(toolchain=toolchain, work=tmp_path)
    exact = INPUT.astype(np.float64) @ WEIGHT.astype(np.float64) + BIAS.astype(np.float64)
    made.reference([(INPUT, "f32")], [(exact, "f32")])
    return made


def test_a_right_module_holds(bench: Bench, toolchain: Toolchain) -> None:
    verdict = bench.verdict(toolchain.compiled("linear", linear()))
    assert (verdict["holds"], verdict["reasons"], verdict["device"]) == (True, [], "local-task")
    assert verdict["device_name"] is None  # IREE has no name for the CPU
    assert verdict["summary"]["max_abs"] < 1e-6
    assert verdict["perturbations"]["missed"] == []


def test_a_verdict_says_what_it_holds_for_where_that_is_not_everything(
    bench: Bench, toolchain: Toolchain
) -> None:
    module = toolchain.compiled("linear", linear())
    assert "holds_for" not in bench.verdict(module)
    bound = "rows of equal length"
    assert bench.verdict(module, holds_for=bound)["holds_for"] == bound


def test_a_module_without_its_bias_does_not_hold_and_keeps_its_verdict(
    bench: Bench, toolchain: Toolchain
) -> None:
    text = linear(bias="arith.constant dense<0.0>")
    verdict = bench.verdict(toolchain.compiled("no_bias", text))
    assert verdict["holds"] is False
    assert [reason.partition(" exceeds ")[0] for reason in verdict["reasons"]] == [
        "sample s output0: relative L2 1.5e+00",
        "sample s output0: max abs 1.0e+00",
    ]


def test_a_module_with_one_weight_slightly_off_does_not_hold(
    bench: Bench, toolchain: Toolchain
) -> None:
    weight = WEIGHT.copy()
    weight[1, 1] *= 1.001
    assert not bench.verdict(toolchain.compiled("one_weight", linear(weight)))["holds"]


def test_parameters_come_from_the_archive(bench: Bench, toolchain: Toolchain) -> None:
    named = 'flow.tensor.constant #flow.parameter.named<"model"::"bias">'
    module = toolchain.compiled("parameters", linear(bias=named))
    archive = toolchain.archive("bias.irpa", "bias")
    exact = INPUT.astype(np.float64) @ WEIGHT.astype(np.float64) + 0.5
    bench.reference([(INPUT, "f32")], [(exact, "f32")])
    assert bench.verdict(module, parameters=archive)["holds"]
    wrong = toolchain.archive("other.irpa", "other")
    (bench.work / "out/verdict.json").unlink()
    error = bench.error(module, parameters=wrong)
    assert error.failure is FailureClass.COMPILE
    assert error.message.startswith("cannot start parameters.vmfb on local-task: ")
    assert "bias" in error.message


def test_every_element_type_goes_in_and_comes_out(bench: Bench, toolchain: Toolchain) -> None:
    values = np.array([[1.5, -2.25, 3.0], [0.125, 7.0, -0.5]])
    bench.dtype = "bf16"
    flags = np.array([True, False, True])
    bench.reference(
        [
            (round_to(values, "bf16"), "bf16"),
            (values.astype(np.float16), "f16"),
            (flags, "bool"),
            (np.array(21), "i64"),
        ],
        [
            (values * 2, "bf16"),
            (values * 2, "f16"),
            (~flags, "bool"),
            (np.array(42), "i64"),
        ],
    )
    verdict = bench.verdict(toolchain.compiled("every_type", EVERY_TYPE))
    outputs = verdict["samples"][0]["outputs"]
    assert [one["dtype"] for one in outputs] == ["bf16", "f16", "bool", "i64"]
    assert [one["max_abs"] for one in outputs] == [0.0] * 4
    assert outputs[0]["ulp"] == {"0": 6}
    assert verdict["holds"], verdict["reasons"]


def test_another_element_type_than_torch_gives_is_named(bench: Bench, toolchain: Toolchain) -> None:
    bench.dtype = "f16"
    exact = INPUT.astype(np.float64) @ WEIGHT.astype(np.float64) + BIAS.astype(np.float64)
    bench.reference([(INPUT, "f32")], [(exact, "f16")])
    reasons = bench.verdict(toolchain.compiled("linear", linear()))["reasons"]
    assert reasons == ["sample s output0: has element type f32, expected f16"]


def test_a_missing_output_is_named(bench: Bench, toolchain: Toolchain) -> None:
    bench.reference([(INPUT, "f32")], [(np.ones((3, 8)), "f32")] * 2)
    reasons = bench.verdict(toolchain.compiled("linear", linear()))["reasons"]
    assert reasons[0] == "sample s: 1 outputs came, 2 are expected"


@pytest.mark.parametrize(("shift", "equal"), [(2, 4), (1, 0)])
def test_greedy_tokens_are_decoded_through_the_module(
    bench: Bench, toolchain: Toolchain, shift: int, equal: int
) -> None:
    table = np.roll(np.eye(5, dtype=np.float32), shift, axis=1)
    module = toolchain.compiled(f"look_up{shift}", LOOK_UP.format(table=table.tolist()))
    greedy = {"tokens": 4, "masks": [], "expected": [[2, 4, 1, 3]], "torch": {}}
    bench.reference([(np.array([[3, 0]]), "i64")], [(TABLE[[[3, 0]]], "f32")], greedy=greedy)
    verdict = bench.verdict(module)
    assert verdict["greedy"]["tokens"] == 4
    assert verdict["greedy"]["equal"] == equal
    assert verdict["holds"] is (equal == 4)


def test_a_damaged_module_is_named(bench: Bench, toolchain: Toolchain) -> None:
    data = toolchain.compiled("linear", linear()).read_bytes()
    damaged = bench.work / "damaged.vmfb"
    damaged.write_bytes(data[: len(data) // 2])
    error = bench.error(damaged)
    assert error.failure is FailureClass.COMPILE
    assert error.message.startswith("cannot load damaged.vmfb: Error creating vm module")


def test_a_function_that_is_not_there_is_named(bench: Bench, toolchain: Toolchain) -> None:
    error = bench.error(toolchain.compiled("linear", linear()), function="prefill")
    assert error.message == "linear.vmfb has no function 'prefill'; it has main"
    assert error.failure is FailureClass.COMPILE


def test_a_module_for_another_device_needs_another_host(bench: Bench, toolchain: Toolchain) -> None:
    module = toolchain.compiled("for_vulkan", linear(), "--iree-hal-target-device=vulkan")
    error = bench.error(module)
    assert error.failure is FailureClass.HOST
    assert error.message.startswith("cannot start for_vulkan.vmfb on local-task: Error creating")


def test_a_driver_that_does_not_exist_is_named(bench: Bench, toolchain: Toolchain) -> None:
    error = bench.error(toolchain.compiled("linear", linear()), device="abacus")
    assert error == ChildError(
        failure=FailureClass.HOST,
        message="the IREE runtime has no driver 'abacus'; it has"
        " cuda, hip, local-sync, local-task, vulkan",
        hint="correct `device` of the target in manifests/targets.yaml",
    )


def test_a_device_that_is_not_here_is_a_matter_of_the_host(
    bench: Bench, toolchain: Toolchain
) -> None:
    error = bench.error(toolchain.compiled("linear", linear()), device="vulkan://no-such-device")
    assert error.failure is FailureClass.HOST
    assert error.message.startswith("there is no vulkan://no-such-device device here: Error")
    assert error.hint == (
        "run on a host that has this device; without one the target is unvalidated"
    )


def test_the_device_of_the_environment_is_the_one_that_runs(
    bench: Bench, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = toolchain.compiled("linear", linear())
    monkeypatch.setenv("TIDEMILL_DEVICE_URI", "local-task://no-such-device")
    error = bench.error(module)
    assert error.failure is FailureClass.HOST
    assert error.message.startswith("there is no local-task://no-such-device device here: Error")
    monkeypatch.setenv("TIDEMILL_DEVICE_URI", "local-task")
    assert bench.verdict(module)["device"] == "local-task"


def test_a_device_of_another_driver_than_the_targets_is_refused(
    bench: Bench, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMILL_DEVICE_URI", "hip://0")
    assert bench.error(toolchain.compiled("linear", linear())) == ChildError(
        failure=FailureClass.INFRASTRUCTURE,
        message="TIDEMILL_DEVICE_URI is hip://0, but the target's device is local-task",
        hint="unset TIDEMILL_DEVICE_URI: tidemill sets it itself",
    )


STATUSES = """
import json, sys
from tidemill.steps.work.runner import class_of
cases = json.load(sys.stdin)
json.dump([class_of(message, device=device) for device, message in cases], sys.stdout)
"""


def test_what_a_gpu_driver_says_is_a_matter_of_the_host_and_on_the_cpu_of_the_program(
    toolchain: Toolchain,
) -> None:
    troubles = [
        f"Error invoking function: c/x.c:1: {status}; the device is lost"
        for status in (
            *("ABORTED", "DATA_LOSS", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "UNKNOWN"),
            *("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "INCOMPATIBLE"),
        )
    ]
    answers = {}
    for device in ("hip://GPU-1", "vulkan", "local-task", ""):
        done = subprocess.run(
            [str(toolchain.python), "-c", STATUSES],
            input=json.dumps([[device, trouble] for trouble in troubles]),
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        answers[device] = json.loads(done.stdout)
    gpu = ["host"] * 6 + [None, "out-of-memory", "host"]
    cpu = [None] * 4 + ["host", None] + [None, "out-of-memory", "host"]
    assert answers == {"hip://GPU-1": gpu, "vulkan": gpu, "local-task": cpu, "": cpu}


def test_an_input_of_the_wrong_shape_is_a_crash(bench: Bench, toolchain: Toolchain) -> None:
    bench.reference([(np.ones((3, 5), np.float32), "f32")], [(np.ones((3, 8)), "f32")])
    error = bench.error(toolchain.compiled("linear", linear()))
    assert error.failure is FailureClass.CRASH
    assert error.message.startswith("the call failed: Error invoking function")
    assert "expected 4 but have 5" in error.message


def test_a_reference_of_another_dtype_is_refused(bench: Bench, toolchain: Toolchain) -> None:
    bench.dtype = "f16"
    error = bench.error(toolchain.compiled("linear", linear()))
    assert error.failure is FailureClass.INFRASTRUCTURE
    assert error.message == "the reference is for f32, the artifact is f16"


def test_a_reference_that_lost_a_file_is_refused(bench: Bench, toolchain: Toolchain) -> None:
    (bench.work / "s.output0.npy").unlink()
    error = bench.error(toolchain.compiled("linear", linear()))
    assert error.message == "the reference lacks its file s.output0.npy"


def test_a_torn_file_of_the_reference_is_named(bench: Bench, toolchain: Toolchain) -> None:
    path = bench.work / "s.output0.npy"
    path.write_bytes(path.read_bytes()[:-8])
    error = bench.error(toolchain.compiled("linear", linear()))
    assert error.message.startswith("the reference's file s.output0.npy cannot be read: ")


def test_a_contract_that_means_nothing_is_refused(bench: Bench, toolchain: Toolchain) -> None:
    numerics = {"absolute": {"max_abs": 1.0, "reason": ""}}
    error = bench.error(toolchain.compiled("linear", linear()), numerics=numerics)
    assert error == ChildError(
        failure=FailureClass.NUMERICS,
        message="an absolute tolerance needs a written reason",
        hint="correct `numerics` in the manifest",
    )


def test_a_vulkan_device_gives_its_results_back(bench: Bench, toolchain: Toolchain) -> None:
    module = toolchain.compiled("for_vulkan", linear(), "--iree-hal-target-device=vulkan")
    answer = bench.validate(module, device="vulkan")
    if isinstance(answer, ChildError) and answer.failure is FailureClass.HOST:
        pytest.skip(answer.message)
    verdict = bench.verdict(module, device="vulkan")
    assert verdict["holds"]
    assert verdict["device_name"]
