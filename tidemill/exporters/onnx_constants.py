"""Weights of an ONNX graph that are no initializers of it: made so, since only those are packed.

Exporters of ONNX files write many weights as ``Constant`` nodes with a tensor, and as initializers
or constants of branches and loop bodies. ``iree-import-onnx`` makes parameters of these as well,
under names that it draws by chance (IREE 3.13).
"""

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper
from onnx.inliner import inline_local_functions

from tidemill.exporters.onnx_reference import graphs

#: The IR version since which initializers need not be inputs of the graph.
FREE_INITIALIZERS = 4


def lift(model: ModelProto, *, threshold: int) -> None:
    """Make an initializer of ``model``'s graph of each constant of ``threshold`` elements or more.

    A constant keeps its name if no other value of any graph has it and it is no output itself.
    """
    names = Counter(_defined(model.graph))
    for graph in list(graphs(model.graph)):
        for tensor in _constants(graph, threshold=threshold, outermost=graph is model.graph):
            name = tensor.name
            shared, handed_out = names[name] > 1, name in {value.name for value in graph.output}
            if shared or handed_out:
                tensor.name = _free(name, names)
            if handed_out:
                graph.node.insert(0, helper.make_node("Identity", [tensor.name], [name]))
            elif shared:
                _rename(graph, name, tensor.name)
            model.graph.initializer.append(tensor)


def plain(model: ModelProto) -> ModelProto:
    """``model`` without local functions, and with inputs that are given at each call only.

    Up to IR version 3 initializers had to be inputs too.
    """
    model = inline_local_functions(model) if model.functions else model
    constant = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constant]
    if len(inputs) != len(model.graph.input):
        kept = [deepcopy(value) for value in inputs]
        del model.graph.input[:]
        model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, FREE_INITIALIZERS)
    return model


def elements(tensor: TensorProto) -> int:
    """How many elements ``tensor`` has."""
    return int(np.prod(tensor.dims))


def _defined(graph: GraphProto) -> Iterator[str]:
    """The name of every value, as often as it is given to one."""
    for one in graphs(graph):
        yield from (value.name for value in one.input)
        yield from (name for node in one.node for name in node.output)
        inputs = {value.name for value in one.input}
        yield from (tensor.name for tensor in one.initializer if tensor.name not in inputs)


def _constants(graph: GraphProto, *, threshold: int, outermost: bool) -> list[TensorProto]:
    """Take the constants out of ``graph``, and initializers where they cannot stay under a name.

    Those are all of graphs within, and outputs, which the importer would rename.
    """
    places = [place for place, node in enumerate(graph.node) if _size(node) >= threshold]
    found = [_named(graph.node[at].attribute[0].t, graph.node[at].output[0]) for at in places]
    for place in reversed(places):
        del graph.node[place]
    handed_out = {value.name for value in graph.output}
    moved = [
        place
        for place, one in enumerate(graph.initializer)
        if elements(one) >= threshold and (not outermost or one.name in handed_out)
    ]
    found += [_named(graph.initializer[at], graph.initializer[at].name) for at in moved]
    for place in reversed(moved):
        del graph.initializer[place]
    return found


def _named(tensor: TensorProto, name: str) -> TensorProto:
    copy = deepcopy(tensor)
    copy.name = name
    return copy


def _size(node: NodeProto) -> int:
    """The elements of a Constant with a tensor; -1 for any other node."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return -1
    values = [attribute for attribute in node.attribute if attribute.name == "value"]
    return elements(values[0].t) if values else -1


def _free(name: str, names: "Counter[str]") -> str:
    number = 1
    while names[f"{name}.{number}"]:
        number += 1
    names[f"{name}.{number}"] += 1
    return f"{name}.{number}"


def _rename(graph: GraphProto, old: str, new: str) -> None:
    """Rename what ``graph`` and the graphs within read, where these define no such value."""
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = new
        for inner in (attribute.g for attribute in node.attribute if attribute.HasField("g")):
            if old not in set(_own(inner)):
                _rename(inner, old, new)


def _own(graph: GraphProto) -> Iterator[str]:
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (name for node in graph.node for name in node.output)
