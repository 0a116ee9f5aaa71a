"""An ONNX graph as an eager program: the evaluator of the ``onnx`` package, in float32 or float64.

The evaluator is the standard's own. Where it is wrong, OPERATORS replaces one operator, with the
reason.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, TypeProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from tidemill.exporters.base import Array

CASTS = frozenset({"Cast", "CastLike"})
LEAST_RANK = 2


class GlobalMaxPool(OpRun):
    """The largest value of each channel, over all axes from the third on.

    onnx 1.23's own takes the maximum over axes 1 and 2 when there is one spatial axis.
    """

    op_domain = ""

    def _run(self, values: NDArray[Any]) -> tuple[NDArray[Any]]:
        return (values.max(axis=tuple(range(LEAST_RANK, values.ndim)), keepdims=True),)


OPERATORS: tuple[type[OpRun], ...] = (GlobalMaxPool,)


def evaluator(model: ModelProto) -> Callable[[Sequence[Array]], list[Array]]:
    """``model`` as a function of its inputs, in their order. Raises what the evaluator raises."""
    reference = ReferenceEvaluator(model, new_ops=list(OPERATORS))
    names = [item.name for item in model.graph.input]

    def run(arrays: Sequence[Array]) -> list[Array]:
        results = reference.run(None, dict(zip(names, arrays, strict=True)))
        return [np.asarray(result) for result in results]

    return run


def widened(model: ModelProto) -> ModelProto:
    """A copy of ``model`` that computes in float64: constants, casts, inputs and outputs.

    Only types change; every weight keeps its exact value.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    for graph in graphs(copy.graph):
        for tensor in graph.initializer:
            _widen(tensor)
        for value in (*graph.input, *graph.output, *graph.value_info):
            _widen_type(value.type)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == AttributeProto.TENSOR:
                    _widen(attribute.t)
                cast = node.op_type in CASTS and attribute.name == "to"
                if cast and attribute.i == TensorProto.FLOAT:
                    attribute.i = TensorProto.DOUBLE
            if node.op_type == "Constant":
                _widen_constant(node)
    return copy


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """``graph`` and every graph inside its nodes (branches, loop bodies)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from graphs(attribute.g)


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        wide = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(wide, name=tensor.name))


def _widen_type(kind: TypeProto) -> None:
    if kind.tensor_type.elem_type == TensorProto.FLOAT:
        kind.tensor_type.elem_type = TensorProto.DOUBLE


def _widen_constant(node: onnx.NodeProto) -> None:
    """A Constant of plain floats means float32: make it a float64 tensor."""
    for attribute in list(node.attribute):
        if attribute.name in ("value_float", "value_floats"):
            plain = attribute.f if attribute.name == "value_float" else list(attribute.floats)
            value = numpy_helper.from_array(np.array(plain, dtype=np.float64))
            node.attribute.remove(attribute)
            node.attribute.append(onnx.helper.make_attribute("value", value))
