"""Runs as executed notebooks: the run notebook, once for each configuration, kept beside the records.

`<output>/notebooks/<run_id>.ipynb` shows a run whole, and `index.html` there links them. The records are the notebook's
own work, by `run`, so they are those of every other engine.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

from lossbench.config import RunConfig
from lossbench.files import DiskFull, write_text
from lossbench.records.lease import Held, hold
from lossbench.records.record import Record
from lossbench.studies.execute import TRIES, Job, Queue, Slot, work
from lossbench.studies.notebooks import Kernel, NotebookFailed, notebooks
from lossbench.studies.notebooks import execute as execute_notebook
from lossbench.studies.process import SINGLE_THREAD
from lossbench.training.tensorboard import event_writer

_RUN = re.compile(r"(?P<run_id>.+-s\d+-[0-9a-f]{6}(?:[0-9a-f]{10})?)(\.failed)?\.ipynb")
DAMAGED = "Damaged records"
_IN_COLUMNS = ("dataset", "model", "loss", "loss_params", "probability", "probability_params", "seed")


@dataclass(frozen=True)
class Row:
    """One executed notebook and what is known of its run."""

    file: str
    group: str
    label: str
    probability: str
    seed: int | None
    status: str
    accuracy: float | None
    seconds: str
    why: str

    @property
    def score(self) -> str:
        """The test accuracy as the page shows it."""
        return "" if self.accuracy is None else f"{self.accuracy:.4f}"


def write_index(output: Path) -> Path:
    """Write the page anew from what is on disk: run notebooks in `<output>/notebooks`, records in `<output>/runs`.

    The page is whole at any moment, and what was read before is not read again.
    """
    from jinja2 import DictLoader, Environment

    folder = output / "notebooks"
    rows: list[Row] = []
    for path in folder.glob("*.ipynb"):
        with suppress(FileNotFoundError):  # another study has just replaced it
            rows += _rows(path, output)
    rows.sort(key=lambda row: (row.group, row.accuracy is None, -(row.accuracy or 0), row.label, row.seed or 0))
    sources = (("report", "head.html"), ("report", "style.css"), ("studies", "notebook_index.html"))
    texts = {name: files(f"lossbench.{room}").joinpath(name).read_text(encoding="utf-8") for room, name in sources}
    made = Environment(loader=DictLoader(texts), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = made.get_template("notebook_index.html").render(
        css=texts["style.css"],
        rows=rows,
        counts=sorted(Counter(row.status for row in rows).items(), reverse=True),
        groups=[(title, list(group)) for title, group in groupby(rows, lambda row: row.group)],
    )
    return write_text(folder / "index.html", page)


def _rows(path: Path, output: Path) -> list[Row]:
    """The row of a run's notebook; none for another notebook."""
    match = _RUN.fullmatch(path.name)
    if match is None:
        return []
    record = Record(output / "runs" / match["run_id"])
    changed = path.stat().st_mtime_ns
    try:
        return [_read(path, record, record.finished, changed)]
    except Exception as error:  # whatever is wrong with one record, the page tells of the others
        why = f"Its record cannot be read: {type(error).__name__}: {error}"
        return [Row(path.name, DAMAGED, record.path.name, "", None, "damaged", None, "", why)]


@cache
def _read(path: Path, record: Record, finished: bool, changed: int) -> Row:
    config = record.config if (record.path / "config.json").exists() else None
    result: dict[str, Any] = record.result if finished else {}
    stopped = path.name.endswith(".failed.ipynb")
    return Row(
        file=path.name,
        group=_setting(config) if config else "Without a record",
        label=config.label if config else record.path.name,
        probability=" ".join([config.probability, *_pairs(config.probability_params)]) if config else "",
        seed=config.seed if config else None,
        status=str(result.get("status", "failed")),
        accuracy=None if result.get("test_accuracy") is None else float(result["test_accuracy"]),
        seconds=f"{result['seconds']:.1f}" if finished else "",
        why=f"The notebook stopped: {_last_error(path)}" if stopped else "",
    )


