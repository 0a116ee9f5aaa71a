"""The child process of a step: ``<python> -P …/tidemill/steps/work/main.py`` in a work folder.

It reads ``request.json``, runs one working half, and leaves ``response.json``: what was made, or a
classified error (exit code 1). A process that ends without one was killed or has crashed.
With ``--warm`` it does so once for every request, in a child each (see warm.py).
"""

import importlib
import importlib.util
import socket
import sys
import traceback
from pathlib import Path
from typing import NoReturn

STEPS = (
    "fetch",
    "quantize",
    "export",
    "pack",
    "reference",
    "validate",
    "benchmark",
    "peer",
    "conformance",
    "compare",
)


def make_tidemill_importable() -> None:
    """Make ``import tidemill`` find the package that this file belongs to, and nothing beside it.

    The package's parent folder may be the site-packages of the orchestrator's environment. On
    ``sys.path`` it would mix two environments, so only the package itself is registered.
    """
    package = Path(__file__).resolve().parents[2]
    spec = importlib.util.spec_from_file_location(
        "tidemill", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{package} is not the tidemill package")
    module = importlib.util.module_from_spec(spec)
    sys.modules["tidemill"] = module
    spec.loader.exec_module(module)


if "tidemill" not in sys.modules:
    make_tidemill_importable()

from tidemill.errors import FailureClass, WorkError  # noqa: E402 - importable from here on
from tidemill.steps.work.protocol import (  # noqa: E402
    OUT,
    REQUEST,
    ChildError,
    Request,
    Response,
    write_response,
)

#: The class of an error that a working half did not classify itself.
UNEXPECTED = {
    "fetch": FailureClass.INFRASTRUCTURE,
    "quantize": FailureClass.EXPORT,
    "export": FailureClass.EXPORT,
    "pack": FailureClass.EXPORT,
    "reference": FailureClass.EXPORT,
    "validate": FailureClass.CRASH,
    "benchmark": FailureClass.CRASH,
    "peer": FailureClass.CRASH,
    "conformance": FailureClass.CRASH,
    "compare": FailureClass.CRASH,
}
#: Errors of the system that tell of what was asked, and not of the machine.
_ABOUT_NAMES = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)
#: How torch's CPU allocator says, in a plain RuntimeError, that memory ran out.
_TORCH_OUT_OF_MEMORY = "DefaultCPUAllocator: "


def run_step(request: Request) -> Response:
    """Run the working half that the request names and check that its files exist."""
    if request.step not in STEPS:
        raise WorkError(
            FailureClass.INFRASTRUCTURE,
            f"there is no step {request.step!r}; there are {', '.join(STEPS)}",
            hint="this is a fault of tidemill: the orchestrator and the child disagree",
        )
    Path(OUT).mkdir(exist_ok=True)
    half = importlib.import_module(f"tidemill.steps.work.{request.step}")
    response: Response = half.run(request)
    missing = [made.name for made in response.made if not (Path(OUT) / made.name).is_file()]
    if missing:
        raise FileNotFoundError(f"the step says it made {', '.join(missing)}, but did not")
    return response


def classify(error: Exception, *, step: str) -> ChildError:
    """The error as the orchestrator gets it."""
    if isinstance(error, WorkError):
        return ChildError(failure=error.failure, message=error.message, hint=error.hint)
    message = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, MemoryError) or _TORCH_OUT_OF_MEMORY in message:
        hint = "give the step more memory under `limits`, or a host that has more"
        return ChildError(failure=FailureClass.OUT_OF_MEMORY, message=message, hint=hint)
    if _is_of_the_machine(error):
        hint = "see to the disk, the memory and the network of this host; the next run tries again"
        return ChildError(failure=FailureClass.INFRASTRUCTURE, message=message, hint=hint)
    failure = UNEXPECTED.get(step, FailureClass.INFRASTRUCTURE)
    return ChildError(failure=failure, message=message)


def _is_of_the_machine(error: BaseException | None) -> bool:
    """Whether the system refused something that it should do: a full disk, a failed read.

    A library's own OSError has no number, and a file that is not there is the step's matter.
    """
    while error is not None:
        if isinstance(error, OSError) and not isinstance(error, _ABOUT_NAMES):
            return error.errno is not None or isinstance(error, ConnectionError | TimeoutError)
        error = error.__cause__
    return False


def main() -> int:
    """Run the request of the current folder; 0 when it succeeded, 1 when it did not."""
    for stream in (sys.stdout, sys.stderr):
        # The log is a file that people follow while the step runs.
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    folder = Path.cwd()
    step = ""
    try:
        request = Request.from_json((folder / REQUEST).read_text(encoding="utf-8"))
        step = request.step
        write_response(folder, run_step(request))
    except Exception as error:  # noqa: BLE001 - the border of the process: everything is reported
        traceback.print_exc()
        write_response(folder, classify(error, step=step))
        return 1
    return 0


def main_warm(descriptor: str, *modules: str) -> NoReturn:
    """Import ``modules`` and fork a child with ``main`` for everyone who asks at the socket."""
    from tidemill.steps.work.warm import serve  # noqa: PLC0415 - hardly any process needs it

    serve(socket.socket(fileno=int(descriptor)), modules=modules, run=main)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--warm"]:
        main_warm(*sys.argv[2:])
    sys.exit(main())
