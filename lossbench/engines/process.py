"""Runs in worker processes of one thread each: restart what is killed, come back to what another study holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lossbench.config import RunConfig
from lossbench.engines.job import Job
from lossbench.engines.slots import TRIES, Queue, Slot, work

SINGLE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


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
        self.log, self.asked = log, False
        self.process: subprocess.Popen[str] | None = None

    def look(self) -> None:
        if self.board.stopping.is_set() and not self.asked and self.process is not None:
            self.asked = True
            _send(self.process, "stop")

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def leave(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()  # the worker leaves
            self.process.wait()

    def serve(self, i: int, config: RunConfig) -> None:
        for _ in range(TRIES):
            answer = self._run_once(config)
            if answer["event"] == "done":
                return self.board.done(config, answer)
            if answer["event"] == "held":
                return self.queue.put_back(i, config)
            if answer["event"] == "failed":  # an exception repeats itself; only a dead worker is worth another try
                return self._fail(config, answer["error"], disk_full=answer["disk_full"])
            if self.board.stopping.is_set():
                return None
        return self._fail(config, f"worker ended {TRIES} times, last with exit code {answer['code']}")

    def _fail(self, config: RunConfig, why: str, *, disk_full: bool = False) -> None:
        self.board.failed(config, f"{why} (see {self.log})", disk_full=disk_full)

    def _run_once(self, config: RunConfig) -> dict[str, Any]:
        if self.process is None or self.process.poll() is not None:
            self.process = _start_worker(self.log)
            if self.board.stopping.is_set():  # asked before there was anybody to pass it on to
                return {"event": "stopped"}
        _send(self.process, json.dumps(self.job.task(config)))
        assert self.process.stdout is not None
        for line in self.process.stdout:
            answer: dict[str, Any] = json.loads(line)
            if answer["event"] == "epoch":
                self.board.epoch(config, answer["epoch"])
            elif answer["event"] != "ready":
                return answer
        return {"event": "died", "code": self.process.wait()}


def _start_worker(log: Path) -> subprocess.Popen[str]:
    """Start a worker in a process group of its own, so that Ctrl-C reaches only the study."""
    with log.open("a", encoding="utf-8") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "lossbench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            bufsize=1,
            env={**os.environ, **SINGLE_THREAD},
            start_new_session=True,
        )


def _send(worker: subprocess.Popen[str], line: str) -> None:
    try:
        assert worker.stdin is not None
        worker.stdin.write(line + "\n")
        worker.stdin.flush()
    except (BrokenPipeError, ValueError):  # it has just died; reading its answers will tell
        pass
