"""The benchmarks of a whole graph, made ready: flags and packages checked, the machine named.

The tool ignores a flag that it does not know, so a mistake in one would be a number for something
else: all are held against the tool's own list before anything is built.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from tidemill.errors import ManifestError
from tidemill.graph import Graph, Node
from tidemill.graph_benchmark import with_machines
from tidemill.manifest.targets import TargetPart
from tidemill.steps.work.benchmark_command import TOOL, own_flags
from tidemill.toolchain.machine import machine_of
from tidemill.toolchain.probe import Devices
from tidemill.toolchain.tool_flags import check_tool_flags, tool_flags
from tidemill.toolchain.toolchains import Toolchains

RUNTIME = "iree-base-runtime"
#: The peer that is a package of its own, which not every toolchain has.
_ONNX = "onnxruntime"


def ready_benchmarks(
    graph: Graph,
    *,
    toolchains: Toolchains,
    targets: Mapping[str, TargetPart],
    devices: Callable[[], Devices],
) -> Graph:
    """The graph with what each benchmark's numbers hold for; ``devices`` is asked if there is one.

    Where a toolchain has no onnxruntime, the node says so in place of that peer. Raises
    ManifestError that lists every flag that the tool cannot take, and every package that other
    peers need and the toolchain has not.
    """
    if not any(node.stage == "benchmark" for node in graph.nodes.values()):
        return graph
    graph = Graph(nodes={name: _possible(node, toolchains) for name, node in graph.nodes.items()})
    nodes = [node for node in graph.nodes.values() if node.stage == "benchmark"]
    if problems := list(dict.fromkeys(_problems(nodes, toolchains=toolchains))):
        raise ManifestError(
            "\n".join(problems), hint="Mend `benchmark` in the model, or pin the package."
        )

    @functools.cache
    def machine(target: str, toolchain: str) -> dict[str, object]:
        part, environment = targets[target], toolchains.built(toolchain)
        device = devices().device_for(needs=part.needs, chip=part.chip)
        return machine_of(device, environment=environment) if device and environment else {}

    return with_machines(graph, lambda node: machine(node.device, node.toolchain))


def _possible(node: Node, toolchains: Toolchains, /) -> Node:
    if node.stage != "benchmark" or _ONNX not in node.tools:
        return node
    if _ONNX in toolchains.versions(node.toolchain):
        return node
    why = {_ONNX: f"the component's toolchain pins no package {_ONNX}"}
    tools = tuple(tool for tool in node.tools if tool != _ONNX)
    return replace(node, fields={**node.fields, "absent_peers": why}, tools=tools)


def _problems(nodes: list[Node], *, toolchains: Toolchains) -> Iterator[str]:
    own = own_flags()
    known = {
        name: tool_flags(environment.tool(TOOL))
        for name in {node.toolchain for node in nodes}
        if (environment := toolchains.built(name))
    }
    for node in nodes:
        versions = toolchains.versions(node.toolchain)
        for package in node.tools:
            if package not in versions:
                lock = toolchains.lock(node.toolchain).name
                yield f"{node.address}: toolchain {lock} pins no package {package}"
        if node.toolchain in known:  # else it cannot be run here anyway
            for words in check_tool_flags(
                node.fields["tool_flags"],
                own=own,
                known=known[node.toolchain],
                tool=TOOL,
                version=versions.get(RUNTIME, ""),
            ):
                yield f"{node.address}: {words}"
