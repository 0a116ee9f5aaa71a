"""Which room may import which. Arrows go down the list below and never turn back.

Read from the source, so imports inside functions count as well. A new module must be given a layer
here, which is the moment to think about where it belongs.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.boundaries.test_client_is_light import modules_loaded_by

ROOT = Path(__file__).parents[2]
TOPS = ("tidemill", "tasks", "pipelines", "ci")

#: From what everybody may use to what nobody may.
LAYERS = (
    "tidemill errors digest interrupts processors sizes",
    "address records sources child code workspace exporters pixels speech texts",
    "protocol steps store retention diff warm",
    "keeping trust events copies",
    "manifest cache channels failures workfolder toolchain report cutting",
    "graph client ending sweeping compare moves bundle command",
    "graph_samples",
    "graph_variant",
    "graph_benchmark graph_suites conformance",
    "graph_build graph_flags graph_measured keys expectations release policy rungs",
    "pytest_plugin images",
    "states execute generating",
    "mill repro",
    "opening",
    "tasks",
    "pipelines",
    "cli",
    "__main__ ci",
)
LEVEL = {room: level for level, line in enumerate(LAYERS) for room in line.split()}
#: What runs in a child process under the toolchain's interpreter: nobody else imports it, and it
#: imports nothing that the orchestrator needs another package for.
WORK = {"work", "exporter"}
WORK_MAY_USE = {
    *WORK,
    "errors",
    "digest",
    "protocol",
    "exporters",
    "sources",
    "pixels",
    "sizes",
    "speech",
    "texts",
}
CLIENT_MAY_USE = {
    "client",
    "address",
    "channels",
    "digest",
    "errors",
    "processors",
    "records",
    "store",
    "trust",
}

HEAVY = {
    "torch",
    "torchao",
    "iree",
    "transformers",
    "diffusers",
    "onnx",
    "safetensors",
    "tokenizers",
    "numpy",
}
#: Third-party package → the rooms that may know it.
KNOWN_BY = {
    **{package: {"work", "exporter"} for package in HEAVY},
    "numpy": {"work", "exporter", "client", "images", "pixels", "speech", "texts", "generating"},
    "iree": {"work", "exporter", "images"},
    "tokenizers": {"work", "exporter", "images", "generating"},
    "pytest": {"pytest_plugin"},
    "luigi": {"tasks", "pipelines"},
    "boto3": {"store"},
    "botocore": {"store"},
    "pydantic": {"manifest"},
    "yaml": {"manifest", "ci"},
    "click": {"cli"},
    "huggingface_hub": {"sources"},
    "tuf": {"trust", "channels", "moves"},
    "securesystemslib": {"trust", "channels", "moves", "cli"},
    "cryptography": {"trust"},
}
#: Modules that decide: values in, values out.
PURE = (
    "tidemill.address",
    "tidemill.graph",
    "tidemill.graph_build",
    "tidemill.graph_samples",
    "tidemill.graph_variant",
    "tidemill.graph_suites",
    "tidemill.conformance",
    "tidemill.keys",
    "tidemill.failures",
    "tidemill.expectations",
    "tidemill.release",
    "tidemill.manifest.crosscheck",
    "tidemill.manifest.model",
    "tidemill.store.layout",
    "tidemill.retention",
    "tidemill.diff",
    "tidemill.steps.compile",
    "tidemill.steps.table",
    "pipelines.outcome",
)
WORLD = {
    "os",
    "io",
    "pathlib",
    "shutil",
    "socket",
    "subprocess",
    "sys",
    "tempfile",
    "time",
    "random",
}


def _modules() -> Iterator[tuple[str, Path]]:
    for top in TOPS:
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(_modules())


def room_of(module: str) -> str:
    """The room of one of our modules."""
    parts = module.split(".")
    if parts[0] != "tidemill" or len(parts) == 1:
        return parts[0]
    match parts[1:]:
        case ["exporters", _, *_]:
            return "exporter"
        case ["steps", "work", "protocol" | "benchmark_command"]:
            return "protocol"
        case ["steps", "work", *_]:
            return "work"
    return parts[1]


def _names(module: str) -> Iterator[str]:
    """The modules that a module imports, anywhere in its source."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else str(node.module)


IMPORTS = {module: frozenset(_names(module)) - {module} for module in MODULES}


def _arrows() -> Iterator[tuple[str, str]]:
    for module, names in IMPORTS.items():
        yield from ((module, name) for name in names if name in MODULES)


ARROWS = sorted(_arrows())


