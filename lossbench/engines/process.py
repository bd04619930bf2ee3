"""Runs in worker processes of one thread each: restart what is killed, come back to what another study holds."""

from __future__ import annotations

import heapq
import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from lossbench.config import RunConfig
from lossbench.engines.job import Job
from lossbench.machine import usable_cores

TRIES = 3
HELD_SECONDS = 2.0  # between two looks at a run that another study is doing
SINGLE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def execute(job: Job) -> None:
    """Run each config in a single-threaded worker process, as many as the job says, else one per core or one on a GPU.

    A worker that dies is replaced, and its run goes on from the last whole epoch, at most three times.
    """
    count = job.workers or (1 if job.device != "cpu" else usable_cores())
    logs = job.output / "logs"
    logs.mkdir(exist_ok=True)
    queue = Queue(job.todo)
    slots = [_Slot(job, queue, logs / f"{platform.node()}-{i}.log") for i in range(min(count, len(job.todo)))]
    try:
        for slot in slots:
            slot.start()
        asked = False
        while any(slot.is_alive() for slot in slots):
            if job.board.stopping.is_set() and not asked:
                asked = True
                for slot in slots:
                    slot.ask_to_stop()
            for slot in slots:
                slot.join(timeout=0.1)
    finally:
        for slot in slots:
            slot.kill()
    for slot in slots:
        if slot.error is not None:
            raise slot.error


class Queue:
    """Configs to do, in order; one that another study holds comes up again after a while."""

    def __init__(self, configs: tuple[RunConfig, ...]) -> None:
        self.lock = threading.Lock()
        self.heap = [(0.0, i, config) for i, config in enumerate(configs)]

    def take(self, stopping: threading.Event) -> tuple[int, RunConfig] | None:
        """The next config, waited for until it is due; None when there is none left or the study stops."""
        with self.lock:
            if not self.heap or stopping.is_set():
                return None
            due, i, config = heapq.heappop(self.heap)
        return None if stopping.wait(max(0.0, due - time.monotonic())) else (i, config)

    def put_back(self, i: int, config: RunConfig) -> None:
        """Offer the config again, later."""
        with self.lock:
            heapq.heappush(self.heap, (time.monotonic() + HELD_SECONDS, i, config))


class _Slot(threading.Thread):
    """The thread that feeds one worker process and reads its answers."""

    def __init__(self, job: Job, queue: Queue, log: Path) -> None:
        super().__init__(daemon=True)
        self.job, self.board, self.queue, self.log = job, job.board, queue, log
        self.worker: subprocess.Popen[str] | None = None
        self.error: Exception | None = None
        self.task = {
            "output": str(job.output),
            "device": job.device,
            "data": None if job.data is None else str(job.data),
            "tensorboard": job.tensorboard,
        }

    def run(self) -> None:
        try:
            with self.log.open("a", encoding="utf-8") as log:
                while (taken := self.queue.take(self.board.stopping)) is not None:
                    self._run_with_retries(*taken, log)
        except Exception as error:
            self.error = error
            self.board.stopping.set()
        finally:
            self._dismiss()

    def ask_to_stop(self) -> None:
        if self.worker is not None:
            _send(self.worker, "stop")

    def kill(self) -> None:
        if self.worker is not None:
            self.worker.kill()
            self.worker.wait()

    def _dismiss(self) -> None:
        if self.worker is not None and self.worker.stdin is not None:
            self.worker.stdin.close()  # the worker leaves
            self.worker.wait()

    def _run_with_retries(self, i: int, config: RunConfig, log: IO[str]) -> None:
        for _ in range(TRIES):
            answer = self._run_once(config, log)
            if answer["event"] == "done":
                return self.board.done(config, answer)
            if answer["event"] == "held":
                return self.queue.put_back(i, config)
            if answer["event"] == "failed":  # an exception repeats itself; only a dead worker is worth another try
                return self._fail(config, answer)
            if self.board.stopping.is_set():
                return None
        return self._fail(config, {"error": f"worker ended {TRIES} times, last with exit code {answer['code']}"})

    def _fail(self, config: RunConfig, answer: dict[str, Any]) -> None:
        self.board.failed(config, f"{answer['error']} (see {self.log})")
        if answer.get("disk_full"):
            self.board.stop("every other run would meet the full disk too")

    def _run_once(self, config: RunConfig, log: IO[str]) -> dict[str, Any]:
        if self.worker is None or self.worker.poll() is not None:
            self.worker = _start_worker(log)
            if self.board.stopping.is_set():  # asked before there was anybody to pass it on to
                return {"event": "stopped"}
        _send(self.worker, json.dumps({**self.task, "config": config.to_dict()}))
        assert self.worker.stdout is not None
        for line in self.worker.stdout:
            answer: dict[str, Any] = json.loads(line)
            if answer["event"] == "epoch":
                self.board.epoch(config, answer["epoch"])
            elif answer["event"] != "ready":
                return answer
        return {"event": "died", "code": self.worker.wait()}


def _start_worker(log: IO[str]) -> subprocess.Popen[str]:
    """Start a worker in a process group of its own, so that Ctrl-C reaches only the study."""
    return subprocess.Popen(
        [sys.executable, "-m", "lossbench.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
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
