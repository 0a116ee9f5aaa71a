"""A realistic run for the tests of the reports: four models, three targets, two dtypes.

It holds one of each thing that can happen: a compile failure, a numerics failure, an expected
failure, an expectation that no longer holds, blocked, reused and unvalidated nodes.
"""

import hashlib
from typing import Any

from tidemill.records import Artifact, Failure, NodeReport, Outcome, Output, RunReport, Stage

MODELS = {
    "minilm": ("encoder", 1_310_000, 91_000_000),
    "stories15m": ("decoder", 740_000, 61_000_000),
    "mobilenet": ("classifier", 512_000, 14_200_000),
    "magika": ("classifier", 96_000, 3_100_000),
}
TARGETS = ("cpu", "gfx942", "gfx1100")
COMPILE_FAILURE = "stories15m/decoder/f16/gfx942"
NUMERICS_FAILURE = "mobilenet/classifier/f16/cpu"
EXPECTED_FAILURE = "magika/classifier/f32/gfx1100"
NO_LONGER_FAILING = "minilm/encoder/f16/gfx1100"
EXPECTATION = (
    "compile: scatter is not lowered (https://example.invalid/issues/24381, owner: kernels, "
    "until 2027-01-31)"
)
HOSTILE = (
    "</script><script>alert('x')</script> <img src=x onerror=alert(1)> ]]> &amp; \"quoted\" "
    "```\n# heading\n| a | b |\n@everyone $x$ \x1b[31mred\x1b[0m \x1b]0;title\x07 \x00\x08\x7f"
    "\x9b2J \u202ereversed\ud800 \ufffe " + "long" * 2000
)


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def output(name: str, kind: str, size: int) -> Output:
    return Output(name=name, kind=kind, digest=digest_of(name + kind), size=size)


def verdict(*, max_abs: float, limit: float, kind: str = "full", rows: int = 2) -> dict[str, Any]:
    """A verdict as the validate step writes it."""
    holds = max_abs <= limit
    metrics = {"max_abs": max_abs, "rel_l2": max_abs * 3, "cosine": 1 - max_abs**2, "snr_db": 131.4}
    one = {
        "name": "embeddings",
        "shape": [4, 384],
        "dtype": "float32",
        **metrics,
        "ulp": {"p50": 1, "p99": 6, "max": 31},
        "noise": {"max_abs": max_abs / 3, "rel_l2": max_abs},
        "limits": {"max_abs": limit, "rel_l2": limit * 3},
        "holds": holds,
    }
    reason = f"embeddings: max abs {max_abs:.2g} is above the limit {limit:.2g}"
    return {
        "holds": holds,
        "kind": kind,
        "reasons": [] if holds else [reason],
        "summary": {**metrics, "limit_max_abs": limit, "limit_rel_l2": limit * 3},
        "samples": [{"name": f"sentences-{n}", "outputs": [one]} for n in range(rows)],
        "noise": {"max_abs": max_abs / 3, "factor": 10},
        "perturbations": {"tried": ["scale 1.01", "swap rows", "zero one"], "missed": []},
        "greedy": {"tokens": 64, "equal": 64} if kind == "full" else None,
    }


def failure(address: str, stage: Stage, *, kind: str, lines: tuple[str, ...]) -> Failure:
    key = digest_of(address + stage)
    return Failure(
        key=key,
        step=stage,
        address=address,
        failure=kind,
        lines=lines,
        hint="try --iree-opt-level=O0, or declare a ladder",
        deterministic=True,
        command=("iree-compile", "in/main.mlir", "--iree-opt-level=O3", "-o", "out/main.vmfb"),
        log=output("log.txt", "log", 4_000),
        bundle=output("bundle.tar", "log", 812_000),
        reproduce=f"tidemill repro {address} --stage {stage} --to repro-{key[:8]}",
        parts={},
        limits={"seconds": 600, "memory_bytes": 4_000_000_000},
        seconds=41.3,
        peak_memory_bytes=402_000_000,
        host="ci-7",
        finished_at="2026-11-21T02:14:09Z",
    )


def node(address: str, stage: Stage, outcome: Outcome, **more: Any) -> NodeReport:
    """A node with plausible costs; ``more`` replaces any field."""
    weight = int(digest_of(address + stage)[:4], 16) / 0xFFFF
    idle = outcome == "blocked"
    fields: dict[str, Any] = {
        "seconds": 0.0 if idle else {"compile": 90.0, "validate": 6.0}.get(stage, 20.0) * weight,
        "peak_memory_bytes": 0 if idle else int(1.2e9 * weight),
        "key": "" if idle else digest_of(address + stage),
        "log": "" if idle else f"logs/{address.replace('/', '-')}-{stage}.txt",
    }
    return NodeReport(address=address, stage=stage, outcome=outcome, **(fields | more))


def shared_nodes(variant: str, model: str) -> list[NodeReport]:
    _, mlir, irpa = MODELS[model]
    done: Outcome = "reused" if model == "magika" else "built"
    return [
        node(variant, "export", done, outputs=(output(f"{variant}.mlir", "mlir", mlir),)),
        node(variant, "pack", done, outputs=(output(f"{variant}.irpa", "irpa", irpa),)),
        node(variant, "reference", done, outputs=(output(variant, "reference", 88_000),)),
    ]


