"""Execute many configs: skip what is finished, say what is missing, and leave the rest to an engine."""

from __future__ import annotations

import heapq
import os
import platform
import re
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from lossbench.config import RunConfig
from lossbench.files import require_writable
from lossbench.records.record import Record, output_folder, what_to_keep
from lossbench.registry import Registry, loaded
from lossbench.studies.worker import gentle_interrupt
from lossbench.training.tensorboard import require_tensorboard

__all__ = ["ENGINES", "Board", "Engine", "Job", "Summary", "run_configs"]


LOG_SECONDS = 30.0  # between two lines of a log
_STATE = "{percentage:3.0f}% [{elapsed}<{remaining}]{postfix}"


class _Lines:
    """A stream in which every state of a bar is a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.encoding = stream, stream.encoding

    def write(self, text: str) -> None:
        """Write what is more than the movement of a cursor."""
        if text := text.strip():
            self.stream.write(f"{text}\n")

    def flush(self) -> None:
        self.stream.flush()


Done = Callable[[RunConfig, Mapping[str, Any]], object]  # a run that has its record, and its `Record.outcome`


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
        added = ("planned", "skipped", "finished", "diverged", "seconds")
        total = replace(other, **{name: getattr(self, name) + getattr(other, name) for name in added})
        return replace(total, failed=self.failed | other.failed, interrupted=self.interrupted or other.interrupted)

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
    """Where an engine reports: it counts, and draws a bar of epochs; safe to use from several threads.

    On a terminal and in a notebook the bar moves; in a log, such as that of a batch job, it is a line now and then.
    `stopping` is set by the first Ctrl-C, and when nothing more can be written: an engine then starts no further
    run, lets each one that is under way end its epoch, and returns. The second Ctrl-C is a KeyboardInterrupt in
    `execute`.
    """

    def __init__(
        self,
        todo: Sequence[RunConfig],
        *,
        skipped: int = 0,
        show_progress: bool = False,
        on_done: Done = lambda config, outcome: None,
    ) -> None:
        from tqdm.auto import tqdm

        self.summary = Summary(planned=len(todo) + skipped, skipped=skipped)
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._epochs = dict.fromkeys(todo, 0)
        self._runs_done = 0
        self._best: Mapping[str, Any] | None = None
        self._on_done = on_done
        in_notebook = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
        self._in_log = not in_notebook and not sys.stderr.isatty()
        self._bar = tqdm(
            total=sum(config.epochs for config in todo),
            disable=not show_progress,
            unit="epoch",
            mininterval=LOG_SECONDS if self._in_log else 0.5,
            dynamic_ncols=True,
            bar_format="{desc}, " + _STATE if self._in_log else "{desc} |{bar}| " + _STATE,
            file=_Lines(sys.stderr) if self._in_log else sys.stderr,
            delay=1e-9 if self._in_log else 0,  # no line before it says how many runs there are
        )
        self._show()
        self._bar.refresh()

    def epoch(self, config: RunConfig, epoch: int) -> None:
        """The run has ended this epoch."""
        with self._lock:
            self._bar.update(max(0, epoch - self._epochs[config]))
            self._epochs[config] = max(epoch, self._epochs[config])

    def done(self, config: RunConfig, answer: Mapping[str, Any]) -> None:
        """The run has its record; `answer` holds what `Record.outcome` does."""
        score = answer["test_accuracy"]
        with self._lock:
            self.summary.finished += answer["status"] == "finished"
            self.summary.diverged += answer["status"] == "diverged"
            if score is not None and (self._best is None or score > self._best["test_accuracy"]):
                self._best = answer
        self._end(config)
        self._on_done(config, answer)

    def failed(self, config: RunConfig, why: str, *, disk_full: bool = False) -> None:
        """The run cannot be done; on a full disk the study stops, as after the first Ctrl-C."""
        with self._lock:
            self.summary.failed[config.run_id] = why
        self._end(config)
        if disk_full and not self.stopping.is_set():
            self.stopping.set()
            self.say("stopping after this epoch: every other run would meet the full disk too")

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self._in_log and not self._bar.disable:
            self._bar.fp.write(text)
        else:
            self._bar.write(text, file=self._bar.fp if not self._bar.disable else None)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()

    def _end(self, config: RunConfig) -> None:
        self.epoch(config, config.epochs)
        with self._lock:
            self._runs_done += 1
            self._show()

    def _show(self) -> None:
        self._bar.set_description_str(f"{self._runs_done}/{len(self._epochs)} runs", refresh=False)
        if self._best:
            best = f"best {self._best['test_accuracy']:.4f} {self._best['label']}, {self._best['probability']}"
            self._bar.set_postfix_str(best, refresh=False)
        if not self._in_log:
            self._bar.refresh()


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
        keep: as in `run`.
        template: what the engine has prepared for its workers.
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
    keep: str | None = None
    template: Any = None

    @property
    def out_of_time(self) -> str:
        """Why a run failed that was ended."""
        return f"did not end within the timeout of {self.timeout:g} s; its last checkpoint stands"

    @property
    def at_once(self) -> int:
        """How many runs at once: as the job says, else one per core or one on a GPU, and no more than there are."""
        from lossbench.training.machine import usable_cores  # with torch, which a refusal should not wait for

        return min(self.workers or (1 if self.device != "cpu" else usable_cores()), len(self.todo))

    def task(self, config: RunConfig) -> dict[str, Any]:
        """What `worker.perform` takes to do this run, as JSON values."""
        data = None if self.data is None else str(self.data)
        own = {"output": str(self.output), "device": self.device, "data": data}
        return {
            **own,
            "tensorboard": self.tensorboard,
            "keep": self.keep,
            "config": config.to_dict(),
            "run_id": config.run_id,
            "extensions": loaded(),
        }

    def log(self, name: str) -> Path:
        """Where a part of this machine's work writes what nobody waits to read."""
        folder = self.output / "logs"
        folder.mkdir(exist_ok=True)
        return folder / f"{platform.node()}-{name}.log"


