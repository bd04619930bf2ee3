"""Execute many configs in worker processes: skip what is finished, restart what is killed, stop when asked."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from lossbench.config import RunConfig
from lossbench.files import require_writable
from lossbench.machine import find_device, usable_cores
from lossbench.progress import StudyBar
from lossbench.records import Record, output_folder

TRIES = 3
SINGLE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass
class Summary:
    """What became of a study's runs."""

    planned: int
    skipped: int = 0
    finished: int = 0
    diverged: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0, also with diverged runs; 1 when runs failed; 130 when interrupted."""
        return 130 if self.interrupted else 1 if self.failed else 0

    def __str__(self) -> str:
        done = self.skipped + self.finished + self.diverged
        parts = [f"{done} of {self.planned} runs finished"]
        parts += [f"{self.skipped} of them earlier"] if self.skipped else []
        parts += [f"{self.diverged} diverged"] if self.diverged else []
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        text = f"{', '.join(parts)}, in {self.seconds:.0f} s"
        if self.interrupted:
            text += "; interrupted, the same command finishes the rest"
        return "\n".join([text, *(f"  {run_id}: {why}" for run_id, why in self.failed.items())])


def run_configs(
    configs: Sequence[RunConfig],
    output: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    device: str | None = None,
    data: str | os.PathLike[str] | None = None,
    show_progress: bool = True,
) -> Summary:
    """Run every config that has no finished record yet, each in a single-threaded worker process.

    A worker that dies is replaced, and its run goes on from the last whole epoch, at most three times. Ctrl-C once
    lets each worker end its epoch and keep its state; twice stops at once. Finished records stay as they are.

    Args:
        configs: what to run; a config that appears twice runs once.
        output: folder for results; None takes LOSSBENCH_OUTPUT, else `outputs`.
        workers: processes; None takes one per usable core, or one on a GPU.
        device, data: as in `run`.
        show_progress: draw a bar on standard error.

    Raises: what `run` raises before training, for the first config of each data set, before any worker starts.
    """
    unique = list({config.run_id: config for config in configs}.values())
    folder = require_writable(output_folder(output))
    todo = [config for config in unique if not Record.of(config, folder).finished]
    summary = Summary(planned=len(unique), skipped=len(unique) - len(todo))
    if not todo:
        return summary
    where = check_before_start(todo, device, data)
    count = workers or (1 if where != "cpu" else usable_cores())
    task = {
        "output": str(folder.resolve()),
        "device": where,
        "data": None if data is None else str(Path(data).resolve()),
    }
    with StudyBar(todo, disable=not show_progress) as bar:
        _Pool(todo, task, min(count, len(todo)), folder / "logs", bar, summary).execute()
    return summary


def check_before_start(configs: Sequence[RunConfig], device: str | None, data: str | os.PathLike[str] | None) -> str:
    """Find the device and read each data set once, so that what is missing is said before any work starts."""
    from lossbench.data import load

    found = str(find_device(device))
    for name in dict.fromkeys(config.dataset for config in configs):
        load(name, None if data is None else Path(data))
    return found


class _Pool:
    """A thread for each worker process; the threads share a queue of configs and the summary."""

    def __init__(
        self,
        todo: Sequence[RunConfig],
        task: dict[str, Any],
        count: int,
        logs: Path,
        bar: StudyBar,
        summary: Summary,
    ) -> None:
        self.queue: queue.SimpleQueue[RunConfig] = queue.SimpleQueue()
        for config in todo:
            self.queue.put(config)
        self.task, self.logs, self.bar, self.summary = task, logs, bar, summary
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.workers: dict[int, subprocess.Popen[str]] = {}
        self.slots = [threading.Thread(target=self._serve, args=(slot,), daemon=True) for slot in range(count)]

    def execute(self) -> None:
        began = time.perf_counter()
        self.logs.mkdir(parents=True, exist_ok=True)
        try:
            for slot in self.slots:
                slot.start()
            self._wait()
        except KeyboardInterrupt:
            self._interrupt()
        finally:
            for worker in list(self.workers.values()):
                worker.kill()
            self.summary.seconds = time.perf_counter() - began

    def _wait(self) -> None:
        while any(slot.is_alive() for slot in self.slots):
            for slot in self.slots:
                slot.join(timeout=0.2)

    def _interrupt(self) -> None:
        self.summary.interrupted = True
        self.stopping.set()
        self.bar.say("stopping after this epoch; Ctrl-C again stops now")
        try:
            for worker in list(self.workers.values()):
                _send(worker, "stop")
            self._wait()
        except KeyboardInterrupt:
            self.bar.say("stopped")

    def _serve(self, slot: int) -> None:
        with (self.logs / f"worker-{slot}.log").open("a", encoding="utf-8") as log:
            while not self.stopping.is_set():
                try:
                    config = self.queue.get_nowait()
                except queue.Empty:
                    break
                self._run_with_retries(slot, config, log)
        worker = self.workers.pop(slot, None)
        if worker is not None and worker.stdin is not None:
            worker.stdin.close()  # the worker leaves
            worker.wait()

    def _run_with_retries(self, slot: int, config: RunConfig, log: IO[str]) -> None:
        why = ""
        for _ in range(TRIES):
            answer = self._run_once(slot, config, log)
            if self.stopping.is_set() and answer.get("event") != "done":
                return
            if answer["event"] == "done":
                with self.lock:
                    self.summary.finished += answer["status"] == "finished"
                    self.summary.diverged += answer["status"] == "diverged"
                self.bar.finish(config, answer)
                return
            why = answer["error"]
            if answer["event"] == "failed":  # an exception repeats itself; only a dead worker is worth another try
                break
        with self.lock:
            self.summary.failed[config.run_id] = f"{why} (see {log.name})"
        self.bar.finish(config, None)

    def _run_once(self, slot: int, config: RunConfig, log: IO[str]) -> dict[str, Any]:
        worker = self.workers.get(slot)
        if worker is None or worker.poll() is not None:
            worker = self.workers[slot] = _start_worker(log)
        _send(worker, json.dumps({**self.task, "config": config.to_dict()}))
        assert worker.stdout is not None
        for line in worker.stdout:
            answer: dict[str, Any] = json.loads(line)
            if answer["event"] == "epoch":
                self.bar.epoch(config, answer["epoch"])
            elif answer["event"] != "ready":
                return answer
        code = worker.wait()
        return {"event": "died", "error": f"worker ended {TRIES} times, last with exit code {code}"}


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
