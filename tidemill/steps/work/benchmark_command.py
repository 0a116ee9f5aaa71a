"""The command line of ``iree-benchmark-module``. Pure; standard library only.

That tool takes flags that it does not know for granted and goes on without them, so every flag that
stands here, or in a manifest, is held against its own ``--help`` before anything runs
(``toolchain.tool_flags``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TOOL = "iree-benchmark-module"
SCOPE = "model"
#: The driver of the host's own processor, whose threads are counted.
LOCAL = "local-task"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is measured: ``repetitions`` of a function, each of at least ``seconds``.

    ``inputs`` are as the tool takes them; ``threads`` counts on the host's own processor only.
    """

    function: str
    inputs: Sequence[str]
    repetitions: int
    seconds: float
    threads: int


def arguments(
    call: Call,
    *,
    device: str,
    module: Path,
    parameters: Path | None,
    flags: Sequence[str],
    out: Path,
) -> list[str]:
    """Everything after the name of the program."""
    return [
        f"--module={module}",
        f"--device={device}",
        *([f"--parameters={SCOPE}={parameters}"] if parameters else []),
        f"--function={call.function}",
        *(f"--input={one}" for one in call.inputs),
        f"--benchmark_repetitions={call.repetitions}",
        f"--benchmark_min_time={call.seconds:g}s",
        f"--benchmark_out={out}",
        "--benchmark_out_format=json",
        *([f"--task_topology_group_count={call.threads}"] if driver_of(device) == LOCAL else []),
        *flags,
    ]


def driver_of(device: str) -> str:
    """The driver of a device's URI."""
    return device.partition("://")[0]


def own_flags() -> tuple[str, ...]:
    """Every flag that ``arguments`` may give."""
    call = Call(function="main", inputs=("1xf32",), repetitions=3, seconds=0.5, threads=1)
    given = arguments(
        call, device=LOCAL, module=Path("m"), parameters=Path("p"), flags=(), out=Path("o")
    )
    return tuple(given)
