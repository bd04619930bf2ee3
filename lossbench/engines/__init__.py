"""Execute many configs: skip what is finished, say what is missing, and leave the rest to an engine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from lossbench.config import RunConfig
from lossbench.engines.job import Board, Job, Summary
from lossbench.engines.shard import take_shard
from lossbench.files import require_writable
from lossbench.interrupt import gentle_interrupt
from lossbench.records import Record, output_folder
from lossbench.registry import Registry
from lossbench.tensorboard import require_tensorboard

__all__ = ["ENGINES", "Board", "Engine", "Job", "Summary", "run_configs"]


@dataclass(frozen=True)
class Engine:
    """A way to execute runs: `execute(job)` in `lossbench.engines.<name>`, imported when it is called.

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
        import_module(f"lossbench.engines.{self.name}").execute(job)

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
        device, data, tensorboard: as in `run`.
        shard: `i/n` runs only the i-th of n parts of the plan, see `take_shard`.
        show_progress: draw a bar on standard error.
        timeout: seconds that a run may take; one that takes longer, such as a loss that hangs, is ended and has failed.
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
        raise ValueError(
            f"engine {engine!r} trains in this process and cannot end a run; leave out timeout={timeout:g}"
        )
    if tensorboard:
        require_tensorboard()
    unique = list(dict.fromkeys(configs))
    if shard is not None:
        unique = take_shard(unique, shard)
    folder = require_writable(output_folder(output)).resolve()
    place = None if data is None else Path(data).resolve()
    todo = tuple(config for config in unique if not Record.of(config, folder).has(config, place))
    if not todo:
        return Summary(planned=len(unique), skipped=len(unique))
    where = check_before_start(todo, device, place, elsewhere=entry.elsewhere)
    if not entry.here:
        for config in todo:
            config.require_in_files()
    board = Board(todo, skipped=len(unique) - len(todo), show_progress=show_progress)
    _execute(entry, Job(todo, folder, where, place, workers, tensorboard, options, board, timeout))
    return board.summary


def check_before_start(configs: Sequence[RunConfig], device: str | None, data: Path | None, *, elsewhere: bool) -> str:
    """Find the device, the weights and each data set once, so that what is missing is said before any work starts."""
    from lossbench.data import load
    from lossbench.machine import find_device, warn_of_slow_precision
    from lossbench.models import MODELS

    found = device or "cpu"
    if not elsewhere:
        where = find_device(device)
        found = str(where)
        for precision in dict.fromkeys(config.precision for config in configs):
            warn_of_slow_precision(precision, where)
    for name in dict.fromkeys(config.dataset for config in configs):
        load(name, data)
    for name in dict.fromkeys(config.model for config in configs if config.pretrained):
        if (published := MODELS[name].pretrained) is not None:
            published.find(name)
    return found


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
