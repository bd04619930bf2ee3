"""Processes to kill, and fresh ones: forked, so that torch need not load again each time, and killed for real."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Collection
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import pytest
import torch

import lossbench.training.run
from lossbench import RunConfig
from lossbench.registry import VARIABLE
from lossbench.studies import process

PACKAGE = Path(lossbench.__file__).parent

if not hasattr(os, "fork"):
    pytest.skip("this system has no fork", allow_module_level=True)


class Child:
    """A forked process."""

    def __init__(self, pid: int) -> None:
        self.pid, self.code = pid, None

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def poll(self) -> int | None:
        """The exit code, -9 for a killed process, None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self, seconds: float = 600) -> int:
        """Its exit code; -9 when it was killed."""
        wait_for(lambda: self.poll() is not None, seconds)
        return self.code

    def kill(self) -> bool:
        """Kill it; whether it was still running."""
        self.send(signal.SIGKILL)
        return self.wait() == -signal.SIGKILL


@cache
def warm_up() -> None:
    """Load what a run loads, before the first fork."""
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        lossbench.run(RunConfig(dataset="shapes", epochs=1, train_size=32), folder)
    torch.set_num_threads(threads)


def fork(work: Callable[[], object], log: Path | None = None) -> Child:
    """Call `work` in a process of its own; what it prints goes to `log`."""
    warm_up()
    pid = os.fork()
    if pid:
        return Child(pid)
    code: object = 70
    try:
        try:
            out = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            use_streams(os.open(os.devnull, os.O_RDONLY), out, out)
            warnings.showwarning = show  # pytest keeps them to itself
            signal.signal(signal.SIGINT, signal.default_int_handler)
            torch.set_num_threads(1)
            work()
            code = 0
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:  # also when Ctrl-C comes this late: what goes on after it would be a second pytest
        os._exit(int(str(code or 0)))


COMMAND = "from lossbench.cli import main; main()"
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["lossbench.training.run", "lossbench.studies.execute", "lossbench.cli", __name__])


def start_anew(code: str, *words: object, folder: Path | None = None, log: Path) -> int:
    """Execute `code` in a process that has loaded lossbench and nothing of this one, with this one's environment.

    `code` has `words` as `sys.argv[1:]`. What is printed goes to `log`. Returns the exit code.
    """
    given = (code, [*map(str, words)], dict(os.environ), folder or Path.cwd(), log)
    process = SERVER.Process(target=_serve, args=given)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(VARIABLE, raising=False)  # the server, which starts with the first process, loads no files
        process.start()
    process.join()
    return int(str(process.exitcode))


def _serve(code: str, words: list[str], environment: dict[str, str], folder: Path, log: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    use_streams(os.open(os.devnull, os.O_RDONLY), out, out)
    from lossbench.registry import extend_inherited

    extend_inherited()  # which an import of the losses would have done
    sys.argv = ["lossbench", *words]
    exec(code, {"__name__": "__main__"})


def hear_ctrl_c() -> None:
    """As in a terminal: a shell switches it off for what it starts in the background, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def show(message: Warning | str, category: type[Warning], *_: object) -> None:
    sys.stderr.write(f"{category.__name__}: {message}\n")


def use_streams(*handles: int) -> None:
    """Make these the standard streams, for Python and for the system."""
    for place, handle in enumerate(handles):
        os.dup2(handle, place)
    sys.stdin, sys.stdout, sys.stderr = open(0, closefd=False), open(1, "w", 1, closefd=False), open(2, "w", 1)  # noqa: SIM115


def quick_workers(patch: pytest.MonkeyPatch | None = None) -> None:
    """Let the process engine's workers start without loading torch: they go on after the fork instead of exec."""
    warm_up()
    patch = patch or pytest.MonkeyPatch()
    patch.setattr(process, "prepared", lambda workers: nullcontext())
    patch.setattr(process, "_start_worker", _start_quickly)


def _start_quickly(_template: None) -> subprocess.Popen[str]:
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(
        process.COMMAND, **pipes, text=True, bufsize=1, start_new_session=True, preexec_fn=_serve_runs
    )


def _serve_runs() -> None:
    os.closerange(3, 1 << 12)  # pipes of other workers too, which exec would have closed
    use_streams(0, 1, 2)
    torch.set_num_threads(1)
    from lossbench.studies import worker

    try:
        worker.main()
    finally:
        os._exit(0)


def keep_weights(output: Path) -> None:
    """Leave a digest of each run's last weights and optimiser state in `output`."""
    finish = lossbench.training.run.finish

    def finish_and_tell(record: Any, training: Any, *rest: Any) -> None:
        digest = hashlib.sha256()
        for part in (training.model, training.criterion):
            for name, value in part.state_dict().items():
                digest.update(name.encode() + value.numpy().tobytes())
        for state in training.optimizer.state_dict()["state"].values():
            digest.update(b"".join(value.numpy().tobytes() for value in state.values() if torch.is_tensor(value)))
        output.mkdir(exist_ok=True)
        (output / f"{record.path.name}.weights").write_text(digest.hexdigest())
        finish(record, training, *rest)

    lossbench.training.run.finish = finish_and_tell


def outcome(output: Path, config: RunConfig) -> dict[str, bytes]:
    """What must not depend on whether a run was interrupted."""
    folder = output / "runs" / config.run_id
    files = {name: (folder / name).read_bytes() for name in ("config.json", "history.csv", "predictions.npz")}
    return files | {"weights": (output / f"{config.run_id}.weights").read_bytes()}


def trace_lines(names: Collection[str], at_line: Callable[[str], None]) -> None:
    """Call `at_line` with the file's name before each line of these modules of lossbench is executed."""
    wanted = {str(PACKAGE / name): name for name in names}

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        name = wanted.get(frame.f_code.co_filename)
        if name is None:
            return None
        if event == "line":
            at_line(name)
        return trace

    sys.settrace(trace)


def wait_for(condition: Callable[[], object], seconds: float = 600) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.002)


def still_there(processes: list[psutil.Process], seconds: float = 5) -> list[psutil.Process]:
    """Those that have not ended after so many seconds, or as many times more as processes wait for each core."""
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    return psutil.wait_procs(processes, timeout=seconds * busy)[1]


def pause(rng: random.Random, most: float) -> None:
    time.sleep(rng.uniform(0, most))
