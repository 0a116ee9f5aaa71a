"""The benchmarks of a variant as nodes: what is measured, with which inputs, beside what. Pure.

What the numbers hold for, the device and its driver, is no part of a manifest: ``with_machines``
puts it into the fields, so that a benchmark made elsewhere has another key.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from tidemill.exporters import EXPORTERS, MAIN
from tidemill.graph import MODULE, Graph, Input, Node
from tidemill.graph_variant import Variant, own_limits
from tidemill.manifest.benchmarks import FLOAT, BenchmarkPart, FunctionPart
from tidemill.manifest.targets import TargetPart
from tidemill.sizes import CONFIG, filled, resolve
from tidemill.steps.table import STEPS

Json = dict[str, Any]
#: What a key says of the machine.
MACHINE = "machine"


def benchmarks(
    variant: Variant, chosen: Iterable[str], targets: Mapping[str, TargetPart], /
) -> Iterator[Node]:
    """A node for every target of ``chosen`` that the component is to be measured on.

    A variant that a proxy is validated for has none: its weights need not be there.
    """
    part = variant.component.benchmark
    if part is None or variant.component.proxy_of(variant.dtype):
        return
    if variant.dtype in (part.dtypes or variant.component.dtypes):
        for name in chosen:
            if name in (part.targets or (name,)):
                yield _node(variant, part, name, targets[name])


def with_machines(graph: Graph, machine: Callable[[Node], Mapping[str, Any]]) -> Graph:
    """The same graph with what ``machine`` says of it in the fields of every benchmark."""
    return Graph(
        nodes={
            name: replace(node, fields={**node.fields, MACHINE: dict(machine(node))})
            if node.stage == "benchmark"
            else node
            for name, node in graph.nodes.items()
        }
    )


def _node(variant: Variant, part: BenchmarkPart, name: str, target: TargetPart, /) -> Node:
    functions = [_function(variant, one) for one in part.functions]
    step, info = STEPS["benchmark"], EXPORTERS[variant.component.exporter]
    fields: Json = {
        "device": target.device,
        "dtype": variant.dtype,
        "functions": functions,
        "repetitions": part.repetitions,
        "seconds": part.seconds,
        # Not "flags": those are a compiler's (Graph.with_flags).
        "tool_flags": list(part.flags),
        "peers": list(part.peers),
        MACHINE: {},
    }
    if part.peers:
        values = {"synthetic": variant.synthetic(), "pickle": variant.pickle()}
        fields |= {**variant.program, **values, "driver": info.driver}
    return Node(
        stage="benchmark",
        address=variant.on(name),
        fields=fields,
        inputs=tuple(_inputs(variant, part, functions, name)),
        tools=tuple(sorted({*step.tools, *_tools(part, info.packages)})),
        code=(*step.code, *((info.module,) if part.peers else ())),
        limits=own_limits("benchmark", variant.component),
        device=name,
        toolchain=variant.toolchain,
    )


def _tools(part: BenchmarkPart, packages: Iterable[str]) -> Iterator[str]:
    """The packages whose versions peers' numbers hang on."""
    for peer in part.peers:
        yield from ("onnxruntime",) if peer == "onnxruntime" else packages


def _inputs(
    variant: Variant, part: BenchmarkPart, functions: Iterable[Json], target: str, /
) -> Iterator[Input]:
    at, component = variant.address, variant.component
    vmfb = (("model.vmfb", "model.vmfb"),)
    yield Input(role=MODULE, node=f"compile:{variant.on(target)}", files=vmfb)
    yield Input(role="parameters", node=f"pack:{at}")
    # What is expected of them is nothing to a benchmark: no file of that is an input.
    given = [one["file"] for each in functions for one in each["arguments"] if "file" in one]
    if given:
        files = tuple((name, name) for name in dict.fromkeys(given))
        yield Input(role="reference", node=f"reference:{at}", files=files)
    if any(CONFIG in text for one in part.functions for text in _texts(one)):
        yield from _sizes(variant)
    if part.peers:
        yield from variant.files("config", component.config)
        yield from variant.files("weights", component.weights)


def _sizes(variant: Variant) -> Iterator[Input]:
    """The file that ``config.`` means: what export tells the driver, else the model's own."""
    if EXPORTERS[variant.component.exporter].driver != MAIN:
        file = (("config.json", "config.json"),)
        yield Input(role="sizes", node=f"export:{variant.address}", files=file)
    else:
        yield from variant.files("sizes", variant.component.config[:1])


def _texts(function: FunctionPart) -> Iterator[str]:
    yield from function.inputs or ()
    yield str(function.tokens)


def _function(variant: Variant, part: FunctionPart) -> Json:
    samples = {one.name: one.dims for one in variant.component.samples}
    names = {**variant.axis, **samples.get(part.sample or "", {}), **(part.dims or {})}
    tokens = part.tokens
    return {
        "name": part.name,
        "function": filled(part.function or part.name, lambda axis: str(resolve(axis, names))),
        "arguments": list(_arguments(variant, part, names)),
        "tokens": resolve(tokens, names) if isinstance(tokens, str) else tokens,
    }


def _arguments(variant: Variant, part: FunctionPart, names: Mapping[str, int]) -> Iterator[Json]:
    def written(place: str) -> str:
        if place == FLOAT:
            return variant.dtype
        size = resolve(place, names)
        return f"{{{size}}}" if isinstance(size, str) else str(size)

    for text in part.inputs or ():
        yield {"text": filled(text, written)}
    for index, item in enumerate(variant.program["inputs"] if part.inputs is None else ()):
        dtype = variant.dtype if item["dtype"] == FLOAT else item["dtype"]
        if part.sample is not None:
            yield {"file": f"{part.sample}.input{index}.npy", "dtype": dtype}
        else:
            shape = [names[size] if isinstance(size, str) else size for size in item["shape"]]
            yield {"shape": shape, "dtype": dtype}
