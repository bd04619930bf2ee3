"""What an engine is given: the runs to do, and the board on which it reports them."""

from __future__ import annotations

import platform
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lossbench.config import RunConfig
from lossbench.progress import StudyBar
from lossbench.registry import loaded


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

    def __add__(self, other: Summary) -> Summary:
        """Both together, for a study that plans its runs in parts."""
        counts = {name: getattr(self, name) + getattr(other, name) for name in ("planned", "skipped", "finished")}
        return Summary(
            **counts,
            diverged=self.diverged + other.diverged,
            failed=self.failed | other.failed,
            interrupted=self.interrupted or other.interrupted,
            seconds=self.seconds + other.seconds,
        )

    @property
    def done(self) -> int:
        """Runs that have a record."""
        return self.skipped + self.finished + self.diverged

    @property
    def complete(self) -> bool:
        """Whether every run has come to its end, well or not: the study was not stopped."""
        return not self.interrupted and self.done + len(self.failed) == self.planned

    @property
    def exit_code(self) -> int:
        """0, also with diverged runs; 1 when runs failed; 130 when interrupted."""
        return 130 if self.interrupted else 1 if self.failed else 0

    def __str__(self) -> str:
        parts = [f"{self.done} of {self.planned} runs finished"]
        parts += [f"{self.skipped} of them earlier"] if self.skipped else []
        parts += [f"{self.diverged} diverged"] if self.diverged else []
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        text = f"{', '.join(parts)}, in {self.seconds:.0f} s"
        if self.interrupted:
            text += "; interrupted, the same command finishes the rest"
        elif not self.complete:
            text += "; stopped early, the same command finishes the rest"
        return "\n".join([text, *(f"  {run_id}: {why}" for run_id, why in self.failed.items())])


class Board:
    """Where an engine reports; safe to use from several threads.

    `stopping` is set by the first Ctrl-C, and when nothing more can be written: an engine then starts no further
    run, lets each one that is under way end its epoch, and returns. The second Ctrl-C is a KeyboardInterrupt in
    `execute`.
    """

    def __init__(self, todo: Sequence[RunConfig], *, skipped: int = 0, show_progress: bool = False) -> None:
        self.summary = Summary(planned=len(todo) + skipped, skipped=skipped)
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._bar = StudyBar(todo, disable=not show_progress)

    def epoch(self, config: RunConfig, epoch: int) -> None:
        """The run has ended this epoch."""
        self._bar.epoch(config, epoch)

    def done(self, config: RunConfig, answer: Mapping[str, Any]) -> None:
        """The run has its record; `answer` holds what `Record.outcome` does."""
        with self._lock:
            self.summary.finished += answer["status"] == "finished"
            self.summary.diverged += answer["status"] == "diverged"
        self._bar.finish(config, dict(answer))

    def failed(self, config: RunConfig, why: str, *, disk_full: bool = False) -> None:
        """The run cannot be done; on a full disk the study stops, as after the first Ctrl-C."""
        with self._lock:
            self.summary.failed[config.run_id] = why
        self._bar.finish(config, None)
        if disk_full and not self.stopping.is_set():
            self.stopping.set()
            self.say("stopping after this epoch: every other run would meet the full disk too")

    def say(self, text: str) -> None:
        """Print a line above the progress bar."""
        self._bar.say(text)

    def close(self) -> None:
        """Leave the progress bar as it stands."""
        self._bar.bar.close()


@dataclass(frozen=True)
class Job:
    """What an engine's `execute` is given. Records are written by `runner.run`, so they are alike in every engine.

    Args:
        todo: configs without a finished record, each once.
        output: absolute folder for results, known to be writable.
        device: such as `cpu` or `cuda`.
        data: absolute folder to look for data sets in, or None for the usual places.
        workers: how many runs at once; None leaves it to the engine.
        tensorboard: whether to write TensorBoard events beside the records.
        options: what only this engine takes.
        board: where to report.
        timeout: seconds that a run may take until it is ended and has failed; None for no limit.
    """

    todo: tuple[RunConfig, ...]
    output: Path
    device: str
    data: Path | None
    workers: int | None
    tensorboard: bool
    options: Mapping[str, Any]
    board: Board
    timeout: float | None = None

    @property
    def out_of_time(self) -> str:
        """Why a run failed that was ended."""
        return f"did not end within the timeout of {self.timeout:g} s; its last checkpoint stands"

    @property
    def at_once(self) -> int:
        """How many runs at once: as the job says, else one per core or one on a GPU, and no more than there are."""
        from lossbench.machine import usable_cores  # with torch, which a refusal should not wait for

        return min(self.workers or (1 if self.device != "cpu" else usable_cores()), len(self.todo))

    def task(self, config: RunConfig) -> dict[str, Any]:
        """What `worker.perform` takes to do this run, as JSON values."""
        data = None if self.data is None else str(self.data)
        own = {"output": str(self.output), "device": self.device, "data": data, "tensorboard": self.tensorboard}
        return {**own, "config": config.to_dict(), "run_id": config.run_id, "extensions": loaded()}

    def log(self, name: str) -> Path:
        """Where a part of this machine's work writes what nobody waits to read."""
        folder = self.output / "logs"
        folder.mkdir(exist_ok=True)
        return folder / f"{platform.node()}-{name}.log"
