"""The targets and the table of renames against the compiler of the default toolchain."""

import fnmatch
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tidemill.manifest.targets import TargetsPart
from tidemill.toolchain.environment import Environment, require
from tidemill.toolchain.flags import known_flags, lint
from tidemill.toolchain.lock import read_lock
from tidemill.toolchain.probe import probe
from tidemill.toolchain.refused import HOST_CPU, OWN, READS, why_refused

pytestmark = pytest.mark.toolchain

WORKSPACE = Path(__file__).parents[2]
TARGETS = TargetsPart.model_validate(
    yaml.safe_load((WORKSPACE / "manifests/targets.yaml").read_text(encoding="utf-8"))
)
MATMUL = """
func.func @main(%a: tensor<64x128xf32>, %b: tensor<128x32xf32>) -> tensor<64x32xf32> {
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty() : tensor<64x32xf32>
  %out = linalg.fill ins(%zero : f32) outs(%empty : tensor<64x32xf32>) -> tensor<64x32xf32>
  %c = linalg.matmul ins(%a, %b : tensor<64x128xf32>, tensor<128x32xf32>)
                     outs(%out : tensor<64x32xf32>) -> tensor<64x32xf32>
  return %c : tensor<64x32xf32>
}
"""


@pytest.fixture(scope="module")
def environment() -> Environment:
    return require(WORKSPACE / ".tidemill", read_lock(WORKSPACE / "toolchains/default.lock"))


@pytest.mark.parametrize("target", sorted(TARGETS.targets))
def test_the_flags_of_every_target_compile_a_matrix_product(
    target: str, environment: Environment, tmp_path: Path
) -> None:
    version = environment.lock.version("iree-base-compiler")
    compiler = environment.tool("iree-compile")
    flags = TARGETS.targets[target].flags_for(version, name=target)
    linted = lint(flags, known=known_flags(compiler), renames=TARGETS.renames, version=version)
    assert (linted.problems, linted.notes) == ((), ())
    done = subprocess.run(
        [str(compiler), "-", "-o", str(tmp_path / "x.vmfb"), *linted.flags],
        input=MATMUL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "x.vmfb").stat().st_size > 4096


def test_every_rename_is_gone_from_this_compiler_and_its_replacement_is_there(
    environment: Environment,
) -> None:
    known = known_flags(environment.tool("iree-compile"))
    for rename in TARGETS.renames:
        assert rename.flag.lstrip("-") not in known
        if rename.replacement is not None:
            assert rename.replacement.lstrip("-").partition("=")[0] in known


#: Options that speak of files, by their help text, and neither read nor write one.
NO_FILE = {
    "cgscc-inline-replay-format",
    "dfa-max-path-length",
    "dse-memoryssa-path-check-limit",
    "filter-print-source-locs",
    "filter-save-modules",
    "gvn-hoist-max-bbs",
    "iree-llvmgpu-prefetch-num-stages",
    "lto-embed-bitcode",
    "profile-context-root",
    "profile-correlate",
    "sample-profile-inline-replay-format",
    "sbvec-allow-files",
}


def test_every_option_of_this_compiler_that_names_a_file_is_refused(
    environment: Environment,
) -> None:
    compiler = environment.tool("iree-compile")
    text = subprocess.run(
        [str(compiler), "--help-list-hidden"], capture_output=True, text=True, check=True
    ).stdout
    option = re.compile(r" {2,6}--?(?P<name>[\w.+-]+)[\[= ]*<(?P<kind>[^>]*)>\S* +- ?(?P<help>.*)")
    speaks = re.compile(
        r"file(name)?s?\b(?! is)|\bdirectory\b|\bpath\b|plugin library", re.IGNORECASE
    )
    numbers = {"int", "uint", "long", "ulong", "number"}
    named = {
        match["name"]
        for line in text.splitlines()
        if (match := option.match(line)) and match["kind"] not in numbers
        if speaks.search(f"{match['name'].replace('-profile', '')} {match['kind']}")
        or speaks.search(match["help"].replace("profile", ""))
    }
    assert len(named) > 70
    assert {name for name in named if not why_refused(name, "x")} <= NO_FILE


def test_every_refused_name_of_a_file_is_an_option_of_some_compiler_of_ours(
    environment: Environment,
) -> None:
    known = known_flags(environment.tool("iree-compile"))
    gone = {name for name in {**READS, **OWN, **HOST_CPU} if not fnmatch.filter(known, name)}
    assert gone == {"iree-cuda-libdevice-path", "iree-hip-bc-dir", "iree-opt-import-parameters"}


def test_the_real_runtime_is_asked_and_the_cpu_is_always_there(environment: Environment) -> None:
    devices = probe(environment)
    assert devices.absent(needs="none", chip="") == ""
    assert environment.tool("iree-run-module").parent.name == "_runtime_libs"