_BALANCED = 1.1  # the largest part's work over the mean, up to which sets of paired runs stay whole


def parse_shard(text: str) -> tuple[int, int]:
    """Read `2/8`, the second of eight parts. ValueError unless it is i/n with 1 <= i <= n.

    >>> parse_shard("2/8")
    (2, 8)
    """
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
    index, count = (int(part) for part in match.groups()) if match else (0, 0)
    if not 1 <= index <= count:
        raise ValueError(f"shard must be i/n with i from 1 to n, such as 1/4 for the first of four, got {text!r}")
    return index, count


def take_shard(configs: Sequence[RunConfig], shard: str) -> list[RunConfig]:
    """The configs of one part, in the order of the plan.

    The parts depend on the plan alone, not on what is finished; every config is in exactly one. Work counts as images
    times epochs. The runs that are compared by pairs (one data set, model and seed) stay in one part where the parts
    come out equal to a tenth; otherwise single runs are dealt, the heaviest first to the part that has least.
    """
    index, count = parse_shard(shard)
    sets: dict[tuple[str, str, int], list[RunConfig]] = {}
    for config in configs:
        sets.setdefault((config.dataset, config.model, config.seed), []).append(config)
    work = {config: _work(config) for config in configs}
    parts = _deal(list(sets.values()), work, count)
    loads = [sum(work[config] for config in part) for part in parts]
    if max(loads) * count > _BALANCED * sum(loads):
        parts = _deal([[config] for config in configs], work, count)
    mine = set(parts[index - 1])
    return [config for config in configs if config in mine]


def _deal(groups: list[list[RunConfig]], work: dict[RunConfig, int], count: int) -> list[list[RunConfig]]:
    parts: list[list[RunConfig]] = [[] for _ in range(count)]
    loads = [0] * count
    weights = [sum(work[config] for config in group) for group in groups]
    for i in sorted(range(len(groups)), key=lambda i: -weights[i]):
        least = loads.index(min(loads))
        parts[least] += groups[i]
        loads[least] += weights[i]
    return parts


def _work(config: RunConfig) -> int:
    from lossbench.data.loading import find_spec

    return config.epochs * (config.train_size or find_spec(config.dataset).train_size)


@dataclass(frozen=True)
class Engine:
    """A way to execute runs: `execute(job)` in `lossbench.studies.<name>`, imported when it is called.

    Args:
        name: of the module.
        options: what it takes beyond the arguments that all engines share.
        elsewhere: whether it computes on other machines, so that this one's devices do not matter.
        here: whether it trains in this process, which knows every loss that is registered.
    """

    name: str
    options: tuple[str, ...] = ()
    elsewhere: bool = False
    here: bool = False

    def __call__(self, job: Job) -> None:
        import_module(f"lossbench.studies.{self.name}").execute(job)

    def prepared(self, workers: int) -> AbstractContextManager[Any]:
        """What the engine begins to load for so many workers while this process prepares the study."""
        prepare: Any = getattr(import_module(f"lossbench.studies.{self.name}"), "prepared", None)
        return nullcontext() if prepare is None else prepare(workers)

    def accept(self, options: Iterable[str]) -> Engine:
        """The engine itself, if it takes these options; else TypeError that says which engine does."""
        for option in options:
            if option not in self.options:
                takers = [other.name for other in ENGINES.values() if option in other.options]
                hint = f"it is for engine {' and '.join(takers)}" if takers else "no engine does"
                raise TypeError(f"engine {self.name!r} does not take the option {option!r}; {hint}")
        return self


ENGINES: Registry[Engine] = Registry(
    "engine",
    {
        engine.name: engine
        for engine in (
            Engine("process"),
            Engine("papermill"),
            Engine("ray", options=("address", "gpus"), elsewhere=True),
            Engine("ensemble", here=True),
        )
    },
)