def compile_node(address: str) -> NodeReport:
    lines = (
        "main.mlir:812:11: error: 'func.func' op uses 81920 bytes of shared memory; exceeded the "
        "limit of 65536 bytes",
        '    %412 = torch.aten.convolution %411, %w, %b : !torch.vtensor<[2,1280,8,8],f16> -> "x"',
        "main.mlir:812:11: note: called from",
    )
    if address == COMPILE_FAILURE:
        broken = failure(address, "compile", kind="compile", lines=lines)
        return node(address, "compile", "failed", failure=broken, reasons=("not built before",))
    if address == EXPECTED_FAILURE:
        broken = failure(address, "compile", kind="compile", lines=lines[:1])
        return node(address, "compile", "expected-failure", failure=broken, expectation=EXPECTATION)
    made = (output(f"{address}.vmfb", "vmfb", 1_040_000),)
    facts = {"dispatches": 172, "flags": ["--iree-opt-level=O3"], "rung": "O3"}
    outcome: Outcome = "reused" if address.startswith("magika") else "built"
    expectation = EXPECTATION if address == NO_LONGER_FAILING else ""
    return node(address, "compile", outcome, outputs=made, facts=facts, expectation=expectation)


def validate_node(address: str) -> NodeReport:
    if address in {COMPILE_FAILURE, EXPECTED_FAILURE}:
        return node(address, "validate", "blocked", reasons=("compile failed",))
    if address == NUMERICS_FAILURE:
        wrong = verdict(max_abs=3.2e-2, limit=5e-3)
        broken = failure(address, "validate", kind="numerics", lines=tuple(wrong["reasons"]))
        return node(address, "validate", "failed", failure=broken, verdict=wrong)
    if not address.endswith("cpu"):
        return node(
            address, "validate", "unvalidated", seconds=0.0, reasons=("no host has this target",)
        )
    kind = "proxy" if address.startswith("stories15m/decoder/f16") else "full"
    right = verdict(
        max_abs=2.1e-7 if "f32" in address else 4.4e-4,
        limit=1e-5 if "f32" in address else 5e-3,
        kind=kind,
    )
    outcome: Outcome = "reused" if address.startswith("magika") else "built"
    made = (output(f"{address}.verdict.json", "verdict", 2_400),)
    return node(address, "validate", outcome, verdict=right, outputs=made)


def artifacts_of(nodes: list[NodeReport]) -> tuple[Artifact, ...]:
    """What a release would list: the outputs, each with the status that its address earned."""
    judged = {n.address: n for n in nodes if n.stage == "validate"}
    listed = []
    for made in nodes:
        for out in made.outputs:
            judge = judged.get(made.address)
            status: Any = "validated"
            if judge is not None and judge.outcome in {"unvalidated", "failed"}:
                status = "unvalidated" if judge.outcome == "unvalidated" else "missing"
            elif judge is not None and (judge.verdict or {}).get("kind") == "proxy":
                status = "proxy"
            listed.append(
                Artifact(
                    address=made.address,
                    kind=out.kind,
                    file=f"{made.address}/{out.kind}",
                    digest=out.digest,
                    size=out.size,
                    key=made.key,
                    status=status,
                    reason=judge.reasons[0] if judge is not None and judge.reasons else "",
                    verdict=judge.verdict if judge is not None else None,
                )
            )
    return tuple(listed)


def sample_report(**more: Any) -> RunReport:
    """A night in which most went well; ``more`` replaces any field."""
    nodes: list[NodeReport] = []
    for model, (component, _, irpa) in MODELS.items():
        made = (output(f"{model}.safetensors", "source", irpa),)
        nodes.append(node(model, "fetch", "reused", outputs=made))
        for dtype in ("f32",) if model == "magika" else ("f32", "f16"):
            variant = f"{model}/{component}/{dtype}"
            nodes += shared_nodes(variant, model)
            for target in TARGETS:
                nodes.append(compile_node(f"{variant}/{target}"))
                nodes.append(validate_node(f"{variant}/{target}"))
    fields: dict[str, Any] = {
        "run": "20261121T021003Z-7f3a",
        "pipeline": "nightly",
        "toolchain": "main",
        "tools": {
            "iree-base-compiler": "3.13.0",
            "iree-base-runtime": "3.13.0",
            "iree-turbine": "3.9.0",
            "torch": "2.13.0+cpu",
            "transformers": "5.23.0",
        },
        "store": "file:.tidemill/store",
        "host": "ci-7 (2 cores, 8 GB)",
        "started_at": "2026-11-21T02:10:03Z",
        "seconds": 427.0,
        "exit_code": 4,
        "nodes": tuple(nodes),
        "artifacts": artifacts_of(nodes),
        "release": digest_of("release"),
        "channel": "nightly",
        "sequence": 118,
    }
    return RunReport(**(fields | more))


def hostile_report() -> RunReport:
    """A run in which every text that a tool or a manifest can choose is hostile."""
    base = sample_report()
    address = f"evil/{HOSTILE[:40]}/f16/cpu"
    broken = failure(address, "compile", kind="compile", lines=(HOSTILE, "ok ``` and ~~~ ````"))
    wrong = verdict(max_abs=1.0, limit=0.1)
    wrong["samples"][0]["outputs"][0]["name"] = HOSTILE
    wrong["reasons"] = [HOSTILE]
    evil = [
        node(
            address,
            "compile",
            "failed",
            failure=broken,
            log="javascript:alert(1)",
            facts={HOSTILE[:60]: {"deep": [HOSTILE, 1]}},
        ),
        node(address, "validate", "blocked", reasons=(HOSTILE,), verdict=wrong),
    ]
    return sample_report(
        run=HOSTILE[:90],
        host=HOSTILE,
        nodes=(*base.nodes, *evil),
        problems=(HOSTILE,),
        tools={HOSTILE[:30]: HOSTILE},
    )


def empty_report() -> RunReport:
    """A run that found nothing to do and nothing there."""
    return sample_report(
        nodes=(), artifacts=(), release="", channel="", sequence=0, exit_code=0, tools={}
    )
