"""Benchmarks, measured: the tool's numbers in records, reports and `show`, peers, and mistakes."""

import json
from typing import Any

import pytest

from tests.workbench import Done, Workbench

pytestmark = pytest.mark.toolchain

BRIEFLY = "repetitions: 3, seconds: 0.02, targets: [cpu]"
TINY = (
    "{functions: [{name: three, function: main, sample: noise, tokens: batch},"
    " {name: eight, function: main, dims: {batch: 8}}],"
    f" peers: [onnxruntime, torch_eager], {BRIEFLY}}}"
)
LANGUAGE = (
    "{functions: [{name: words, function: main, sample: words, tokens: seq}],"
    f" peers: [torch_eager, torch_inductor, onnxruntime], {BRIEFLY}}}"
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workbench, Done]:
    """A workspace in which what works was measured and what does not has failed."""
    bench = Workbench.make(tmp_path_factory.mktemp("measured") / "work")
    bench.model("tiny", benchmark=TINY)
    bench.model(
        "twin", benchmark=f"{{functions: [{{name: absent, dims: {{batch: 1}}}}], {BRIEFLY}}}"
    )
    bench.onnx("wide", seed=3, width=16)
    bench.model("wide", benchmark=f"{{functions: [{{name: main, inputs: [2x7xf32]}}], {BRIEFLY}}}")
    bench.model("lm", benchmark=LANGUAGE)
    bench.run("small", expect=3)
    return bench, bench.run("nightly", "--target", "cpu", expect=3)


def facts(bench: Workbench, address: str) -> dict[str, Any]:
    told: dict[str, Any] = bench.record("benchmark", address)["facts"]
    return told


def functions(bench: Workbench, address: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in facts(bench, address)["benchmark"]["functions"]}


def failure(bench: Workbench, address: str) -> dict[str, Any]:
    found = [json.loads(p.read_bytes()) for p in (bench.store / "failures").rglob("*.json")]
    (one,) = (each for each in found if (each["step"], each["address"]) == ("benchmark", address))
    return dict(one)


def test_a_record_has_every_repetition_and_what_they_come_to(
    measured: tuple[Workbench, Done],
) -> None:
    found = functions(measured[0], "tiny/net/f32/cpu")
    assert list(found) == ["three", "eight"]
    for one in found.values():
        assert len(one["times_ms"]) == 3
        assert 0 < one["min_ms"] <= one["median_ms"] <= one["max_ms"]
        assert 0 <= one["iqr_ms"] <= one["max_ms"] - one["min_ms"]
    assert found["three"]["tokens_per_second"] == pytest.approx(3e3 / found["three"]["median_ms"])
    assert "tokens_per_second" not in found["eight"]


def test_a_record_says_of_what_module_and_machine_it_is(measured: tuple[Workbench, Done]) -> None:
    bench, address = measured[0], "tiny/net/f32/cpu"
    record, compiled = bench.record("benchmark", address), bench.record("compile", address)
    (vmfb,) = compiled["outputs"]
    assert record["parts"]["inputs"]["module"] == {"model.vmfb": vmfb["digest"]}
    told = record["facts"]["benchmark"]
    assert told["vmfb_bytes"] == vmfb["size"]
    assert record["facts"]["dispatch_count"] == compiled["facts"]["dispatch_count"] > 0
    assert told["machine"] == record["parts"]["fields"]["machine"]
    assert told["machine"]["driver"] == "local-task"
    assert told["threads"] == told["machine"]["processors"] >= 1
    assert [one["kind"] for one in record["outputs"]] == ["benchmark"]


def test_peers_do_the_same_work_or_say_why_not(measured: tuple[Workbench, Done]) -> None:
    onnx = functions(measured[0], "tiny/net/f32/cpu")["three"]
    runtime, eager = onnx["peers"]
    assert (runtime["name"], eager["name"]) == ("onnxruntime", "torch_eager")
    assert len(runtime["times_ms"]) == 3
    assert runtime["ratio"] == pytest.approx(runtime["median_ms"] / onnx["median_ms"])
    assert eager == {"name": "torch_eager", "why": "exporter onnx has no torch module"}
    language = functions(measured[0], "lm/logits/f32/cpu")["words"]
    eager, inductor, runtime = language["peers"]
    assert len(eager["times_ms"]) == 3
    assert eager["tokens_per_second"] == pytest.approx(5e3 / eager["median_ms"])
    assert len(inductor.get("times_ms", ())) == 3, inductor
    assert inductor["first_ms"] > eager["first_ms"]  # it compiles then
    assert runtime == {"name": "onnxruntime", "why": "the component is no ONNX file"}


