"""A warm process: it has imported what many actions of a toolchain share, and forks one child each.

``main.py --warm FD MODULE…`` serves the listening socket ``FD``. A request is one packet of JSON:
the work ``folder``, the ``log`` and the whole ``environment`` of an action. The answers are two
packets: the child's number, and at its end its wait status and peak memory in kB. A requester that
hangs up has its child killed, so nobody is left behind when it dies; and children die with this
process. Every child begins as the fork of a process that has done nothing but import.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import selectors
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

Run = Callable[[], int]


def serve(listener: socket.socket, *, modules: Sequence[str], run: Run) -> NoReturn:
    """Import ``modules``, then fork a child that calls ``run`` for every request, for ever.

    Exits at once where an import has started a thread: a fork of several threads may hang.
    """
    for name in modules:
        # What cannot be imported is an action's failure, which says so itself.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        listener.close()
        sys.exit("an import has started a thread: every action imports for itself")
    gc.collect()
    gc.freeze()  # else a child's first collection copies every page
    _Server(listener, run).serve()


class _Server:
    """One loop over new requests, requesters that hang up, and children that end."""

    def __init__(self, listener: socket.socket, run: Run) -> None:
        self.run = run
        self.listener = listener
        self.asking: dict[socket.socket, int] = {}  # requester → its child, 0 before there is one
        self.selector = selectors.DefaultSelector()
        self.woken, waker = socket.socketpair()
        waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        self.waker = waker
        for source in (listener, self.woken):
            source.setblocking(False)
            self.selector.register(source, selectors.EVENT_READ)

    def serve(self) -> NoReturn:
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.listener:
                    self._accept()
                elif key.fileobj is self.woken:
                    self.woken.recv(4096)
                    self._reap()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self.asking:
                    self._hear(key.fileobj)

    def _accept(self) -> None:
        requester, _ = self.listener.accept()
        packed = requester.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(packed)[1] != os.getuid():
            requester.close()
            return
        self.asking[requester] = 0
        self.selector.register(requester, selectors.EVENT_READ)

    def _hear(self, requester: socket.socket) -> None:
        try:
            packet = requester.recv(_LARGEST_REQUEST)
        except OSError:
            packet = b""
        child = self.asking[requester]
        if packet and not child:
            self._begin(requester, json.loads(packet))
        elif not packet:
            if child:
                _kill(child)
            self._forget(requester)

    def _begin(self, requester: socket.socket, request: dict[str, Any]) -> None:
        child = os.fork()
        if not child:
            self._become(request)
        self.asking[requester] = child
        with contextlib.suppress(OSError):
            requester.send(str(child).encode())

    def _become(self, request: dict[str, Any]) -> NoReturn:
        """In the child: be the action's process and end with it."""
        parent, code = os.getppid(), 1
        try:
            os.setsid()
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._close()
            _settle(request)
            code = self.run()
        except BaseException:  # noqa: BLE001 - the border of the process
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _close(self) -> None:
        self.selector.close()
        for open_one in (self.listener, self.woken, self.waker, *self.asking):
            open_one.close()

    def _reap(self) -> None:
        while True:
            try:
                child, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not child:
                return
            for requester in [one for one, its in self.asking.items() if its == child]:
                with contextlib.suppress(OSError):
                    requester.send(f"{status} {usage.ru_maxrss}".encode())
                self._forget(requester)

    def _forget(self, requester: socket.socket) -> None:
        del self.asking[requester]
        self.selector.unregister(requester)
        requester.close()


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


def _kill(child: int) -> None:
    """End a child and its group; it may not have become the leader of one yet."""
    for end in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            end(child, signal.SIGKILL)
