"""Working half of ``conformance``: every test of a suite, through, and the table of what came out.

``out/table.json`` holds one line a test, sorted by name, and nothing that differs from one time to
the next. The step succeeds when the table is complete; whether it is a good one, ``compare`` says.
Trouble of the host is no outcome of a test: it ends the step, and the next run tries again.

Which of several devices of a driver to use is no part of the key: it comes in the environment, as
``TIDEMILL_DEVICE_URI``; without it the driver chooses.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from iree.compiler.tools.binaries import find_tool

from tidemill.steps.work.protocol import OUT, Made, Request, Response
from tidemill.steps.work.suite.cases import Case, cases
from tidemill.steps.work.suite.one import Outcome, Way, from_outside, host_failed, through
from tidemill.steps.work.suite.pool import Death, Pool

TABLE = "table.json"
FORMAT = 1
DEVICE_URI = "TIDEMILL_DEVICE_URI"
#: Processors come with the host, ``limits.memory`` does not: two workers with their compilers were
#: measured at 1 GiB, so that eight keep well below the 8 GiB that a suite has by default.
MOST_WORKERS = 8
#: Beside a compile: the import, the run, and a start on a host that does other things as well.
_REST_SECONDS = 60.0
_TOLD_EACH = 25

Json = dict[str, Any]


def run(request: Request) -> Response:
    """Write ``out/table.json``. Raises WorkError when there is no such suite, or the host fails."""
    fields = request.fields
    suite = cases(fields["kind"])
    way = Way(
        compiler=find_tool("iree-compile"),
        flags=tuple(fields["flags"]),
        device=os.environ.get(DEVICE_URI) or fields["device"],
        seconds=float(fields["test_seconds"]),
    )
    workers = _workers(way.device)
    _say(f"{len(suite)} tests of kind {fields['kind']}, {workers} at a time")
    outcomes = _outcomes(suite, way=way, workers=workers)
    late = [case for case in suite if outcomes[case.name].outcome == "timeout"]
    if late:
        _say(f"{len(late)} tests took too long; once more, one at a time")
        outcomes |= _outcomes(late, way=way, workers=1)
    tests = [_line(case, outcomes[case.name]) for case in suite]
    versions = {
        name: metadata.version(name) for name in ("onnx", "iree-base-compiler", "iree-base-runtime")
    }
    head = {"format": FORMAT, "kind": fields["kind"], "flags": list(way.flags), "tools": versions}
    Path(OUT).mkdir(exist_ok=True)
    (Path(OUT) / TABLE).write_text(_text(head, tests), encoding="utf-8")
    return Response(
        made=(Made(name=TABLE, kind="table"),), facts={"tools": versions, **counted(tests)}
    )


def _workers(device: str) -> int:
    """How many tests at a time: a device that is not the host's processors serves one."""
    if not device.startswith("local-"):
        return 1
    return min(len(os.sched_getaffinity(0)), MOST_WORKERS)


def _outcomes(suite: Sequence[Case], *, way: Way, workers: int) -> dict[str, Outcome]:
    """Every outcome by name; what fails, and how far it is, goes into the log."""

    def work(number: int, tell: Callable[[str], None]) -> Outcome:
        return through(suite[number], way=way, tell=tell)

    pool = Pool(work=work, count=workers, seconds=way.seconds + _REST_SECONDS)
    outcomes: dict[str, Outcome] = {}
    for number, end in pool.each(len(suite)):
        name = suite[number].name
        outcome = _of(name, end) if isinstance(end, Death) else end
        outcomes[name] = outcome
        if outcome.outcome != "pass":
            _say(f"{name}: {outcome.outcome}: {outcome.line}")
        if len(outcomes) % _TOLD_EACH == 0 or len(outcomes) == len(suite):
            passed = sum(one.outcome == "pass" for one in outcomes.values())
            _say(f"{len(outcomes)} of {len(suite)} tests, {passed} pass")
    return outcomes


def _say(line: str) -> None:
    """Into the log, whose last line people see while the step runs."""
    sys.stdout.write(f"{line}\n")


def _of(name: str, death: Death) -> Outcome:
    if death.timed_out:
        return Outcome(outcome="timeout", line=f"no end of {death.phase} in the time it has")
    if from_outside(death.code):
        raise host_failed(f"{name}: {death.words}: it was killed from outside")
    return Outcome(outcome="crash", line=death.words)


def _line(case: Case, outcome: Outcome) -> Json:
    said = {"line": outcome.line} if outcome.line else {}
    return {"name": case.name, "group": case.group, "outcome": outcome.outcome, **said}


def counted(tests: Iterable[Json]) -> Json:
    """How many tests came to what, in all and by group."""
    groups: dict[str, Counter[str]] = {}
    for test in tests:
        groups.setdefault(test["group"], Counter())[test["outcome"]] += 1
    whole = sum(groups.values(), Counter[str]())
    return {
        "tests": whole.total(),
        "outcomes": dict(sorted(whole.items())),
        "groups": {name: dict(sorted(groups[name].items())) for name in sorted(groups)},
    }


def _text(head: Json, tests: Iterable[Json]) -> str:
    """JSON with one line a test, so that two tables can be compared by eye."""
    lines = ",\n".join(f"  {json.dumps(test, ensure_ascii=False)}" for test in tests)
    start = json.dumps(head, indent=1).removesuffix("\n}")
    return f'{start},\n "tests": [\n{lines}\n ]\n}}\n'
