"""Calls the one function of a compiled test on a device, with every element type that IREE names.

Apart from ``runner``, which serves models: those have few element types and external parameters.
Types of less than a byte cannot be passed, as their layout in a buffer is not the numpy one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import iree.runtime as iree
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_ELEMENT = iree.HalElementType
_TO_IREE: dict[np.dtype[Any], Any] = {
    np.dtype(kind): getattr(_ELEMENT, name)
    for kind, name in (
        (np.float64, "FLOAT_64"),
        (np.float32, "FLOAT_32"),
        (np.float16, "FLOAT_16"),
        (ml_dtypes.bfloat16, "BFLOAT_16"),
        (ml_dtypes.float8_e4m3fn, "FLOAT_8_E4M3_FN"),
        (ml_dtypes.float8_e4m3fnuz, "FLOAT_8_E4M3_FNUZ"),
        (ml_dtypes.float8_e5m2, "FLOAT_8_E5M2"),
        (ml_dtypes.float8_e5m2fnuz, "FLOAT_8_E5M2_FNUZ"),
        (ml_dtypes.float8_e8m0fnu, "FLOAT_8_E8M0_FNU"),
        (np.complex64, "COMPLEX_64"),
        (np.complex128, "COMPLEX_128"),
        (np.bool_, "BOOL_8"),
        (np.int8, "SINT_8"),
        (np.int16, "SINT_16"),
        (np.int32, "SINT_32"),
        (np.int64, "SINT_64"),
        (np.uint8, "UINT_8"),
        (np.uint16, "UINT_16"),
        (np.uint32, "UINT_32"),
        (np.uint64, "UINT_64"),
    )
}
_FROM_IREE = {int(element): kind for kind, element in _TO_IREE.items()}
#: Integers without a sign, as the compiler has them: their bits are what the test expects or not.
_SIGNLESS = {int(getattr(_ELEMENT, f"INT_{bits}")): bits // 8 for bits in (8, 16, 32, 64)}


def refusal(values: Sequence[Any]) -> str:
    """Why ``values`` cannot be passed to, or got from, a compiled function; "" when they can."""
    for number, value in enumerate(values):
        if value is None:
            return f"value {number} is an optional that is absent"
        if not isinstance(value, np.ndarray):
            return f"value {number} is a sequence or a map, not a tensor"
        if value.dtype == object or value.dtype.kind in "SU":
            return f"value {number} is a tensor of strings"
        if value.dtype not in _TO_IREE:
            return f"value {number} has element type {value.dtype}"
    return ""


def call(
    device: str, module: Path, arguments: Sequence[Array], *, expected: Sequence[Array]
) -> list[Array]:
    """The results of the module's function. Raises what iree.runtime raises.

    Integers without a sign get that of ``expected`` where the width is the same.
    """
    place = iree.get_device(device)
    instance = iree.VmInstance()
    loaded = iree.VmModule.copy_buffer(instance, module.read_bytes())
    (name,) = [n for n in loaded.function_names if not n.startswith("__") and "$" not in n]
    context = iree.VmContext(instance, [iree.create_hal_module(instance, place), loaded])
    given, results = iree.VmVariantList(len(arguments)), iree.VmVariantList(1)
    for array in arguments:
        given.push_ref(_send(place, array))
    context.invoke(loaded.lookup_function(name), given, results)
    views = [results.get_as_object(at, iree.HalBufferView) for at in range(len(results))]
    kinds: list[np.dtype[Any] | None] = [array.dtype for array in expected]
    kinds += [None] * (len(views) - len(kinds))
    return [_fetch(place, view, kind) for view, kind in zip(views, kinds, strict=False)]


def _send(device: Any, array: Array) -> Any:
    # ml_dtypes' own types are no buffers to Python; their bits are.
    bits = np.ascontiguousarray(array).reshape(array.shape)
    raw = bits.view(f"u{bits.dtype.itemsize}") if bits.dtype.kind == "V" else bits
    return device.allocator.allocate_buffer_copy(
        memory_type=iree.MemoryType.DEVICE_LOCAL,
        allowed_usage=iree.BufferUsage.DEFAULT,
        device=device,
        buffer=raw,
        element_type=_TO_IREE[array.dtype],
    )


def _fetch(device: Any, view: Any, wanted: np.dtype[Any] | None, /) -> Array:
    element, shape = int(view.element_type), tuple(view.shape)
    kind = _FROM_IREE.get(element)
    if kind is None:
        width = _SIGNLESS.get(element)
        if width is None:
            raise ValueError(f"a result has IREE element type {element:#x}")
        fits = wanted is not None and wanted.kind in "iu" and wanted.itemsize == width
        kind = wanted if wanted is not None and fits else np.dtype(f"i{width}")
    count = int(np.prod(shape))
    if not count:
        return np.empty(shape, kind)
    return _read(device, view.get_buffer())[: count * kind.itemsize].view(kind).reshape(shape)


def _read(device: Any, source: Any) -> Array:
    """The bytes of a device buffer, through a staging buffer that any device can make."""
    size = source.byte_length()
    staging = device.allocator.allocate_buffer(
        memory_type=int(iree.MemoryType.HOST_LOCAL | iree.MemoryType.DEVICE_VISIBLE),
        allowed_usage=int(iree.BufferUsage.TRANSFER_TARGET | iree.BufferUsage.MAPPING_SCOPED),
        allocation_size=size,
    )
    done = device.create_semaphore(0)
    device.queue_copy(
        source,
        staging,
        wait_semaphores=iree.HalFence.create_at(done, 0),
        signal_semaphores=iree.HalFence.create_at(done, 1),
    )
    iree.HalFence.create_at(done, 1).wait()
    mapped: Array = staging.map().asarray([size], np.dtype(np.uint8))
    return mapped.copy()
