"""An ONNX graph as an eager program: the evaluator of the ``onnx`` package, in float32 or float64.

The evaluator is the standard's own. Where it is wrong, or cannot do what real models ask for,
OPERATORS replaces one operator, with the reason.
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


class Conv(OpRun):
    """The convolution, as a sum over the places of the kernel of one matrix product each.

    onnx 1.23's own writes a dilated kernel out with zeros between its values: with a dilation of
    4096, as models of sound and signals have, that took 60 GB for weights of 200 kB.
    """

    op_domain = ""

    def _run(  # noqa: PLR0917 - the evaluator gives attributes by these names
        self,
        values: NDArray[Any],
        kernel: NDArray[Any],
        bias: NDArray[Any] | None = None,
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int | None = None,
        kernel_shape: Sequence[int] | None = None,  # noqa: ARG002 - the kernel has it
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[NDArray[Any]]:
        rank, groups = values.ndim - LEAST_RANK, group or 1
        if values.shape[1] != groups * kernel.shape[1] or kernel.shape[0] % groups:
            raise ValueError(
                f"values {values.shape} do not fit a kernel {kernel.shape} in {groups} groups"
            )
        steps, apart = list(strides or [1] * rank), list(dilations or [1] * rank)
        sizes = [(size - 1) * gap + 1 for size, gap in zip(kernel.shape[2:], apart, strict=True)]
        around = _pads(auto_pad, pads, shape=values.shape[2:], sizes=sizes, strides=steps)
        padded = np.pad(values, [(0, 0), (0, 0), *around])
        result = [
            (length - size) // step + 1
            for length, size, step in zip(padded.shape[2:], sizes, steps, strict=True)
        ]
        rows, channels = kernel.shape[0] // groups, kernel.shape[1]
        weights = kernel.reshape(groups, rows, channels, *kernel.shape[2:])
        total = np.zeros((len(values), groups, rows, int(np.prod(result))), dtype=values.dtype)
        for place in np.ndindex(*kernel.shape[2:]):
            window = tuple(
                slice(at * gap, at * gap + (count - 1) * step + 1, step)
                for at, gap, count, step in zip(place, apart, result, steps, strict=True)
            )
            seen = padded[(slice(None), slice(None), *window)]
            flat = seen.reshape(len(values), groups, channels, total.shape[-1])
            total += weights[(..., *place)] @ flat
        outcome = total.reshape(len(values), groups * rows, *result)
        if bias is not None:
            outcome += bias.reshape(-1, *[1] * rank)
        return (outcome,)


def _pads(
    auto: str | None,
    pads: Sequence[int] | None,
    *,
    shape: Sequence[int],
    sizes: Sequence[int],
    strides: Sequence[int],
) -> list[tuple[int, int]]:
    """What is added before and after each spatial axis, by the attributes of a convolution."""
    if auto in (None, "", "NOTSET"):
        flat = list(pads or [0] * (2 * len(shape)))
        return list(zip(flat[: len(shape)], flat[len(shape) :], strict=True))
    if auto == "VALID":
        return [(0, 0)] * len(shape)
    around = []
    for length, size, step in zip(shape, sizes, strides, strict=True):
        whole = max((-(-length // step) - 1) * step + size - length, 0)
        less, more = whole // 2, whole - whole // 2
        around.append((less, more) if auto == "SAME_UPPER" else (more, less))
    return around


OPERATORS: tuple[type[OpRun], ...] = (GlobalMaxPool, Conv)


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
