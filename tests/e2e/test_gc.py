"""gc beside real runs: what a run makes again stays, what is removed is built again."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.workbench import Workbench

pytestmark = pytest.mark.toolchain

DAYS_OF_GRACE = 7


def collect(bench: Workbench) -> Any:
    """``tidemill gc --yes``."""
    return bench.call("gc", "--yes", "--json").json


def age_mark(bench: Workbench, mark: str) -> None:
    """Let the grace period be over."""
    path = bench.store / f"gc/{mark}/mark.json"
    told = json.loads(path.read_bytes())
    at = datetime.fromisoformat(told["at"]) - timedelta(days=DAYS_OF_GRACE)
    path.write_text(json.dumps({**told, "at": at.isoformat()}), encoding="utf-8")


def sweep(bench: Workbench) -> Any:
    """What the sweep of everything that may go now comes to, after its grace period."""
    marked = collect(bench)["marked"]
    age_mark(bench, marked)
    (swept,) = collect(bench)["swept"]
    return swept


def made_by(bench: Workbench, *stages: str) -> set[str]:
    return {
        output["digest"]
        for record in bench.records
        for output in record["outputs"]
        if record["step"] in stages
    }


def test_what_is_made_again_stays_and_what_is_removed_is_built_again(fresh: Workbench) -> None:
    fresh.run("small", "--no-release")
    assert fresh.files("leases") == {}
    large = made_by(fresh, "pack", "reference")
    marked = collect(fresh)
    assert {one["digest"] for one in marked["candidates"]} == large
    age_mark(fresh, marked["marked"])
    # What is packed again is stored already, and what the run looks up has been built before.
    fresh.run("small", "--stage", "pack", "--force", "--no-release")
    (swept,) = collect(fresh)["swept"]
    assert swept["removed"] == []
    assert swept["spared"] == {"a run relies on it": len(large)}
    assert set(sweep(fresh)["removed"]) == large
    done = fresh.run("small")
    assert {name.partition(":")[0] for name in done.built} == {"pack", "reference"}
    assert fresh.torn() == []
    fresh.call("verify")
    assert collect(fresh)["candidates"] == []


def test_a_report_tells_what_changed_since_the_last_release(fresh: Workbench) -> None:
    first = fresh.run("small").json["run"]
    fresh.model("tiny", flags="{cpu: [--iree-opt-level=O0]}")
    second = fresh.run("small").json["run"]
    third = fresh.run("small").json["run"]
    changes = {
        run: json.loads((fresh.store / f"runs/{run}/report.json").read_bytes())["changes"]
        for run in (first, second, third)
    }
    assert changes[first]["before"] == ""
    assert {one["change"] for one in changes[first]["artifacts"]} == {"added"}
    module = next(one for one in changes[second]["artifacts"] if one["kind"] == "vmfb")
    assert module["address"].startswith("tiny/")
    assert {"name": "flags", "was": None, "now": "--iree-opt-level=O0"} in module["differences"]
    assert module["causes"] == ["flags"]
    assert changes[second]["before"] == changes[first]["after"]
    assert changes[third]["before"] == changes[third]["after"] == changes[second]["after"]
    shown = fresh.call("diff", "small@1", "small", "--json").json
    assert shown == changes[second]
