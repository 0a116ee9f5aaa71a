"""Components that are made with a toolchain of their own."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.made import MODEL, TARGETS, Bench, graph_of
from tidemill.cli.produce import _needed
from tidemill.digest import digest_bytes
from tidemill.errors import ManifestError, UsageError
from tidemill.graph_build import build_graph
from tidemill.graph_flags import check_flags
from tidemill.manifest.load import Manifests, load_manifests
from tidemill.toolchain.lock import Lock, Pin
from tidemill.toolchain.toolchains import Toolchains

OTHER = MODEL.replace(
    "    exporter: sentence_encoder\n", "    exporter: sentence_encoder\n    toolchain: llm\n"
)


def workspace(root: Path, *, model: str = OTHER, locks: tuple[str, ...] = ("llm",)) -> Path:
    (root / "manifests" / "models").mkdir(parents=True)
    (root / "manifests" / "targets.yaml").write_text(TARGETS)
    (root / "manifests" / "models" / "tiny.yaml").write_text(model)
    (root / "toolchains").mkdir()
    for name in locks:
        (root / "toolchains" / f"{name}.lock").write_text("")
    return root


def lock(name: str, compiler: str) -> Lock:
    versions = {"iree-base-compiler": compiler, "torch": "2.13.0"}
    pins = {package: Pin(version=version, hashes=()) for package, version in versions.items()}
    return Lock(name=name, digest=digest_bytes(name.encode()), pins=pins)


def toolchains(root: Path) -> Toolchains:
    others = {"llm": lock("llm", "3.10.0")}
    return Toolchains(own=lock("default", "3.13.0"), others=others, state=root / ".tidemill")


def loaded(root: Path) -> Manifests:
    return load_manifests(workspace(root))


def test_a_component_s_steps_name_its_toolchain_and_its_fetch_does_not(tmp_path: Path) -> None:
    manifests = loaded(tmp_path)
    graph = build_graph(
        manifests.models.values(), targets=manifests.targets.targets, compiler="3.13.0"
    )
    named = {node.stage: node.toolchain for node in graph.nodes.values()}
    assert named.pop("fetch") == ""
    assert set(named.values()) == {"llm"}
    assert set(named) == {"export", "pack", "reference", "compile", "validate"}


def test_flags_follow_the_compiler_of_the_component_s_toolchain(tmp_path: Path) -> None:
    manifests = loaded(tmp_path)
    graph = build_graph(
        manifests.models.values(),
        targets=manifests.targets.targets,
        compiler="3.13.0",
        compilers=toolchains(tmp_path).compilers(),
    )
    flags = {
        flag
        for node in graph.nodes.values()
        if node.stage == "compile" and node.target == "gfx942"
        for flag in node.fields["flags"]
    }
    assert "--hip-target=gfx942" in flags
    assert "--rocm-target=gfx942" not in flags


def test_keys_hash_the_versions_of_the_component_s_toolchain(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    bench = Bench(root=tmp_path / "own", graph=graph_of(tmp_path / "own"))
    name = next(name for name in bench.graph.nodes if name.startswith("fetch:"))
    bench.build(name)
    export = next(name for name in bench.graph.nodes if name.startswith("export:"))
    states = bench.states()
    before = states.of(export).bound
    node = bench.graph.nodes[export]
    object.__setattr__(node, "toolchain", "llm")
    newer = {**bench.tools, "torch": "9.9"}
    states.tools = {"": bench.tools, "llm": newer}
    states.forget(export)
    after = states.of(export).bound
    assert before is not None
    assert after is not None
    assert (before.parts["tools"]["torch"], after.parts["tools"]["torch"]) == ("2.13.0", "9.9")
    assert before.key != after.key


def test_an_unknown_toolchain_is_a_problem_of_the_manifest(tmp_path: Path) -> None:
    root = workspace(
        tmp_path, locks=("llm", "night"), model=OTHER.replace("chain: llm", "chain: lm")
    )
    with pytest.raises(ManifestError) as raised:
        load_manifests(root)
    line = next(n for n, text in enumerate(OTHER.splitlines(), 1) if "toolchain:" in text)
    assert raised.value.message.startswith(
        f"manifests/models/tiny.yaml:{line}: components.encoder.toolchain:"
        " unknown toolchain 'lm' (did you mean 'llm'? known: llm, night)"
    )


def test_a_toolchain_that_is_not_built_is_asked_for_only_by_what_needs_it(tmp_path: Path) -> None:
    chains = toolchains(tmp_path)
    chains.require(())
    with pytest.raises(UsageError) as raised:
        chains.require(["llm", "llm"])
    assert raised.value.message == "toolchain llm is not built here"
    assert raised.value.hint == "build it: tidemill toolchain sync llm"


def test_the_run_s_own_toolchain_is_always_needed(tmp_path: Path) -> None:
    manifests = loaded(tmp_path)
    with pytest.raises(UsageError, match="toolchain default is not built here"):
        check_flags(
            graph_of(tmp_path / "own"), manifests=manifests, toolchains=toolchains(tmp_path)
        )


def test_reports_tell_whose_package_it_is(tmp_path: Path) -> None:
    used = [("", "torch"), ("llm", "iree-base-compiler")]
    assert toolchains(tmp_path).tools(used) == {
        "llm/iree-base-compiler": "3.10.0",
        "torch": "2.13.0",
    }
    with pytest.raises(UsageError, match="toolchain llm pins no package brevitas"):
        toolchains(tmp_path).tools([("llm", "brevitas")])


def test_a_run_needs_the_toolchains_of_what_it_builds_only(tmp_path: Path) -> None:
    bench = Bench(root=tmp_path, graph=graph_of(tmp_path))
    bench.build_all()
    mill: Any = SimpleNamespace(graph=bench.graph, states=bench.states())
    everything = set(bench.graph.nodes)
    assert _needed(mill, everything, force=False) == set()
    assert _needed(mill, everything, force=True) == {""}