def run_configs(
    configs: Sequence[RunConfig],
    output: str | os.PathLike[str] | None = None,
    *,
    engine: str = "process",
    workers: int | None = None,
    device: str | None = None,
    data: str | os.PathLike[str] | None = None,
    shard: str | None = None,
    show_progress: bool = True,
    tensorboard: bool = False,
    timeout: float | None = None,
    keep: str | None = None,
    on_done: Done = lambda config, outcome: None,
    **options: Any,
) -> Summary:
    """Run every config that has no finished record yet.

    Runs that another process or machine has begun in the same folder are left to it, and waited for. Ctrl-C once
    lets each run end its epoch and keep its state; twice stops at once. Finished records stay as they are.

    Args:
        configs: what to run; a config that appears twice runs once.
        output: folder for results; None takes LOSSBENCH_OUTPUT, else `outputs`.
        engine: a name in `ENGINES`.
        workers: how many runs at once; None leaves it to the engine.
        device, data, tensorboard, keep: as in `run`.
        shard: `i/n` runs only the i-th of n parts of the plan, see `take_shard`.
        show_progress: draw a bar on standard error.
        timeout: seconds that a run may take; one that takes longer, such as a loss that hangs, is ended and has failed.
        on_done: called after each run that has got its record, in whichever thread was told so.
        options: what the engine takes beyond that.

    Raises:
        ValueError, TypeError: an engine, option or shard that is not there; a loss that other processes cannot find.
        ValueError, FileNotFoundError, PermissionError: what `run` raises before training, for the first config of
            each data set, before any run starts.
    """
    entry = ENGINES[engine].accept(options)
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout must be greater than 0 seconds, got {timeout!r}")
    if timeout is not None and entry.here:
        raise ValueError(f"engine {engine!r} trains in this process and cannot end a run; leave the timeout out")
    if tensorboard:
        require_tensorboard()
    unique = list(dict.fromkeys(configs))
    if shard is not None:
        unique = take_shard(unique, shard)
    folder = require_writable(output_folder(output)).resolve()
    data = None if data is None else Path(data).resolve()
    todo = tuple(config for config in unique if not Record.of(config, folder).has(config, data))
    keep = what_to_keep(keep)
    for config in set(unique) - set(todo):
        Record.of(config, folder).add_metrics(config)
        if keep is not None:
            Record.of(config, folder).require_kept(keep)
    if not todo:
        return Summary(planned=len(unique), skipped=len(unique))
    with entry.prepared(min(workers or len(todo), len(todo))) as template:
        where = check_before_start(todo, device, data, elsewhere=entry.elsewhere)
        if not entry.here:
            for config in todo:
                config.require_in_files()
        board = Board(todo, skipped=len(unique) - len(todo), show_progress=show_progress, on_done=on_done)
        _execute(entry, Job(todo, folder, where, data, workers, tensorboard, options, board, timeout, keep, template))
    return board.summary


def check_before_start(configs: Sequence[RunConfig], device: str | None, data: Path | None, *, elsewhere: bool) -> str:
    """Find the device, the weights and each data set once, so that what is missing is said before any work starts."""
    from lossbench.models import MODELS
    from lossbench.training.machine import find_device, warn_of_slow_precision

    name_of_device = device or "cpu"
    if not elsewhere:
        where = find_device(device)
        name_of_device = str(where)
        for precision in dict.fromkeys(config.precision for config in configs):
            warn_of_slow_precision(precision, where)
    require_fitting_data(configs, data)
    for name in dict.fromkeys(config.model for config in configs if config.pretrained):
        if (published := MODELS[name].pretrained) is not None:
            published.find(name)
    return name_of_device


def require_fitting_data(configs: Sequence[RunConfig], data: Path | None) -> None:
    """Refuse, before any run, configs whose data set has too few images for them, or images their model cannot take."""
    from lossbench.data import degrade, hold_out, load
    from lossbench.data.dataset import require_enough_images
    from lossbench.stats.metrics import try_metrics
    from lossbench.training.run import find_width

    for other in dict.fromkeys(config.transfer for config in configs if config.transfer is not None):
        load(other, data)
    for name in dict.fromkeys(config.dataset for config in configs):
        dataset, mine = load(name, data), [config for config in configs if config.dataset == name]
        for selection in dict.fromkeys(config.selection for config in mine):
            require_enough_images(dataset, selection)
        try_metrics(dict.fromkeys(metric for config in mine for metric in config.metrics), dataset.num_classes)
        for config in {(c.model, c.loss): c for c in mine}.values():
            find_width(config, dataset)
        for config in {(c.train_size, c.imbalance, c.selection): c for c in mine if c.train_size is not None}.values():
            degrade(dataset.train if config.selection == "best_test" else hold_out(dataset, config.seed)[0], config)


def _execute(engine: Engine, job: Job) -> None:
    began = time.perf_counter()

    def interrupted(text: str) -> None:
        job.board.summary.interrupted = True
        job.board.say(text)

    try:
        with gentle_interrupt(job.board.stopping, interrupted):
            engine(job)
    except KeyboardInterrupt:
        interrupted("stopped")
    finally:
        job.board.summary.seconds = time.perf_counter() - began
        job.board.close()


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
