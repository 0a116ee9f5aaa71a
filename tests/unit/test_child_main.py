"""The child process of a step: what it answers, and that it sees its own package only."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tidemill
from tidemill.errors import FailureClass
from tidemill.steps.work.protocol import (
    ChildError,
    Made,
    Request,
    Response,
    read_response,
    write_response,
)

PACKAGE = Path(tidemill.__file__).parent


class Child:
    """A copy of the package with a working half of our own, started as the orchestrator does."""

    def __init__(self, folder: Path) -> None:
        self.site, self.work = folder / "site", folder / "work"
        self.work.mkdir(parents=True)
        for name in (
            "__init__.py",
            "errors.py",
            "steps/__init__.py",
            "steps/work/__init__.py",
            "steps/work/protocol.py",
            "steps/work/main.py",
        ):
            target = self.site / "tidemill" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PACKAGE / name, target)
        (self.site / "neighbour.py").write_text("")

    def run(self, body: str, *, step: str = "fetch") -> "subprocess.CompletedProcess[str]":
        """Run the step whose working half has this body."""
        lines = [f"    {line}" for line in body.splitlines()]
        imports = (
            "from pathlib import Path",
            "from tidemill.errors import FailureClass, WorkError",
            "from tidemill.steps.work.protocol import Made, Response",
            "def run(request):",
        )
        half = self.site / "tidemill/steps/work" / f"{step}.py"
        half.write_text("\n".join([*imports, *lines]) + "\n")
        (self.work / "request.json").write_text(Request(step=step, fields={"a": 1}).to_json())
        return self.start()

    def start(self) -> "subprocess.CompletedProcess[str]":
        main = self.site / "tidemill/steps/work/main.py"
        return subprocess.run(
            [sys.executable, "-P", str(main)],
            cwd=self.work,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def answer(self) -> Response | ChildError:
        assert not (self.work / ".response.json.part").exists()
        return read_response(self.work)


@pytest.fixture
def child(tmp_path: Path) -> Child:
    return Child(tmp_path)


def test_what_a_step_made_and_measured_is_answered(child: Child) -> None:
    done = child.run(
        "Path('out/a.txt').write_text('x')\n"
        "return Response(made=(Made(name='a.txt', kind='source'),), facts=dict(request.fields))"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert child.answer == Response(made=(Made(name="a.txt", kind="source"),), facts={"a": 1})


def test_the_child_sees_its_package_but_not_what_lies_beside_it(child: Child) -> None:
    done = child.run(
        "import sys, tidemill\n"
        "try:\n    import neighbour\n    seen = True\n"
        "except ImportError:\n    seen = False\n"
        "return Response(made=(), facts={'seen': seen, 'path': sys.path,\n"
        "    'package': tidemill.__file__, 'version': tidemill.__version__})"
    )
    assert done.returncode == 0, done.stderr
    answer = child.answer
    assert isinstance(answer, Response)
    assert answer.facts["seen"] is False
    assert str(child.site) not in answer.facts["path"]
    assert answer.facts["package"] == str(child.site / "tidemill/__init__.py")
    assert answer.facts["version"] == tidemill.__version__


def test_a_classified_error_keeps_its_class_and_its_hint(child: Child) -> None:
    done = child.run("raise WorkError(FailureClass.HOST, 'no such device', hint='find one')")
    assert done.returncode == 1
    assert child.answer == ChildError(
        failure=FailureClass.HOST, message="no such device", hint="find one"
    )


@pytest.mark.parametrize(
    ("step", "failure"),
    [
        ("fetch", FailureClass.INFRASTRUCTURE),
        ("export", FailureClass.EXPORT),
        ("pack", FailureClass.EXPORT),
        ("reference", FailureClass.EXPORT),
        ("validate", FailureClass.CRASH),
    ],
)
def test_an_unexpected_error_gets_the_class_of_its_step(
    child: Child, step: str, failure: FailureClass
) -> None:
    done = child.run("raise ZeroDivisionError('by nothing')", step=step)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert child.answer == ChildError(failure=failure, message="ZeroDivisionError: by nothing")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("MemoryError()", "MemoryError"),
        (
            "RuntimeError('DefaultCPUAllocator: not enough memory')",
            "RuntimeError: DefaultCPUAllocator: not enough memory",
        ),
    ],
)
def test_memory_that_ran_out_has_its_own_class(child: Child, error: str, message: str) -> None:
    child.run(f"raise {error}", step="pack")
    assert child.answer == ChildError(
        failure=FailureClass.OUT_OF_MEMORY,
        message=message,
        hint="give the step more memory under `limits`, or a host that has more",
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "import errno\nraise OSError(errno.ENOSPC, 'No space left on device')",
            "OSError: [Errno 28] No space left on device",
        ),
        (
            "import errno\nraise OSError(errno.EIO, 'Input/output error')",
            "OSError: [Errno 5] Input/output error",
        ),
        ("raise TimeoutError('no answer')", "TimeoutError: no answer"),
        (
            "try:\n    raise OSError(5, 'Input/output error')\n"
            "except OSError as error:\n    raise ValueError('torn archive') from error",
            "ValueError: torn archive",
        ),
    ],
)
@pytest.mark.parametrize("step", ["export", "validate"])
def test_what_the_machine_could_not_do_is_tried_again(
    child: Child, body: str, message: str, step: str
) -> None:
    child.run(body, step=step)
    assert child.answer == ChildError(
        failure=FailureClass.INFRASTRUCTURE,
        message=message,
        hint="see to the disk, the memory and the network of this host; the next run tries again",
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("FileNotFoundError(2, 'No such file', 'a')", "FileNotFoundError: [Errno 2] No such file"),
        ("OSError('a is not a valid config')", "OSError: a is not a valid config"),
    ],
)
def test_what_a_library_does_not_find_or_take_is_the_steps_own_failure(
    child: Child, error: str, message: str
) -> None:
    child.run(f"raise {error}", step="export")
    answer = child.answer
    assert isinstance(answer, ChildError)
    assert answer.failure is FailureClass.EXPORT
    assert answer.message.partition(": 'a'")[0] == message


def test_a_file_that_was_promised_but_not_made_is_an_error(child: Child) -> None:
    child.run("return Response(made=(Made(name='a.mlir', kind='mlir'),))", step="export")
    assert child.answer == ChildError(
        failure=FailureClass.EXPORT,
        message="FileNotFoundError: the step says it made a.mlir, but did not",
    )


def test_facts_with_nan_are_an_error_and_not_broken_json(child: Child) -> None:
    done = child.run("return Response(made=(), facts={'x': float('nan')})", step="export")
    assert done.returncode == 1
    answer = child.answer
    assert isinstance(answer, ChildError)
    assert answer.message.startswith("ValueError: Out of range float values")


def test_a_step_that_does_not_exist_is_named(child: Child) -> None:
    (child.work / "request.json").write_text(Request(step="bake", fields={}).to_json())
    assert child.start().returncode == 1
    assert child.answer == ChildError(
        failure=FailureClass.INFRASTRUCTURE,
        message="there is no step 'bake'; there are fetch, quantize, export, pack, reference,"
        " validate, benchmark, peer, conformance, compare",
        hint="this is a fault of tidemill: the orchestrator and the child disagree",
    )


def test_a_folder_without_a_request_is_an_error(child: Child) -> None:
    assert child.start().returncode == 1
    answer = child.answer
    assert isinstance(answer, ChildError)
    assert answer.failure is FailureClass.INFRASTRUCTURE
    assert answer.message.startswith("FileNotFoundError: ")


def test_a_child_that_is_killed_leaves_no_answer(child: Child) -> None:
    done = child.run("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert done.returncode == -9
    with pytest.raises(FileNotFoundError):
        read_response(child.work)


def test_the_log_is_written_line_by_line(child: Child) -> None:
    done = child.run("print('first')\nimport os\nos._exit(3)")
    assert (done.returncode, done.stdout) == (3, "first\n")


def test_answers_come_back_as_they_were_written(tmp_path: Path) -> None:
    error = ChildError(failure=FailureClass.NUMERICS, message="größer", hint="h")
    write_response(tmp_path, error)
    assert read_response(tmp_path) == error


@pytest.mark.parametrize(
    "raw", [{}, [], {"made": [{"name": "a"}], "facts": {}}, {"error": {"failure": "bad luck"}}]
)
def test_what_no_child_writes_is_refused(tmp_path: Path, raw: Any) -> None:
    (tmp_path / "response.json").write_text(json.dumps(raw))
    with pytest.raises(ValueError, match=r"response\.json is not an answer|is not a valid"):
        read_response(tmp_path)
