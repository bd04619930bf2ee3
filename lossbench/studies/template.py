"""A process that has loaded what a run needs and forks workers from itself, each ready at once.

It has one thread when it forks: torch starts its own only when it computes, and here it never does. It listens to a
socket, its standard input, and leaves when that closes, so that it does not outlive a study that was killed.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from signal import SIGKILL
from typing import Any

WORD = struct.Struct("i")  # what both sides say: a number
READY, FORK, RUNNING = -7001, -7002, -7003  # the first word of a template; requests and answers that are no pid or code
POLL_SECONDS = 0.005
LOST = 255  # exit code of a worker whose template has ended before it


def forks_safely() -> bool:
    """Whether this system can fork a process that has loaded torch: macOS cannot, Windows has no fork."""
    return sys.platform == "linux" and hasattr(socket, "send_fds")


# The side of the study.


class Template:
    """A template that loads while the study plans; use `started`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.socket, other = socket.socketpair()
        self.lock = threading.Lock()
        self.asked_to_be_ready = False
        with other:
            self.process = subprocess.Popen(
                command,
                stdin=other.fileno(),
                stdout=other.fileno(),
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )

    def fork(self) -> Forked | None:
        """A new worker; None where the template has ended or is none, so that one has to be started in full."""
        ends = [os.pipe() for _ in range(3)]
        given = [ends[0][0], ends[1][1], ends[2][1]]
        try:
            with self.lock:
                if not self.asked_to_be_ready:
                    self.asked_to_be_ready = True
                    if self._hear() != READY:
                        self.close()
                socket.send_fds(self.socket, [WORD.pack(FORK)], given)
                return Forked(self, self._hear(), ends[0][1], ends[1][0], ends[2][0])
        except (OSError, EOFError):
            for end in (ends[0][1], ends[1][0], ends[2][0]):
                os.close(end)
            return None
        finally:
            for end in given:
                os.close(end)

    def ask(self, pid: int) -> int:
        """The exit code of a worker, as subprocess gives it, or RUNNING. OSError or EOFError without a template."""
        with self.lock:
            self.socket.sendall(WORD.pack(pid))
            return self._hear()

    def close(self) -> None:
        """Let the template go; its workers stay."""
        self.socket.close()
        self.process.kill()
        self.process.wait()

    def _hear(self) -> int:
        answer = self.socket.recv(WORD.size, socket.MSG_WAITALL)
        if len(answer) < WORD.size:
            raise EOFError("the template has ended")
        return int(WORD.unpack(answer)[0])


@contextmanager
def started(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Template]:
    """A template that lives as long as the block."""
    template = Template(command, environment)
    try:
        yield template
    finally:
        template.close()


class Forked:
    """A forked worker, with what the study uses of `subprocess.Popen`."""

    def __init__(self, template: Template, pid: int, stdin: int, stdout: int, stderr: int) -> None:
        self.template, self.pid = template, pid
        self.stdin = os.fdopen(stdin, "w", buffering=1, encoding="utf-8")
        self.stdout = os.fdopen(stdout, encoding="utf-8")
        self.stderr = os.fdopen(stderr, "rb")
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        if self.returncode is None:
            try:
                code = self.template.ask(self.pid)
            except (OSError, EOFError):
                code = RUNNING if _exists(self.pid) else LOST
            self.returncode = None if code == RUNNING else code
        return self.returncode

    def wait(self) -> int:
        """The exit code, when it has ended."""
        while (code := self.poll()) is None:
            time.sleep(POLL_SECONDS)
        return code

    def kill(self) -> None:
        """End it at once; until its exit code was read, its number is no other's."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, SIGKILL)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# The side of the template.


def serve_forks(work: Callable[[], Any]) -> None:
    """Say that all is loaded, then fork a process that does `work` for each request, until the study is gone."""
    orders = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    orders.sendall(WORD.pack(READY))
    while True:
        message, given, _, _ = socket.recv_fds(orders, WORD.size, 3)
        if not message:
            return
        request = int(WORD.unpack(message)[0])
        orders.sendall(WORD.pack(_exit_code(request) if request != FORK else _fork(given, work)))


def _fork(given: Sequence[int], work: Callable[[], Any]) -> int:
    pid = os.fork()
    if pid:
        for handle in given:
            os.close(handle)
        return pid
    try:
        os.setsid()
        for number, handle in enumerate(given):
            os.dup2(handle, number)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the socket too: it must close when the study and template end
        work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def _exit_code(pid: int) -> int:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else RUNNING
