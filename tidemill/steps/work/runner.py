"""Runs a compiled module: VMFB and IRPA on one device, through iree.runtime.

Every device goes the same way, in this process. The library's own conversion of results is not
used: on Vulkan it asks to import host memory that the driver refuses (alignment), and it trusts the
module's metadata for element types. Here each result is copied to a staging buffer that the device
itself allocates, and its shape and element type are those of the buffer view that really came back.

The errors of iree.runtime carry a status name (``INCOMPATIBLE``, ``RESOURCE_EXHAUSTED`` …), which
decides the failure's class. What a GPU's driver says when the GPU hangs or is lost is a matter of
the host, so that a later run tries again; on the CPU the same status is the program's own fault.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import iree.runtime as iree
import numpy as np

from tidemill.errors import FailureClass, WorkError
from tidemill.steps.work.dtypes import HOLDERS, Array, bf16_bits, from_bf16_bits

SCOPE = "model"
_ELEMENT = iree.HalElementType
#: How arguments are labelled. IREE treats signed and signless integers alike.
_TO_IREE = {
    "f64": _ELEMENT.FLOAT_64,
    "f32": _ELEMENT.FLOAT_32,
    "f16": _ELEMENT.FLOAT_16,
    "bf16": _ELEMENT.BFLOAT_16,
    "i64": _ELEMENT.SINT_64,
    "i32": _ELEMENT.SINT_32,
    "bool": _ELEMENT.BOOL_8,
}
#: What only stays on the device: types of one byte that numpy has no name for.
_NARROW = {
    "f8E4M3FN": _ELEMENT.FLOAT_8_E4M3_FN,
    "f8E4M3FNUZ": _ELEMENT.FLOAT_8_E4M3_FNUZ,
}
_FROM_IREE = {int(element): name for name, element in _TO_IREE.items()} | {
    int(getattr(_ELEMENT, f"{sign}_{bits}")): f"{letter}{bits}"
    for bits in (8, 16, 32, 64)
    for sign, letter in (("INT", "i"), ("SINT", "i"), ("UINT", "u"))
}
_STATUS = re.compile(r"\b([A-Z]{2,}(?:_[A-Z]+)*); ")
_CLASS_OF_STATUS = {
    "INCOMPATIBLE": FailureClass.HOST,
    "UNAVAILABLE": FailureClass.HOST,
    "RESOURCE_EXHAUSTED": FailureClass.OUT_OF_MEMORY,
}
#: What a GPU's driver answers when the GPU, and not the program, is in trouble.
DEVICE_STATUSES = frozenset(
    {"ABORTED", "DATA_LOSS", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "UNKNOWN"}
)
LOCAL_DRIVERS = frozenset({"local-task", "local-sync"})
_HINTS = {
    FailureClass.HOST: "run on a host that has this device; without one the target is unvalidated",
    FailureClass.OUT_OF_MEMORY: "validate with smaller samples, a proxy, or a larger device",
    FailureClass.COMPILE: "the artifact cannot be used by this runtime; see its compile log",
    FailureClass.CRASH: "the compiled program failed while it ran; reproduce with iree-run-module",
}
_BROKEN_DEVICE = "see to the GPU and its driver on this host; the next run tries again"
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """An argument or a result: ``array`` is of the numpy type that holds ``dtype``."""

    array: Array
    dtype: str


@dataclass(frozen=True, slots=True)
class Buffer:
    """An argument that stays on the device between calls, and that calls may change in place."""

    view: Any


class Session:
    """One module on one device.

    Raises WorkError: host when the device is not here, is not the one compiled for, or is a GPU
    whose driver fails; compile when the module or its parameters cannot be loaded, or lacks a
    function; crash when a call fails; out-of-memory.
    """

    def __init__(self, device: str, *, module: Path, parameters: Path | None) -> None:
        self._uri = device
        self._device = open_device(device)
        instance = iree.VmInstance()
        self._module = _attempt(
            lambda: iree.VmModule.copy_buffer(instance, module.read_bytes()),
            what=f"cannot load {module.name}",
            failure=FailureClass.COMPILE,
        )
        self._file = module.name
        modules = [iree.create_hal_module(instance, devices=[self._device]), self._module]
        if parameters is not None:
            modules.insert(0, _parameters(instance, parameters))
        self._context = _attempt(
            lambda: iree.VmContext(instance, modules),
            what=f"cannot start {module.name} on {device}",
            failure=FailureClass.COMPILE,
            device=device,
        )

    def function(self, name: str) -> Any:
        """The function ``name``, for ``call``. Raises WorkError (compile) when there is none."""
        found = self._module.lookup_function(name)
        if found is None:
            known = [n for n in self._module.function_names if not n.startswith("__")]
            message = f"{self._file} has no function {name!r}; it has {', '.join(known)}"
            raise WorkError(FailureClass.COMPILE, message, hint=_HINTS[FailureClass.COMPILE])
        return found

    def call(self, function: Any, arguments: Sequence[Value | Buffer]) -> list[Value]:
        """The results of ``function`` for ``arguments``. Raises WorkError."""
        return _attempt(
            lambda: self._call(function, arguments),
            what="the call failed",
            failure=FailureClass.CRASH,
            device=self._uri,
        )

    def keep(self, value: Value) -> Buffer:
        """``value`` on the device, for as many calls as there will be. Raises WorkError."""
        return _attempt(
            lambda: Buffer(self._send(value)),
            what="an argument cannot be sent",
            failure=FailureClass.CRASH,
            device=self._uri,
        )

    def keep_zeros(self, shape: Sequence[int], *, dtype: str) -> Buffer:
        """Zeros on the device, also of types that no array here holds. Raises WorkError."""
        # Zero is all bits zero in every type, so that the width of an element is all that counts.
        held = np.dtype(np.uint8) if dtype in _NARROW else HOLDERS[dtype]
        held = np.dtype(np.uint16) if dtype == "bf16" else held
        element = _NARROW.get(dtype) or _TO_IREE[dtype]
        return _attempt(
            lambda: Buffer(self._copied(np.zeros(shape, held), element)),
            what="an argument cannot be sent",
            failure=FailureClass.CRASH,
            device=self._uri,
        )

    def _call(self, function: Any, arguments: Sequence[Value | Buffer]) -> list[Value]:
        given = iree.VmVariantList(len(arguments))
        for argument in arguments:
            sent = argument.view if isinstance(argument, Buffer) else self._send(argument)
            given.push_ref(sent)
        results = iree.VmVariantList(1)
        self._context.invoke(function, given, results)
        return [
            self._fetch(results.get_as_object(index, iree.HalBufferView))
            for index in range(len(results))
        ]

    def _send(self, value: Value) -> Any:
        raw = bf16_bits(value.array) if value.dtype == "bf16" else value.array
        return self._copied(raw, _TO_IREE[value.dtype])

    def _copied(self, raw: Array, element: Any, /) -> Any:
        return self._device.allocator.allocate_buffer_copy(
            memory_type=iree.MemoryType.DEVICE_LOCAL,
            allowed_usage=iree.BufferUsage.DEFAULT,
            device=self._device,
            buffer=np.ascontiguousarray(raw).reshape(raw.shape),
            element_type=element,
        )

    def _fetch(self, view: Any) -> Value:
        dtype = _FROM_IREE.get(int(view.element_type))
        if dtype is None:
            kind = f"{int(view.element_type):#x}"
            raise WorkError(FailureClass.CRASH, f"a result has IREE element type {kind}", hint="")
        shape = tuple(view.shape)
        held = np.dtype(np.uint16) if dtype == "bf16" else HOLDERS[dtype]
        if 0 in shape:
            return Value(array=np.empty(shape, HOLDERS[dtype]), dtype=dtype)
        data = self._read(view.get_buffer())
        array = data[: int(np.prod(shape)) * held.itemsize].view(held).reshape(shape)
        return Value(array=from_bf16_bits(array) if dtype == "bf16" else array, dtype=dtype)

    def _read(self, source: Any) -> Array:
        """The bytes of a device buffer, in memory of our own."""
        size = source.byte_length()
        staging = self._device.allocator.allocate_buffer(
            memory_type=int(iree.MemoryType.HOST_LOCAL | iree.MemoryType.DEVICE_VISIBLE),
            allowed_usage=int(iree.BufferUsage.TRANSFER_TARGET | iree.BufferUsage.MAPPING_SCOPED),
            allocation_size=size,
        )
        done = self._device.create_semaphore(0)
        self._device.queue_copy(
            source,
            staging,
            wait_semaphores=iree.HalFence.create_at(done, 0),
            signal_semaphores=iree.HalFence.create_at(done, 1),
        )
        iree.HalFence.create_at(done, 1).wait()
        mapped: Array = staging.map().asarray([size], np.dtype(np.uint8))
        return mapped.copy()


def open_device(device: str) -> Any:
    """The device of a URI such as ``local-task`` or ``vulkan``. Raises WorkError (host)."""
    driver, known = device.partition("://")[0], sorted(iree.HalDriver.query())
    if driver not in known:
        raise WorkError(
            FailureClass.HOST,
            f"the IREE runtime has no driver {driver!r}; it has {', '.join(known)}",
            hint="correct `device` of the target in manifests/targets.yaml",
        )
    try:
        return iree.get_device(device, cache=False)
    except (RuntimeError, ValueError, OSError) as error:
        message = f"there is no {device} device here: {_first_line(error)}"
        raise WorkError(FailureClass.HOST, message, hint=_HINTS[FailureClass.HOST]) from error


def device_name(device: str) -> str | None:
    """What the runtime calls the device of a URI, as ``AMD Instinct MI300X``; None when nothing.

    A URI without a path is the driver's first device, as in ``open_device``.
    """
    path = device.partition("://")[2].partition("?")[0]
    try:
        listed = iree.get_driver(device).query_available_devices()
    except (RuntimeError, ValueError, OSError):
        return None
    names = [
        one["name"]
        for index, one in enumerate(listed)
        if path in (one["path"], str(index)) or not path
    ]
    # The CPU drivers call their only device so.
    return names[0] if names and names[0] not in ("", "default") else None


def _parameters(instance: Any, path: Path) -> Any:
    index = iree.ParameterIndex()
    _attempt(
        lambda: index.load(str(path)),
        what=f"cannot read parameters {path.name}",
        failure=FailureClass.COMPILE,
    )
    return iree.create_io_parameters_module(instance, index.create_provider(scope=SCOPE))


def _attempt(
    act: Callable[[], _Result], *, what: str, failure: FailureClass, device: str = ""
) -> _Result:
    """``act()``, with the runtime's error as a WorkError: by its status, or else ``failure``.

    ``device`` is the URI of the device that acts; empty when none does.
    """
    try:
        return act()
    except WorkError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        kind = class_of(str(error), device=device) or failure
        hint = _BROKEN_DEVICE if _is_driver_trouble(str(error), device) else _HINTS[kind]
        raise WorkError(kind, f"{what}: {_first_line(error)}", hint=hint) from error


def class_of(message: str, *, device: str) -> FailureClass | None:
    """The class that the status name in ``message`` decides; None when it decides nothing."""
    if _is_driver_trouble(message, device):
        return FailureClass.HOST
    return _CLASS_OF_STATUS.get(_status(message))


def _is_driver_trouble(message: str, device: str, /) -> bool:
    driver = device.partition("://")[0]
    return bool(driver) and driver not in LOCAL_DRIVERS and _status(message) in DEVICE_STATUSES


def _status(message: str) -> str:
    found = _STATUS.search(message)
    return found[1] if found else ""


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].strip()
