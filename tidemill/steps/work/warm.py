"""A warm process: it has imported what many actions of a toolchain share, and forks one child each.

``main.py --warm FD MODULE…`` serves the listening socket ``FD``, one connection an action:

1. the requester sends a packet of JSON: the work ``folder``, the ``log``, the ``environment``;
2. the child, forked and leader of a session of its own, sends its number, and waits;
3. the requester sends ``go``, and the child does the action's work;
4. at its end the warm process sends the wait status and the peak memory in kB.

A requester that hangs up before 3 has nothing done for it, after that its child is killed; so
nobody is left behind when it dies, and nothing is begun for who has turned elsewhere. Children die
with this process. Every child begins as the fork of a process that has done nothing but import.

It ends, and actions start by themselves, where that would not be so: when imports fail, take too
long or leave threads running, and when the imported source files have changed since.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
#: struct ucred of unix(7): process, user, group.
_CREDENTIALS = struct.Struct("3i")
#: An environment and two paths are far below it.
_LARGEST_REQUEST = 1 << 17
#: A loaded machine with nothing in its page cache took five minutes.
IMPORT_SECONDS = 600
GO = b"go"
#: How the interpreter ends where it cannot write its output to the end (``Py_FinalizeEx``).
UNFLUSHED = 120

Run = Callable[[], int]
Stamps = dict[str, tuple[int, int, int]]


def serve(listener: socket.socket, *, modules: Sequence[str], run: Run) -> NoReturn:
    """Import ``modules``, then fork a child that calls ``run`` for every request, for ever."""
    signal.alarm(IMPORT_SECONDS)  # its default is the end: whoever waits starts by itself
    before = _stamps()
    for name in modules:
        importlib.import_module(name)
    signal.alarm(0)
    loaded = _stamps(only=frozenset(_loaded_files()))
    if any(before.get(file) != stamp for file, stamp in loaded.items()):
        sys.exit("tidemill's own code was edited while it was imported")
    _join_threads()
    gc.collect()
    gc.freeze()  # else a child's first collection copies every page
    _Server(listener, run, loaded).serve()


def _loaded_files() -> list[str]:
    ours = (module for name, module in sys.modules.items() if name.partition(".")[0] == "tidemill")
    return [file for module in ours if (file := getattr(module, "__file__", None))]


def _stamps(only: frozenset[str] | None = None) -> Stamps:
    """When and how each of our source files, or of ``only`` these, was last written."""
    package = Path(__file__).resolve().parents[2]
    found = {}
    for path in package.rglob("*.py") if only is None else map(Path, only):
        with contextlib.suppress(OSError):
            state = path.stat()
            found[str(path)] = (state.st_mtime_ns, state.st_size, state.st_ino)
    return found


def _join_threads() -> None:
    """Fork once, so that libraries which join their threads then do. Exits if others are left.

    OpenBLAS starts its threads at import and does that. A lock that a thread holds while the
    process forks stays locked in the child.
    """
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        sys.exit("an import has left a thread running")


class _Server:
    """One loop over new requests, requesters that hang up, and children that end."""

    def __init__(self, listener: socket.socket, run: Run, loaded: Stamps) -> None:
        self.run, self.listener, self.loaded = run, listener, loaded
        self.lines: dict[int, socket.socket] = {}  # requesters by descriptor
        self.children: dict[int, int] = {}  # the child of each, once there is one
        self.woken, self.waker = socket.socketpair()
        self.waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.waker.fileno(), warn_on_full_buffer=False)
        self.poll = select.poll()
        for source in (listener, self.woken):
            source.setblocking(False)
            self.poll.register(source, select.POLLIN)

    def serve(self) -> NoReturn:
        while self.listener.fileno() >= 0 or self.children:
            for number, event in self.poll.poll():
                with contextlib.suppress(OSError):  # what is wrong with one is nothing to others
                    self._attend(number, hung_up=not event & select.POLLIN)
        sys.exit("tidemill's own code was edited: what was imported is not what keys say")

    def _attend(self, number: int, *, hung_up: bool) -> None:
        if number == self.listener.fileno():
            self._accept()
        elif number == self.woken.fileno():
            self.woken.recv(4096)
            self._reap()
        elif number in self.lines and (hung_up or number in self.children):
            self._forget(number)
        elif number in self.lines:
            try:
                self._begin(number)
            except (OSError, ValueError):  # no process to be had; the requester starts it itself
                self._forget(number)

    def _accept(self) -> None:
        line, _ = self.listener.accept()
        packed = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(packed)[1] != os.getuid():
            line.close()
            return
        self.lines[line.fileno()] = line
        self.poll.register(line, select.POLLIN)

    def _begin(self, number: int) -> None:
        request = json.loads(self.lines[number].recv(_LARGEST_REQUEST))
        if _stamps(only=frozenset(self.loaded)) != self.loaded:
            self._retire()
            return
        sys.stdout.flush()
        sys.stderr.flush()
        _LIBC.fflush(None)
        server = os.getpid()
        child = os.fork()
        if not child:
            self._become(request, line=self.lines[number], server=server)
        self.children[number] = child
        # The child reads ``go`` now; here only the end of the line is of interest.
        self.poll.modify(number, 0)

    def _become(self, request: dict[str, Any], *, line: socket.socket, server: int) -> NoReturn:
        """In the child: be the action's process and end with it."""
        code = 1
        try:
            os.setsid()
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != server:
                os._exit(1)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            line.setblocking(True)
            line.send(str(os.getpid()).encode())
            if line.recv(len(GO)) != GO:
                os._exit(1)
            for other in (self.listener, self.woken, self.waker, *self.lines.values()):
                other.close()
            _settle(request)
            code = self.run()
        except BaseException:  # noqa: BLE001 - the border of the process
            with contextlib.suppress(OSError):
                traceback.print_exc()
        finally:
            os._exit(code if _flushed() else UNFLUSHED)

    def _reap(self) -> None:
        while True:
            try:
                child, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not child:
                return
            for number in [number for number, its in self.children.items() if its == child]:
                del self.children[number]
                with contextlib.suppress(OSError):
                    self.lines[number].send(f"{status} {usage.ru_maxrss}".encode())
                self._forget(number)

    def _retire(self) -> None:
        """Begin nothing more; what runs goes on."""
        if self.listener.fileno() >= 0:
            self.poll.unregister(self.listener)
            self.listener.close()
        for number in self.lines.keys() - self.children.keys():
            self._forget(number)

    def _forget(self, number: int) -> None:
        """Close a line, and end the child at it."""
        self.poll.unregister(number)
        if child := self.children.pop(number, 0):
            for end in (os.killpg, os.kill):  # it may not lead a group yet
                with contextlib.suppress(ProcessLookupError):
                    end(child, signal.SIGKILL)
        self.lines.pop(number).close()


def _flushed() -> bool:
    """Write what is left of the log. False if that cannot be done: the disk is full."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return False
    return bool(_LIBC.fflush(None) == 0)


def _settle(request: dict[str, Any]) -> None:
    """Take on the folder, the log and the variables of an action, as exec would have."""
    os.chdir(request["folder"])
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(log)
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None  # it was looked up under the variables of before
    del sys.argv[1:]
