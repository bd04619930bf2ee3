"""Runs in worker processes of one thread each: restart what is killed, come back to what another study holds."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

from lossbench.config import RunConfig
from lossbench.studies.execute import TRIES, Job, Queue, Slot, work
from lossbench.studies.template import Forked, Template, forks_safely, started

LOG_BYTES = 1 << 20  # of what one run prints; a loss may print at each step
LOG_SECONDS = 5.0  # for the last words of a worker that has ended

SINGLE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
COMMAND = (sys.executable, "-m", "lossbench.studies.worker")


def prepared(workers: int) -> AbstractContextManager[Template | None]:
    """Load what workers need in a process that forks them, while this one prepares; one worker starts alone."""
    if workers == 1 or not forks_safely():
        return nullcontext()
    return started([*COMMAND, "template"], {**os.environ, **SINGLE_THREAD})


def execute(job: Job) -> None:
    """Run each config in a single-threaded worker process, as many at once as `job.at_once`.

    A worker that dies is replaced, and its run goes on from the last whole epoch, at most three times.
    """
    queue = Queue(job.todo)
    work([_Worker(job, queue, job.log(str(i))) for i in range(job.at_once)])


class _Worker(Slot):
    """Feeds one worker process and reads its answers."""

    def __init__(self, job: Job, queue: Queue, log: Path) -> None:
        super().__init__(job, queue)
        self.log, self.told_to_stop = log, False
        self.process: subprocess.Popen[str] | Forked | None = None
        self.keeper: threading.Thread | None = None
        self.heading, self.room = b"", LOG_BYTES
        self.deadline, self.timed_out = math.inf, False

    def look(self) -> None:
        if time.monotonic() > self.deadline and self.process is not None:
            self.deadline, self.timed_out = math.inf, True
            self.process.kill()
        if self.board.stopping.is_set() and not self.told_to_stop and self.process is not None:
            self.told_to_stop = True
            _send(self.process, "stop")

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self._end_log()

    def leave(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()  # the worker leaves
            self.process.wait()
            self._end_log()

    def serve(self, i: int, config: RunConfig) -> None:
        for _ in range(TRIES):
            answer = self._run_once(config)
            if answer["event"] == "done":
                return self.board.done(config, answer)
            if answer["event"] == "held":
                return self.queue.put_back(i, config)
            if answer["event"] == "failed":  # an exception repeats itself; only a dead worker is worth another try
                return self._fail(config, answer["error"], disk_full=answer["disk_full"])
            if self.timed_out:
                return self._fail(config, self.job.out_of_time)
            if self.board.stopping.is_set():
                return None
        return self._fail(config, f"worker ended {TRIES} times, last with exit code {answer['code']}")

    def _fail(self, config: RunConfig, why: str, *, disk_full: bool = False) -> None:
        self.board.failed(config, f"{why} (see {self.log})", disk_full=disk_full)

    def _run_once(self, config: RunConfig) -> dict[str, Any]:
        self.heading, self.room, self.timed_out = f"--- {config.run_id}\n".encode(), LOG_BYTES, False
        if self.process is None or self.process.poll() is not None:
            self._end_log()
            self.process = _start_worker(self.job.template)
            self.keeper = threading.Thread(target=self._keep_log, args=(self.process,), daemon=True)
            self.keeper.start()
            if self.board.stopping.is_set():  # asked before there was anybody to pass it on to
                return {"event": "stopped"}
        _send(self.process, json.dumps(self.job.task(config)))
        self._start_clock()
        try:
            return self._read_answer(config, self.process)
        finally:
            self.deadline = math.inf

    def _read_answer(self, config: RunConfig, process: subprocess.Popen[str] | Forked) -> dict[str, Any]:
        assert process.stdout is not None
        for line in process.stdout:
            answer: dict[str, Any] = json.loads(line)
            if answer["event"] == "epoch":
                self.board.epoch(config, answer["epoch"])
            elif answer["event"] == "ready":
                self._start_clock()  # what a worker takes to start is not the run's
            else:
                return answer
        return {"event": "died", "code": process.wait()}

    def _start_clock(self) -> None:
        if self.job.timeout is not None:
            self.deadline = time.monotonic() + self.job.timeout

    def _keep_log(self, process: subprocess.Popen[str] | Forked) -> None:
        """Append to the log what the worker prints, of each run no more than `LOG_BYTES`; runs in a thread."""
        assert process.stderr is not None
        while chunk := os.read(process.stderr.fileno(), 1 << 16):
            text = self.heading + chunk[: self.room]
            if len(chunk) > self.room > 0:
                text += b"\n(what this run prints beyond that is left out)\n"
            self.heading, self.room = b"", max(0, self.room - len(chunk))
            with suppress(OSError), self.log.open("ab") as file:  # it may be on the full disk
                file.write(text)

    def _end_log(self) -> None:
        if self.keeper is not None:
            self.keeper.join(LOG_SECONDS)


def _start_worker(template: Template | None) -> subprocess.Popen[str] | Forked:
    """Start a worker in a process group of its own, so that Ctrl-C reaches only the study."""
    if template is not None and (forked := template.fork()) is not None:
        return forked
    return subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        env={**os.environ, **SINGLE_THREAD},
        start_new_session=True,
    )


def _send(worker: subprocess.Popen[str] | Forked, line: str) -> None:
    try:
        assert worker.stdin is not None
        worker.stdin.write(line + "\n")
        worker.stdin.flush()
    except (BrokenPipeError, ValueError):  # it has just died; reading its answers will tell
        pass
