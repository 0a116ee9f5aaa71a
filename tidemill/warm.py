"""Warm processes: actions of one toolchain that share the seconds which its imports take.

``warm_process`` starts ``steps/work/warm.py`` under a toolchain's interpreter; ``Warm.start`` is a
way to start an action (see ``child``) that has it fork. The action is watched, limited and ended
like any other. Where the warm process cannot be reached, actions start by themselves.
"""

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tidemill.child import Exit, Running, end_group, end_with_parent, spawn

#: How long to wait for a child of a process that is still importing: longer than it may import.
_BEGIN_SECONDS = 660
#: How long a killed child may take to end.
_END_SECONDS = 30
_LARGEST_ANSWER = 256
_GO = b"go"
LOG = "log.txt"


class _Forked:
    """A child that the warm process has forked. Closing ``line`` ends it."""

    def __init__(self, line: socket.socket, pid: int) -> None:
        self.line, self.pid = line, pid
        self.exit: Exit | None = None

    def ended(self) -> Exit | None:
        if self.exit is None:
            self.line.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                self._hear()
        return self.exit

    def reap(self) -> None:
        if self.exit is None:
            self.line.settimeout(_END_SECONDS)
            try:
                self._hear()
            except TimeoutError:  # the warm process is stopped; closing the line is all there is
                self.exit = Exit(status=signal.SIGKILL, peak_memory_bytes=0)
        self.line.close()

    def _hear(self) -> None:
        try:
            answer = self.line.recv(_LARGEST_ANSWER)
        except ConnectionError:
            answer = b""
        # Without an answer the warm process was killed, and the child with it.
        status, peak = (int(word) for word in answer.split()) if answer else (signal.SIGKILL, 0)
        self.exit = Exit(status=status, peak_memory_bytes=peak * 1024)


class Warm:
    """A warm process, as those who want an action run see it; safe across forks."""

    def __init__(self, address: str, process: subprocess.Popen[bytes] | None = None) -> None:
        self.address, self._process = address, process

    @property
    def gone(self) -> bool:
        """Whether it has ended by itself. To be asked by the process that started it."""
        return self._process is not None and self._process.poll() is not None

    def start(
        self, command: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str]
    ) -> Running:
        """Have the action in ``folder`` begun by the warm process, else start ``command``.

        Raises OSError if that cannot be started either.
        """
        log.write_bytes(b"")  # there even if the child is ended before it has begun
        request = {"folder": str(folder), "log": str(log), "environment": dict(environment)}
        line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = self._begin(line, json.dumps(request).encode())
        except OSError:
            pid = 0
        except BaseException:
            line.close()  # an interrupt: nothing is begun, or it ends
            raise
        if pid:
            return _Forked(line, pid)
        line.close()
        return spawn(command, folder=folder, log=log, environment=environment)

    def _begin(self, line: socket.socket, request: bytes) -> int:
        """The number of the child that has begun; 0 if there is none."""
        line.settimeout(_BEGIN_SECONDS)
        line.connect(self.address)
        line.send(request)
        pid = int(line.recv(_LARGEST_ANSWER) or b"0")
        if pid:
            line.send(_GO)
        return pid


@contextlib.contextmanager
def warm_process(
    command: Sequence[str],
    *,
    modules: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
) -> Iterator[Warm]:
    """Have a process that has imported ``modules`` while the body runs; it imports meanwhile.

    ``command`` is that of an action. What the process says is in ``folder``/log.txt. If this
    process dies, the kernel ends the warm one, and so all of its children. Raises OSError if it
    cannot start.
    """
    address = f"\0tidemill-{os.getpid()}-{uuid.uuid4().hex}"  # abstract, see unix(7): no file
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen()
        with (folder / LOG).open("wb") as log:
            process = subprocess.Popen(
                [*command, "--warm", str(listener.fileno()), *modules],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[listener.fileno()],
                # Only async-signal-safe work in it.
                preexec_fn=functools.partial(end_with_parent, os.getpid()),  # noqa: PLW1509
            )
    try:
        yield Warm(address, process)
    finally:
        end_group(process.pid)
        process.wait()
