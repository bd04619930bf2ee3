"""Threads that take runs from one queue, for engines that have each run done by another process."""

from __future__ import annotations

import heapq
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from lossbench.config import RunConfig
from lossbench.engines.job import Job

TRIES = 3  # of a run whose process dies; an exception repeats itself
HELD_SECONDS = 2.0  # between two looks at a run that another study is doing
LOOK_SECONDS = 0.1
PUT_AWAY_SECONDS = 10.0  # for what a killed process leaves


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


class Slot(threading.Thread, ABC):
    """One run after another, each in a process of its own or in one that serves them all."""

    def __init__(self, job: Job, queue: Queue) -> None:
        super().__init__(daemon=True)
        self.job, self.board, self.queue = job, job.board, queue
        self.error: Exception | None = None

    def run(self) -> None:
        """The thread's work: serve until the queue is empty or the study stops."""
        try:
            while (taken := self.queue.take(self.board.stopping)) is not None:
                self.serve(*taken)
        except Exception as error:
            self.error = error
            self.board.stopping.set()
        finally:
            self.leave()

    @abstractmethod
    def serve(self, i: int, config: RunConfig) -> None:
        """Have the run done and report it, or put it back; called in the slot's thread."""

    @abstractmethod
    def look(self) -> None:
        """Called again and again in the study's thread: pass on that the study stops, report what can be seen."""

    @abstractmethod
    def end(self) -> None:
        """End the slot's process at once; called in the study's thread."""

    def leave(self) -> None:
        """Let the slot's process go; called in the slot's thread when nothing is left to do."""


def work(slots: Sequence[Slot]) -> None:
    """Let the slots work until all have ended, and raise what stopped one of them; none outlives this call."""
    try:
        for slot in slots:
            slot.start()
        while any(slot.is_alive() for slot in slots):
            for slot in slots:
                slot.look()
            time.sleep(LOOK_SECONDS)  # a join that Ctrl-C interrupts takes its thread for ended before Python 3.13
    finally:
        for slot in slots:
            slot.end()
        for slot in slots:
            if slot.ident is not None:
                slot.join(PUT_AWAY_SECONDS)
    for slot in slots:
        if slot.error is not None:
            raise slot.error
