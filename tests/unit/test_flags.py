"""Flags are checked against the compiler's own list, and renamed ones are translated by a table."""

from pathlib import Path

import pytest
import yaml

from tidemill.errors import ToolError
from tidemill.manifest.targets import RenamePart, TargetsPart
from tidemill.toolchain.flags import Problem, Values, known_flags, lint, parse_help
from tidemill.toolchain.refused import HOST_CPU, OWN, READS

WORKSPACE = Path(__file__).parents[2]
HELP = """\
OVERVIEW: IREE compilation driver

OPTIONS:
  -h                                   - Alias for --help
  --iree-opt-level=<optimization level> - Global optimization level
  --iree-opt-const-eval                - Enables eager evaluation
                                         At optimization level O0 the default is false
  --iree-execution-model=<value>       - Specifies the execution model
    =host-only                         -   Host-local code only
    =async-external                    -   Full HAL
  --iree-input-type=<string>           - Specifies the input program representation:
                                         =none          - No input dialect transformation.
  IT block support
      --arm-default-it                 - Generate any type of IT block
  --iree-rocm-target=<string>          - ROCM target
  --iree-rocm-waves-per-eu=<int>       - Optimization hint
  --iree-llvmgpu-prefetch-num-stages=<value> - Number of stages
  --amdgpu-use-native[=<string>]       - Comma separated list

Library options:
"""
KNOWN = parse_help(HELP)
RENAMES = (
    RenamePart(flag="--iree-hip-target", replacement="--iree-rocm-target", since="3.12"),
    RenamePart(flag="--iree-hip-bc-dir", replacement="--iree-rocm-bc-dir", since="3.12"),
    RenamePart(
        flag="--iree-llvmgpu-enable-prefetch",
        replacement="--iree-llvmgpu-prefetch-num-stages=2",
        since="3.11",
        note="0 or 1 stages switch it off",
    ),
    RenamePart(
        flag="--iree-vulkan-target-triple", replacement=None, since="3.0", note="name the GPU"
    ),
)


def problem_with(flag: str) -> str:
    linted = lint([flag], known=KNOWN, renames=RENAMES, version="3.13.0")
    (problem,) = linted.problems
    assert problem.flag == flag
    return problem.message


def test_a_help_text_gives_every_option_with_its_values() -> None:
    assert parse_help(HELP) == {
        "h": Values(),
        "iree-opt-level": Values(kind="optimization level"),
        "iree-opt-const-eval": Values(),
        "iree-execution-model": Values(kind="value", choices=("host-only", "async-external")),
        "iree-input-type": Values(kind="string"),
        "arm-default-it": Values(),
        "iree-rocm-target": Values(kind="string"),
        "iree-rocm-waves-per-eu": Values(kind="int"),
        "iree-llvmgpu-prefetch-num-stages": Values(kind="value"),
        "amdgpu-use-native": Values(kind="string"),
    }


def test_flags_that_the_compiler_knows_pass_unchanged_and_in_order() -> None:
    flags = (
        "--iree-rocm-target=gfx942",
        "-iree-opt-level=O3",
        "--iree-opt-const-eval=false",
        "--iree-opt-const-eval",
        "--iree-rocm-waves-per-eu=-2",
        "--iree-execution-model=async-external",
        "--amdgpu-use-native",
    )
    linted = lint(flags, known=KNOWN, renames=RENAMES, version="3.13.0")
    assert (linted.flags, linted.notes, linted.problems) == (flags, (), ())


def test_a_renamed_flag_is_translated_with_its_value_and_noted() -> None:
    linted = lint(
        ["--iree-hip-target=gfx942", "--iree-llvmgpu-enable-prefetch=true"],
        known=KNOWN,
        renames=RENAMES,
        version="3.13.0",
    )
    assert linted.flags == ("--iree-rocm-target=gfx942", "--iree-llvmgpu-prefetch-num-stages=2")
    assert linted.notes == (
        "--iree-hip-target=gfx942 is written --iree-rocm-target=gfx942 for iree-compile 3.13.0",
        "--iree-llvmgpu-enable-prefetch=true is written --iree-llvmgpu-prefetch-num-stages=2"
        " for iree-compile 3.13.0",
    )
    assert linted.problems == ()