def _setting(config: RunConfig) -> str:
    """What the runs of one table share: data set, model and whatever else differs from the defaults."""
    defaults = RunConfig.defaults()
    changed = {name: value for name, value in config.trained().items() if value != defaults[name]}
    others = {name: value for name, value in changed.items() if name not in _IN_COLUMNS}
    return ", ".join([config.dataset, config.model, *_pairs(others)])


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def _last_error(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    errors = [item for cell in cells for item in cell.get("outputs", []) if item["output_type"] == "error"]
    return f"{errors[-1]['ename']}: {errors[-1]['evalue']}" if errors else "its kernel was ended."


NOTEBOOK = "20_train_one_run"
LEFT_OUT = "timing"  # the tag of cells that measure the machine, not the run

_listing = threading.Lock()  # one thread at a time writes the index page


def execute(job: Job) -> None:
    """Execute the run notebook for each config, as many at once as `job.at_once`, each in a kernel of its own.

    A kernel that dies is replaced, and its run goes on from the last whole epoch, at most three times.

    Raises: FileNotFoundError when lossbench was installed without its notebooks.
    """
    if NOTEBOOK not in notebooks():
        raise FileNotFoundError(
            f"engine 'papermill' executes the notebook {NOTEBOOK!r}, which is not here; start it in a clone of the "
            "repository, or choose another engine"
        )
    log, queue = job.log("papermill"), Queue(job.todo)
    with _papermill_says_to(log):
        work([_Notebooks(job, queue, Kernel(_environment(job), log)) for _ in range(job.at_once)])


class _Notebooks(Slot):
    """Executes one notebook after another."""

    def __init__(self, job: Job, queue: Queue, kernel: Kernel) -> None:
        super().__init__(job, queue)
        self.kernel = replace(kernel, started=self._kernel_started)
        self.end_kernel: Callable[[], None] = lambda: None
        self.watched: _Watched | None = None
        self.deadline, self.timed_out = math.inf, False

    def look(self) -> None:
        """Count the epochs by their checkpoints; when the study stops, end the kernel that has just written one."""
        watched = self.watched
        if time.monotonic() > self.deadline:
            self.deadline, self.timed_out = math.inf, True
            self.end_kernel()
        if watched is not None and (epochs := watched.count()):
            self.board.epoch(watched.config, epochs)
            if self.board.stopping.is_set():
                self.end_kernel()

    def end(self) -> None:
        self.end_kernel()

    def _kernel_started(self, end: Callable[[], None]) -> None:
        self.end_kernel = end
        if self.job.timeout is not None:
            self.deadline = time.monotonic() + self.job.timeout

    def serve(self, i: int, config: RunConfig) -> None:
        record = Record.of(config, self.job.output)
        if _is_held(record):
            return self.queue.put_back(i, config)
        if record.finished:  # by another study, meanwhile
            return self.board.done(config, record.outcome)
        self.timed_out = False
        for _ in range(TRIES):
            stopped = self._run_notebook(config, record)
            if stopped is None or self.timed_out or stopped.error is not None or self.board.stopping.is_set():
                break  # only a dead kernel is worth another try: an exception repeats itself
        if record.finished:
            self._write_events(record)
            self.board.done(config, record.outcome)
        elif stopped is None:
            self.board.failed(config, f"notebook {NOTEBOOK!r} has left no record of it")
        elif self.timed_out:
            self.board.failed(config, self.job.out_of_time)
        elif stopped.error is None and self.board.stopping.is_set():  # stopped on purpose: its copy is of no use
            if stopped.path is not None:
                stopped.path.unlink(missing_ok=True)
        else:
            self.board.failed(config, str(stopped), disk_full=stopped.error == DiskFull.__name__)
        try:
            with _listing:
                write_index(self.job.output)
        except OSError as error:  # a page that cannot be written ends no study
            self.board.say(f"the index of the notebooks is not written: {error}")

    def _run_notebook(self, config: RunConfig, record: Record) -> NotebookFailed | None:
        """Execute the notebook once; None when it came to its end."""
        self.watched = _Watched(config, record)
        try:
            execute_notebook(
                NOTEBOOK,
                config.to_dict(),
                self.job.output,
                name_as=record.path.name,
                leave_out=LEFT_OUT,
                kernel=self.kernel,
            )
        except NotebookFailed as stopped:
            return stopped
        finally:
            self.watched, self.end_kernel, self.deadline = None, lambda: None, math.inf
        return None

    def _write_events(self, record: Record) -> None:
        if self.job.tensorboard:
            write = event_writer(record.path)
            for row in record.history.to_dict("records"):
                write({str(name): value for name, value in row.items()})


class _Watched:
    """A run that is being trained, as its checkpoints show it from outside."""

    def __init__(self, config: RunConfig, record: Record) -> None:
        self.config, self.record = config, record
        self.epochs = 0
        self.changed = self._changed()

    def count(self) -> int:
        """Epochs that have ended since the kernel began, when there is a new checkpoint; else 0."""
        changed = self._changed()
        if changed in (None, self.changed) or self.record.finished:
            return 0
        self.changed, self.epochs = changed, self.epochs + 1
        return self.epochs

    def _changed(self) -> int | None:
        try:
            return (self.record.path / "checkpoint.pt").stat().st_mtime_ns
        except FileNotFoundError:
            return None


def _is_held(record: Record) -> bool:
    """Whether another process works on this run; a notebook would wait for it and keep a slot."""
    try:
        with hold(record.path):
            return False
    except Held:
        return True


def _environment(job: Job) -> dict[str, str]:
    """What the kernels find in their environment: one thread, the job's data, device and what to keep."""
    data = {} if job.data is None else {"LOSSBENCH_DATA": str(job.data)}
    keep = {} if job.keep is None else {"LOSSBENCH_KEEP": job.keep}
    return {**SINGLE_THREAD, **data, **keep, **_visible_gpus(job.device)}


def _visible_gpus(device: str) -> dict[str, str]:
    """Let a notebook, which takes a GPU if it sees one, see the job's device and no other."""
    kind, _, index = device.partition(":")
    if kind == "cuda" and not index:
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return {"CUDA_VISIBLE_DEVICES": (visible.split(",")[int(index)] if visible else index) if kind == "cuda" else ""}


@contextmanager
def _papermill_says_to(log: Path) -> Iterator[None]:
    """Keep papermill's messages out of the progress bar."""
    logger = logging.getLogger("papermill")
    handler = logging.FileHandler(log, encoding="utf-8")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
