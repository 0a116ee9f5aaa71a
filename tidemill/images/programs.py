"""Compiled programs on a device, through iree.runtime: VMFB and IRPA in, arrays in and out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tidemill.errors import StoreError, ToolError, UsageError
from tidemill.pixels.quality import Array

SCOPE = "model"
_Result = TypeVar("_Result")


class Device:
    """The device of a URI such as ``local-task`` or ``hip``.

    Raises UsageError for a driver that is not built in, StoreError when there is no such device;
    ``instead`` is what a person can take then.
    """

    def __init__(self, uri: str, *, instead: str = "--target cpu --device local-task") -> None:
        import iree.runtime as iree  # noqa: PLC0415 - only who runs programs needs it

        self.iree: Any = iree
        known = sorted(iree.HalDriver.query())
        if uri.partition("://")[0] not in known:
            raise UsageError(
                f"the IREE runtime here has no driver for {uri!r}",
                hint=f"it has {', '.join(known)}",
            )
        try:
            self.config: Any = iree.Config(device=iree.get_device(uri, cache=False))
        except (RuntimeError, ValueError, OSError) as error:
            raise StoreError(
                f"there is no {uri} device here: {_first_line(error)}",
                hint=f"run on a host that has one, or take {instead}",
            ) from error


class Program:
    """The functions of one VMFB, of which most have ``main`` alone.

    Raises ToolError when it cannot be loaded.
    """

    def __init__(self, device: Device, *, vmfb: Path, irpa: Path) -> None:
        self._iree = device.iree
        self._name = vmfb.parent.as_posix()
        self._device = device.config.device
        self._functions = self._attempt("be loaded", lambda: self._load(device, vmfb, irpa))

    def __call__(self, arrays: Sequence[Any], *, function: str = "main") -> list[Array]:
        """The results for ``arrays``, which must have the program's types. Raises ToolError."""
        return self._attempt("be run", lambda: self._call(function, arrays))

    def keep(self, array: Array) -> Any:
        """``array`` on the device, to be given to calls, which may change it. Raises ToolError."""
        return self._attempt("take an array", lambda: self._iree.asdevicearray(self._device, array))

    def _load(self, device: Device, vmfb: Path, irpa: Path) -> Any:
        iree, instance = self._iree, device.config.vm_instance
        module = iree.VmModule.copy_buffer(instance, vmfb.read_bytes())
        index = iree.ParameterIndex()
        index.load(str(irpa))
        parameters = iree.create_io_parameters_module(instance, index.create_provider(scope=SCOPE))
        hal = iree.create_hal_module(instance, device.config.device)
        modules = [parameters, hal, module]
        context = iree.SystemContext(vm_modules=modules, config=device.config)
        return context.modules[module.name]

    def _call(self, function: str, arrays: Sequence[Any]) -> list[Array]:
        given = [np.ascontiguousarray(a) if isinstance(a, np.ndarray) else a for a in arrays]
        results = self._functions[function](*given)
        several = results if isinstance(results, (tuple, list)) else (results,)
        return [np.array(one.to_host()) for one in several]

    def _attempt(self, done: str, act: Callable[[], _Result]) -> _Result:
        try:
            return act()
        except (RuntimeError, ValueError, OSError, KeyError) as error:
            raise ToolError(
                f"{self._name} cannot {done}: {_first_line(error)}",
                hint="does the artifact's target fit the device? `iree-run-module` says more",
            ) from error


def numbers(logits: Array, /, *, of: str) -> Array:
    """``logits``, in which the best of a row can be told. Raises ToolError on NaN."""
    if np.isnan(logits).any():
        wrong = "the artifact is wrong on this device: tell those who release it"
        narrow = "take the variant in f32: in a narrower type the network may overflow; if it says"
        raise ToolError(
            f"{of} gives logits that are not numbers (NaN)",
            hint=wrong if logits.dtype == np.float32 else f"{narrow} the same, {wrong}",
        )
    return logits


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].strip()