def test_a_flag_that_the_compiler_still_knows_is_not_translated() -> None:
    known = {**KNOWN, "iree-hip-target": Values(kind="string")}
    linted = lint(["--iree-hip-target=x"], known=known, renames=RENAMES, version="3.11.0")
    assert (linted.flags, linted.notes) == (("--iree-hip-target=x",), ())


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        (
            "--iree-opt-levl=O3",
            "iree-compile 3.13.0 has no flag --iree-opt-levl; nearest: --iree-opt-level",
        ),
        ("--frobnicate", "iree-compile 3.13.0 has no flag --frobnicate"),
        (
            "--iree-vulkan-target-triple=rdna3-unknown-linux",
            "--iree-vulkan-target-triple is gone since iree-compile 3.0: name the GPU",
        ),
        (
            "--iree-hip-bc-dir=x",
            "iree-compile 3.13.0 knows neither --iree-hip-bc-dir"
            " nor its replacement --iree-rocm-bc-dir",
        ),
        (
            "--iree-llvmgpu-enable-prefetch=false",
            "--iree-llvmgpu-enable-prefetch is gone since iree-compile 3.11;"
            " write --iree-llvmgpu-prefetch-num-stages in its place: 0 or 1 stages switch it off",
        ),
        ("--iree-opt-level=O9", "--iree-opt-level=O9: expected O0, O1, O2 or O3"),
        ("--iree-opt-level", "--iree-opt-level needs a value: --iree-opt-level=…"),
        ("--iree-opt-const-eval=maybe", "--iree-opt-const-eval=maybe: expected one of true, false"),
        ("--iree-rocm-waves-per-eu=x", "--iree-rocm-waves-per-eu=x: expected an integer"),
        (
            "--iree-execution-model=fast",
            "--iree-execution-model=fast: expected one of host-only, async-external",
        ),
        ("model.mlir", "model.mlir: a flag begins with --; write --name=value as one item"),
    ],
)
def test_a_flag_that_the_compiler_would_refuse_is_explained(flag: str, message: str) -> None:
    assert problem_with(flag) == message


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        (
            "--iree-codegen-tuning-spec-path=spec.mlir",
            "--iree-codegen-tuning-spec-path reads a file that is not part of the key;"
            " leave it out",
        ),
        (
            "--iree-codegen-transform-dialect-library=lib.mlir",
            "--iree-codegen-transform-dialect-library reads a file that is not part of the key;"
            " leave it out",
        ),
        (
            "--iree-rocm-bc-dir=/opt/rocm",
            "--iree-rocm-bc-dir reads a file that is not part of the key;"
            " leave it out: the compiler brings its own",
        ),
        (
            "-iree-parameter-import=a.irpa",
            "--iree-parameter-import reads a file that is not part of the key;"
            " leave it out: parameters come from the pack step",
        ),
        (
            "--iree-hal-substitute-executable-object=a=b.o",
            "--iree-hal-substitute-executable-object reads a file that is not part of the key;"
            " leave it out: executables come from the model alone",
        ),
        ("-o", "-o is tidemill's own: what comes out of the compiler is one VMFB"),
        (
            "--compile-to=flow",
            "--compile-to is tidemill's own: what comes out of the compiler is one VMFB",
        ),
        (
            "--iree-hal-dump-executable-files-to=x",
            "--iree-hal-dump-executable-files-to is tidemill's own: it leaves files beside the"
            " VMFB; to look into a compilation, run the command of its log",
        ),
        (
            "--iree-scheduling-dump-statistics-format=csv",
            "--iree-scheduling-dump-statistics-format is tidemill's own:"
            " the compile step asks for these numbers itself",
        ),
        (
            "--iree-llvmcpu-target-cpu=host",
            "--iree-llvmcpu-target-cpu=host names the build host's own CPU, which a key cannot"
            " hold: name a CPU such as x86-64-v3",
        ),
        (
            "--iree-llvmcpu-target-cpu=native",
            "--iree-llvmcpu-target-cpu=native names the build host's own CPU, which a key cannot"
            " hold: name a CPU such as x86-64-v3",
        ),
        (
            "--iree-llvmcpu-target-cpu-features=host",
            "--iree-llvmcpu-target-cpu-features=host names the build host's own CPU, which a key"
            " cannot hold: name a CPU such as x86-64-v3",
        ),
    ],
)
def test_a_flag_that_a_key_cannot_hold_is_refused_though_the_compiler_takes_it(
    flag: str, message: str
) -> None:
    known = {flag.lstrip("-").partition("=")[0]: Values(kind="string")}
    linted = lint([flag], known=known, renames=(), version="3.13.0")
    assert linted.problems == (Problem(flag=flag, message=message),)