def test_there_is_something_to_check() -> None:
    assert len(MODULES) > 80
    assert ("tidemill.keys", "tidemill.graph") in ARROWS
    assert "torch" in IMPORTS["tidemill.exporters.torch_exporter"]


def test_every_room_has_its_place() -> None:
    rooms = {room_of(module) for module in MODULES}
    assert rooms - WORK == set(LEVEL)
    assert rooms >= WORK


def test_arrows_go_down_and_never_turn_back() -> None:
    up = [
        f"{source} → {target}"
        for source, target in ARROWS
        if room_of(source) in LEVEL
        and room_of(target) in LEVEL
        and room_of(source) != room_of(target)
        and LEVEL[room_of(source)] <= LEVEL[room_of(target)]
    ]
    assert up == []


def test_nobody_imports_the_working_halves_and_exporters_but_they_themselves() -> None:
    wrong = [
        f"{source} → {target}"
        for source, target in ARROWS
        if room_of(target) in WORK and room_of(source) not in WORK
    ]
    assert wrong == []


def test_working_halves_and_exporters_use_nothing_of_the_orchestrator() -> None:
    wrong = [
        f"{source} → {target}"
        for source, target in ARROWS
        if room_of(source) in WORK and room_of(target) not in WORK_MAY_USE
    ]
    assert wrong == []


def test_exporters_do_not_turn_back_to_the_steps() -> None:
    wrong = [
        f"{source} → {target}"
        for source, target in ARROWS
        if room_of(source) in {"exporter", "exporters"}
        and room_of(target) in {"work", "protocol", "steps"}
    ]
    assert wrong == []
    assert ("tidemill.steps.work.spec", "tidemill.exporters.base") in ARROWS


def test_the_client_knows_its_few_rooms_only() -> None:
    wrong = [
        f"{source} → {target}"
        for source, target in ARROWS
        if room_of(source) == "client" and room_of(target) not in CLIENT_MAY_USE
    ]
    assert wrong == []


def test_each_third_party_package_is_known_by_its_rooms_only() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        for name in names
        if room_of(module) not in KNOWN_BY.get(name.partition(".")[0], {room_of(module)})
    ]
    assert wrong == []


@pytest.mark.parametrize("module", PURE)
def test_what_decides_does_not_look_at_the_world(module: str) -> None:
    tops = {name.partition(".")[0] for name in IMPORTS[module]}
    assert tops & WORLD == set()
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    calls = {
        ast.unparse(node.func).rpartition(".")[2]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }
    assert calls & {"now", "today", "open", "getenv", "print", "input"} == set()


def cycle_in(graph: Mapping[str, frozenset[str]]) -> list[str]:
    """Some cycle of a graph, or nothing."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for target in sorted(graph[name] & graph.keys()):
            if found := visit(target, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := visit(name, []))), [])


def test_a_cycle_would_be_found() -> None:
    graph = {"a": frozenset({"b"}), "b": frozenset({"c", "x"}), "c": frozenset({"b"})}
    assert cycle_in(graph) == ["b", "c", "b"]
    assert cycle_in({"a": frozenset({"b"}), "b": frozenset()}) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert cycle_in(IMPORTS) == []


@pytest.mark.parametrize(
    "statement",
    [
        "import tidemill",
        "import tidemill.graph, tidemill.graph_build, tidemill.keys",
        "import tidemill.mill",
        "import tidemill.execute, tidemill.repro",
        "import tidemill.cli",
        "import tidemill.exporters, tidemill.steps.table, tidemill.sources",
    ],
)
def test_the_orchestrator_loads_no_tool(statement: str) -> None:
    tops = {name.partition(".")[0] for name in modules_loaded_by(statement)}
    assert tops & {*HEAVY, "luigi", "boto3", "botocore"} == set()


def test_importing_the_package_loads_the_standard_library_at_most() -> None:
    before = {name.partition(".")[0] for name in modules_loaded_by("pass")}
    tops = {name.partition(".")[0] for name in modules_loaded_by("import tidemill")}
    assert tops - before == {"tidemill"}


def test_the_engine_does_not_load_what_runs_in_the_child() -> None:
    ours = {name for name in modules_loaded_by("import tidemill.mill") if name in MODULES}
    assert "tidemill.execute" in ours
    packages = {"tidemill.steps.work", "tidemill.steps.work.protocol"}
    assert {name for name in ours if room_of(name) in {*WORK, "protocol"}} == packages


def test_loading_the_skin_loads_no_torch() -> None:
    tops = {name.partition(".")[0] for name in modules_loaded_by("import pipelines.runner")}
    assert "luigi" in tops
    assert tops & HEAVY == set()
