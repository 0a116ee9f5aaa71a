"""The tool ignores flags that it does not know, so all are checked against its own list."""

from pathlib import Path

import pytest

from tidemill.errors import ToolError
from tidemill.steps.work.benchmark_command import TOOL, Call, arguments, own_flags
from tidemill.toolchain.flags import Values
from tidemill.toolchain.tool_flags import check_tool_flags, parse_flags, tool_flags

HELP = """\
# 👻 IREE: iree-benchmark-module
  --agents_md
      Prints guidance.

# Displays command line usage information.
# --help

# --flagfile=[path]
# WARNING: setting this flag directly is not recommended; use
# --task_topology_max_group_count= instead.
--task_topology_group_count=0
--hip_use_streams=true
--vulkan_dispatch_abi="all"
# --module=...
# --device=...
# --input=...
# --device_profiling_mode is nonempty. The output is written by tooling
--function=""
# --parameters=...
--batch_size=1
--parameter_mode="file"

benchmark [--benchmark_list_tests={true|false}]
          [--benchmark_min_time=`<integer>x` OR `<float>s` ]
          [--benchmark_repetitions=<num_repetitions>]
          [--benchmark_out=<filename>]
          [--benchmark_out_format=<json|console|csv>]
          [--v=<verbosity>]
"""
KNOWN = parse_flags(HELP)


def problems(*flags: str, own: tuple[str, ...] = ()) -> list[str]:
    return check_tool_flags(flags, own=own, known=KNOWN, tool=TOOL, version="3.13.0")


def test_a_help_text_gives_flags_and_no_sentences_about_them() -> None:
    assert set(KNOWN) == {
        "help", "flagfile", "task_topology_group_count", "hip_use_streams", "vulkan_dispatch_abi",
        "module", "device", "input", "function", "parameters", "batch_size", "parameter_mode",
        "benchmark_list_tests", "benchmark_min_time", "benchmark_repetitions", "benchmark_out",
        "benchmark_out_format", "v",
    }  # fmt: skip
    assert KNOWN["hip_use_streams"] == Values()
    assert KNOWN["batch_size"] == Values(kind="int")
    assert KNOWN["vulkan_dispatch_abi"] == Values(kind="string")


def test_a_flag_that_the_tool_would_ignore_is_refused_by_name() -> None:
    assert problems("--bogus_flag=1") == [f"{TOOL} 3.13.0 has no flag --bogus_flag"]
    assert problems("--hip_use_stream=true") == [
        f"{TOOL} 3.13.0 has no flag --hip_use_stream; nearest: --hip_use_streams"
    ]


def test_a_value_that_the_flag_cannot_have_is_refused() -> None:
    assert problems("--hip_use_streams=maybe") == [
        "--hip_use_streams=maybe: expected one of true, false"
    ]


@pytest.mark.parametrize(
    "flag",
    ["--batch_size=4", "--benchmark_repetitions=9", "--input=1xi64", "--help", "--flagfile=x"],
)
def test_what_is_measured_and_where_it_goes_is_not_for_flags(flag: str) -> None:
    (problem,) = problems(flag)
    assert problem.startswith(f"{flag.partition('=')[0]} cannot be given: ")


def test_a_known_flag_passes() -> None:
    assert problems("--hip_use_streams=false", "--parameter_mode=preload") == []


def test_our_own_flags_are_held_against_the_list_too() -> None:
    assert problems(own=own_flags()) == []
    older = {name: values for name, values in KNOWN.items() if name != "benchmark_min_time"}
    (problem,) = check_tool_flags((), own=own_flags(), known=older, tool=TOOL, version="3.9.0")
    assert problem.startswith(f"{TOOL} 3.9.0 has no flag --benchmark_min_time")
    assert problem.endswith("(tidemill gives it: take another version)")


def test_every_argument_of_a_call_is_one_of_our_own_flags() -> None:
    call = Call(function="decode", inputs=("1xi64", "@x.npy"), repetitions=3, seconds=1, threads=2)
    given = arguments(
        call, device="hip://0", module=Path("m.vmfb"), parameters=Path("p.irpa"), flags=("--v=1",),
        out=Path("o.json"),
    )  # fmt: skip
    assert given == [
        "--module=m.vmfb", "--device=hip://0", "--parameters=model=p.irpa", "--function=decode",
        "--input=1xi64", "--input=@x.npy", "--benchmark_repetitions=3", "--benchmark_min_time=1s",
        "--benchmark_out=o.json", "--benchmark_out_format=json", "--v=1",
    ]  # fmt: skip
    names = {flag.partition("=")[0] for flag in own_flags()}
    assert {flag.partition("=")[0] for flag in given} - {"--v"} <= names


def test_threads_are_counted_on_the_host_alone() -> None:
    call = Call(function="main", inputs=(), repetitions=3, seconds=0.5, threads=2)
    one = {"module": Path("m"), "parameters": None, "flags": (), "out": Path("o")}
    assert "--task_topology_group_count=2" in arguments(call, device="local-task", **one)  # type: ignore[arg-type]
    assert not any("topology" in flag for flag in arguments(call, device="cuda://0", **one))  # type: ignore[arg-type]


def test_a_tool_that_lists_nothing_is_an_error(tmp_path: Path) -> None:
    tool = tmp_path / TOOL
    tool.write_text("#!/bin/sh\necho nothing to say\n")
    tool.chmod(0o755)
    with pytest.raises(ToolError, match="lists no flag"):
        tool_flags(tool)
    with pytest.raises(ToolError, match="does not answer"):
        tool_flags(tmp_path / "absent")