def test_a_function_that_is_not_there_is_a_failure_with_what_there_is(
    measured: tuple[Workbench, Done],
) -> None:
    found = failure(measured[0], "twin/net/f32/cpu")
    assert found["failure"] == "compile"
    assert found["lines"] == ["model.vmfb has no function 'absent'; it has main"]
    assert found["hint"] == "correct `benchmark.functions` in the manifest"


def test_inputs_that_do_not_fit_are_a_failure_and_never_a_zero(
    measured: tuple[Workbench, Done],
) -> None:
    found = failure(measured[0], "wide/net/f32/cpu")
    assert found["failure"] == "crash"
    assert "dimension 1 mismatch; expected 8 but have 7" in found["lines"][0]
    assert found["hint"].startswith("the inputs do not fit: correct `benchmark.functions`")


def test_a_benchmark_that_fails_is_red_and_holds_up_no_release(
    measured: tuple[Workbench, Done],
) -> None:
    bench, done = measured
    assert done.outcomes["benchmark", "twin/net/f32/cpu"] == "failed"
    assert done.outcomes["validate", "twin/net/f32/cpu"] == "reused"
    (entry,) = bench.call("channel", "list", "small", "--json").json
    assert entry["sequence"] == 1
    listed = bench.call("ls", "twin", "--channel", "small", "--json").json
    assert {one["status"] for one in listed} == {"validated"}
    assert not [one for one in listed if one["kind"] == "benchmark"]


def test_nothing_of_the_same_run_is_beside_a_benchmark(measured: tuple[Workbench, Done]) -> None:
    bench, done = measured
    log = bench.root / ".tidemill/runs" / done.json["run"] / "events.jsonl"
    running: set[str] = set()
    beside: dict[str, set[str]] = {}
    for event in map(json.loads, log.read_text(encoding="utf-8").splitlines()):
        if event["event"] == "started":
            running.add(event["node"])
            for name in running:
                beside.setdefault(name, set()).update(running - {name})
        elif event["event"] == "finished":
            running.discard(event["node"])
    alone = {name: others for name, others in beside.items() if name.startswith("benchmark:")}
    assert set(alone) == {"benchmark:lm/logits/f32/cpu", "benchmark:wide/net/f32/cpu"}
    assert not any(alone.values()), alone
    assert any(others for name, others in beside.items() if name not in alone)


def test_what_was_measured_stays(measured: tuple[Workbench, Done]) -> None:
    again = measured[0].run("one", "--target", "cpu", "--stage", "benchmark")
    assert again.outcomes["benchmark", "tiny/net/f32/cpu"] == "reused"


def test_show_and_the_reports_tell_the_numbers(measured: tuple[Workbench, Done]) -> None:
    bench, done = measured
    median = functions(bench, "tiny/net/f32/cpu")["three"]["median_ms"]
    shown = bench.call("show", "tiny/net/f32/cpu", "--channel", "small").out
    assert f"    three: {median:.3g} ms, iqr " in shown
    assert "torch_eager: not measured: exporter onnx has no torch module" in shown
    (vmfb,) = (
        one
        for one in bench.call("show", "tiny/net/f32/cpu", "--channel", "small", "--json").json
        if one["kind"] == "vmfb"
    )
    assert vmfb["benchmarks"][0]["benchmark"]["functions"][0]["median_ms"] == median
    folder = bench.root / ".tidemill/runs" / done.json["run"]
    for file in ("summary.md", "index.html"):
        assert f"{median:.3g} ms" in (folder / file).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--bogus_flag=1", "iree-benchmark-module 3.13.0 has no flag --bogus_flag"),
        ("--batch_size=2", "--batch_size cannot be given"),
    ],
)
def test_a_flag_that_the_tool_would_ignore_is_refused_before_anything_is_built(
    fresh: Workbench, flag: str, words: str
) -> None:
    asked = f"{{functions: [{{name: main, sample: noise}}], flags: [{flag}], {BRIEFLY}}}"
    fresh.model("tiny", benchmark=asked)
    done = fresh.call("run", "one", expect=2)
    assert f"tiny/net/f32/cpu: {words}" in done.err
    assert not (fresh.store / "actions").exists()