def test_a_renamed_flag_is_refused_under_its_new_name() -> None:
    known = {"iree-rocm-bc-dir": Values(kind="string")}
    (problem,) = lint(
        ["--iree-hip-bc-dir=x"], known=known, renames=RENAMES, version="3.13.0"
    ).problems
    assert problem == Problem(
        flag="--iree-hip-bc-dir=x",
        message="--iree-rocm-bc-dir reads a file that is not part of the key;"
        " leave it out: the compiler brings its own",
    )


def test_a_cpu_that_is_named_is_no_matter_of_the_host() -> None:
    flags = ("--iree-llvmcpu-target-cpu=x86-64-v3", "--iree-llvmcpu-target-cpu-features=+avx2")
    known = {flag[2:].partition("=")[0]: Values(kind="string") for flag in flags}
    linted = lint(flags, known=known, renames=(), version="3.13.0")
    assert (linted.flags, linted.problems) == (flags, ())


def test_no_flag_is_refused_for_two_reasons() -> None:
    assert READS.keys().isdisjoint(OWN)
    assert (READS.keys() | OWN.keys()).isdisjoint(HOST_CPU)


def test_every_problem_of_a_list_is_reported() -> None:
    linted = lint(
        ["--a", "--iree-opt-const-eval", "--b"], known=KNOWN, renames=(), version="3.13.0"
    )
    assert [problem.flag for problem in linted.problems] == ["--a", "--b"]


def test_the_answer_is_kept_per_binary_and_a_damaged_cache_is_ignored(tmp_path: Path) -> None:
    compiler = tmp_path / "iree-compile"
    compiler.write_text("#!/bin/sh\necho '  --one-flag   - x'\n")
    compiler.chmod(0o755)
    cache = tmp_path / "flags.json"
    assert list(known_flags(compiler, cache=cache)) == ["one-flag"]
    cache.write_text(cache.read_text().replace("one-flag", "kept-flag"))
    assert list(known_flags(compiler, cache=cache)) == ["kept-flag"]
    cache.write_text(cache.read_text()[:20])
    assert list(known_flags(compiler, cache=cache)) == ["one-flag"]
    compiler.write_text("#!/bin/sh\necho '  --another-flag   - x'\n")
    assert list(known_flags(compiler, cache=cache)) == ["another-flag"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("flags")] == [
        "flags.json"
    ]


def test_a_compiler_that_fails_says_how_to_rebuild_the_toolchain(tmp_path: Path) -> None:
    compiler = tmp_path / "iree-compile"
    compiler.write_text("#!/bin/sh\nexit 9\n")
    compiler.chmod(0o755)
    with pytest.raises(ToolError) as caught:
        known_flags(compiler)
    assert caught.value.message.startswith(f"{compiler} does not answer: Command ")
    assert caught.value.hint == "rebuild it: tidemill toolchain sync --force"


def test_the_table_of_renames_names_each_flag_once_and_translates_in_one_step() -> None:
    raw = yaml.safe_load((WORKSPACE / "manifests/targets.yaml").read_text(encoding="utf-8"))
    renames = TargetsPart.model_validate(raw).renames
    old = [rename.flag for rename in renames]
    new = {rename.replacement.partition("=")[0] for rename in renames if rename.replacement}
    assert len(set(old)) == len(old)
    assert new.isdisjoint(old)
    assert all(rename.replacement or rename.note for rename in renames)
