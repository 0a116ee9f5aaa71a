"""A release as iree-test-suites' tests, run with the toolchain's own tools and with that suite.

The few lines here that run a test do what the suite's README says a test means. The suite's own
runner is used where TIDEMILL_TORCH_MODELS names a checkout of it, which may have its requirements
installed in ``.env`` as its README proposes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.exports import FLAGS
from tests.workbench import Workbench, toolchain
from tidemill.client.npy import rewrite
from tidemill.steps.work.dtypes import round_to, save_array

pytestmark = pytest.mark.toolchain

SUITE = os.environ.get("TIDEMILL_TORCH_MODELS", "")
BASE = "https://mill.blob.core.windows.net/artifacts/7"
EXPECTED = "artifacts/files/tiny/net/f32/reference/noise.expected0.f32.npy"
QUALITY = "tiny/net/f32/cpu/quality-noise.json"


@pytest.fixture
def folder(built: Workbench, tmp_path: Path) -> Path:
    """What is exported for this machine's processor, in another folder than it was written to."""
    exported(built, tmp_path / "first")
    return (tmp_path / "first").rename(tmp_path / "moved")


def exported(bench: Workbench, to: Path, *options: str) -> Any:
    command = ("torch-models", "*/*/*/cpu", "--channel", "small", "--to", str(to), "--any-runtime")
    return bench.call(*command, "--json", *options).json


def written(folder: Path, kind: str) -> dict[str, Any]:
    """Name → test, of one type."""
    root = folder / "tests"
    found = {
        path.relative_to(root).as_posix(): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(root.rglob("*.json"))
    }
    return {name: test for name, test in found.items() if test["type"] == kind}


def run(tool: str, folder: Path, test: Any, *more: str) -> subprocess.CompletedProcess[str]:
    """Run what a test says, in the runner's working folder, on the cached module."""
    (module,) = test["modules"]
    command = [str(toolchain().tool(tool)), f"--module=modules/{module}/module.vmfb", *more]
    command += [f"--input={one['value']}" for one in test["inputs"]]
    command += [f"--expected_output={one['value']}" for one in test.get("expected_outputs", ())]
    command += test["run_args"]
    return subprocess.run(
        command, cwd=folder / "artifacts", capture_output=True, text=True, check=False, timeout=120
    )


def flip(path: Path, *, at: int) -> None:
    """Change one byte, counted from the end."""
    data = bytearray(path.read_bytes())
    data[-at] ^= 0x40
    path.write_bytes(data)


def test_every_quality_test_passes_with_the_plain_tool(folder: Path) -> None:
    tests = written(folder, "quality")
    assert sorted(tests) == [QUALITY, QUALITY.replace("tiny", "twin")]
    for test in tests.values():
        done = run("iree-run-module", folder, test)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        assert "[SUCCESS] all function outputs matched" in done.stdout


def test_a_spoiled_expected_output_fails_its_test_and_no_other(folder: Path) -> None:
    flip(folder / EXPECTED, at=1)
    codes = {
        name: run("iree-run-module", folder, test).returncode
        for name, test in written(folder, "quality").items()
    }
    assert {name for name, code in codes.items() if code} == {QUALITY}


def test_twice_what_the_contract_allows_fails(folder: Path) -> None:
    test = written(folder, "quality")[QUALITY]
    (threshold,) = (one for one in test["run_args"] if "threshold" in one)
    allowed = float(threshold.partition("=")[2])
    # Outputs of tanh: eight epsilon of a float32 below one, and half of one for rounding.
    assert 0 < allowed < 9 * 2.0**-23
    expected = np.load(folder / EXPECTED)
    expected[0, 0] += 2 * allowed
    np.save(folder / EXPECTED, expected)
    assert run("iree-run-module", folder, test).returncode != 0


def test_every_benchmark_runs(folder: Path) -> None:
    tests = written(folder, "benchmark")
    assert len(tests) == 2
    for test in tests.values():
        quick = ("--benchmark_format=json", "--benchmark_min_time=1x")
        done = run("iree-benchmark-module", folder, test, *quick)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        assert json.loads(done.stdout)["benchmarks"]


