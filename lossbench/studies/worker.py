"""A worker process: reads one run a line from standard input, answers in lines of JSON on standard output.

`studies/process.py` starts it as `python -m lossbench.studies.worker`, or with the word `template` to fork workers. It
leaves when standard input closes, so that no worker outlives a study that was killed.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO

from lossbench.files import DiskFull
from lossbench.records.lease import Held


class Stop(Exception):
    """Stop after this epoch, whose checkpoint is on disk: what a `progress` callback raises to end a run."""


@contextmanager
def gentle_interrupt(stopping: threading.Event, say: Callable[[str], object]) -> Iterator[None]:
    """Let the first Ctrl-C in the block set `stopping`, and the second raise KeyboardInterrupt.

    Outside the main thread, and where Ctrl-C is switched off (nohup), nothing changes.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (signal.SIG_IGN, None):
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()
        say("stopping after this epoch; Ctrl-C again stops now")

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def main() -> None:
    """Serve runs until standard input closes, or, with the word `template`, fork processes that do."""
    if sys.argv[1:] == ["template"]:
        import lossbench.training.run  # noqa: F401  what all of them share
        from lossbench.studies.template import serve_forks

        serve_forks(serve)
    else:
        serve()


def serve() -> None:
    """Serve runs until standard input closes."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a loss prints must not be taken for an answer
    orders = os.fdopen(os.dup(sys.stdin.fileno()), encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())  # a loss that reads, as breakpoint() does, must not wait for our orders
    os.close(nothing)
    tasks: queue.Queue[dict[str, Any]] = queue.Queue()
    stopping = threading.Event()
    threading.Thread(target=_listen, args=(orders, tasks, stopping), daemon=True).start()
    import lossbench.training.run  # noqa: F401  loads torch while the study plans

    _answer(answers, event="ready")
    while True:
        answer = perform(tasks.get(), lambda epoch: _answer(answers, event="epoch", epoch=epoch), stopping.is_set)
        trace = answer.pop("trace", "")
        _answer(answers, **answer)
        with suppress(OSError):  # the log may be on the full disk
            sys.stderr.write(trace)
        if answer["event"] == "stopped":
            return


def perform(task: dict[str, Any], epoch: Callable[[int], object], stopping: Callable[[], bool]) -> dict[str, Any]:
    """Do one run, say when an epoch has ended, and answer what became of it.

    Args:
        task: the `config` as a dict, its `run_id`, `extensions` to load before it is read, and arguments of `run`.
        epoch: called after each epoch with its number.
        stopping: asked after each epoch whether to stop there.

    Returns: plain values; `event` is `done` (with what `Board.done` takes), `stopped`, `held`, or `failed` (with
        `error`, `trace` and `disk_full`).
    """
    from lossbench.config import RunConfig
    from lossbench.registry import extend_once
    from lossbench.training.run import run

    def progress(row: dict[str, float]) -> None:
        epoch(int(row["epoch"]))
        if stopping():
            raise Stop

    try:
        extend_once(task.pop("extensions"))
        config, expected = RunConfig.from_dict(task.pop("config")), task.pop("run_id")
        if config.run_id != expected:
            raise ValueError(
                f"here the run is {config.run_id!r}, where the study was started {expected!r}: this process has "
                "another version of its loss, of another file or data set of yours, or of lossbench"
            )
        outcome = run(config, **task, threads=1, progress=progress, wait=False).outcome
    except Stop:
        return {"event": "stopped"}
    except Held:
        return {"event": "held"}
    except (Exception, SystemExit) as error:  # a loss may call sys.exit
        text, trace = f"{type(error).__name__}: {error}", traceback.format_exc()
        return {"event": "failed", "error": text, "trace": trace, "disk_full": isinstance(error, DiskFull)}
    return {"event": "done", **outcome}


def _listen(orders: TextIO, tasks: queue.Queue[dict[str, Any]], stopping: threading.Event) -> None:
    for line in orders:
        if line.strip() == "stop":
            stopping.set()
        else:
            tasks.put(json.loads(line))
    os._exit(0)  # the study is gone: the last checkpoint stands, and nobody waits for more


def _answer(answers: TextIO, **values: Any) -> None:
    answers.write(json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