def test_what_the_suite_compiles_itself_is_within_its_compstat_test(
    built: Workbench, tmp_path: Path
) -> None:
    exported(built, tmp_path / "out", "--base-url", BASE)
    place = tmp_path / ("a-folder-with-a-long-name-" * 5)
    place.mkdir()
    statistics = place / "compilation_info.json"
    for test in written(tmp_path / "out", "compstat").values():
        definition = json.loads((tmp_path / f"out/modules/{test['module']}.json").read_bytes())
        data = tmp_path / "out/artifacts/files" / definition["mlir"].removeprefix(f"{BASE}/")
        (place / "model.mlir").write_bytes(data.read_bytes())
        compile_module(place, definition["compiler_flags"], statistics)
        counted = json.loads(statistics.read_bytes())["stream-aggregate"]["execution"]
        assert counted["dispatch-count"] == test["golden_dispatch_count"]
        assert (place / "model.vmfb").stat().st_size <= test["golden_binary_size"]


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_the_tool_compares_with_what_a_reference_is_rewritten_to(
    tmp_path: Path, dtype: str
) -> None:
    tensor = f"tensor<2x3x{dtype}>"
    body = f"%1 = arith.addf %0, %0 : {tensor}\n return %1 : {tensor}"
    text = f"func.func @main(%0: {tensor}) -> {tensor} {{\n {body}\n}}\n"
    (tmp_path / "model.mlir").write_text(text, encoding="utf-8")
    compile_module(tmp_path, FLAGS, tmp_path / "statistics.json")
    values = np.array([[1.1, -0.3, 0.0], [np.inf, -np.inf, np.nan]])
    save_array(tmp_path / "x.npy", values, dtype=dtype)
    for name, expected, code in (
        ("right", 2 * round_to(values, dtype).astype(np.float64), 0),
        ("wrong", 2.1 * round_to(values, dtype).astype(np.float64), 1),
        ("finite", np.nan_to_num(2 * values), 1),
    ):
        np.save(tmp_path / "reference.npy", np.asfortranarray(expected))
        rewrite(tmp_path / "reference.npy", tmp_path / f"{name}.npy", dtype=dtype)
        form = "2x3xbf16=" if dtype == "bf16" else ""
        command = [
            str(toolchain().tool("iree-run-module")),
            f"--module={tmp_path / 'model.vmfb'}",
            "--device=local-task",
            "--function=main",
            f"--input=@{tmp_path / 'x.npy'}",
            f"--expected_output={form}@{tmp_path / name}.npy",
            "--expected_rtol=0",
            f"--expected_{dtype}_threshold=0.001",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == code, f"{name}: {done.stdout}\n{done.stderr}"
        assert ("does not match the expected" in done.stdout) == bool(code)


def compile_module(place: Path, flags: Sequence[str], statistics: Path) -> None:
    command = [
        str(toolchain().tool("iree-compile")),
        str(place / "model.mlir"),
        *flags,
        "--iree-scheduling-dump-statistics-format=json",
        f"--iree-scheduling-dump-statistics-file={statistics}",
        "-o",
        str(place / "model.vmfb"),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


@pytest.mark.skipif(not SUITE, reason="TIDEMILL_TORCH_MODELS names no checkout of iree-test-suites")
def test_the_suites_own_runner_passes_and_fails_where_an_output_is_spoiled(
    built: Workbench, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    command = exported(built, folder)["command"]
    assert "6 passed" in suite(command, expect=0)
    flip(folder / EXPECTED, at=1)
    out = suite(command, expect=1)
    assert "1 failed, 5 passed" in out
    assert [line for line in out.splitlines() if line.startswith("FAILED ") and QUALITY in line]


def suite(command: Sequence[str], *, expect: int) -> str:
    own = Path(SUITE) / ".env/bin/python"
    python = str(own if own.exists() else sys.executable)
    tools = toolchain().tool("iree-run-module").parent, toolchain().tool("iree-compile").parent
    environment = {**os.environ, "PYTHONPATH": SUITE, "COLUMNS": "200"}
    environment["PATH"] = os.pathsep.join([*map(str, tools), os.environ["PATH"]])
    done = subprocess.run(
        [python, "-m", *command, "-p", "no:tidemill", "-p", "no:cacheprovider", "-rA"],
        cwd=SUITE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == expect, f"{done.stdout}\n{done.stderr}"
    return done.stdout
