"""A worker process: reads one run a line from standard input, answers in lines of JSON on standard output.

`engines/process.py` starts it as `python -m lossbench.worker`. It leaves when standard input closes, so that no worker
outlives a study that was killed.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from typing import Any, TextIO

from lossbench.interrupt import Stop


def main() -> None:
    """Serve runs until standard input closes."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a loss prints must not be taken for an answer
    tasks: queue.Queue[dict[str, Any]] = queue.Queue()
    stopping = threading.Event()
    threading.Thread(target=_listen, args=(tasks, stopping), daemon=True).start()
    import lossbench.runner  # noqa: F401  loads torch while the study plans

    _answer(answers, event="ready")
    while True:
        task = tasks.get()
        try:
            _serve(task, answers, stopping)
        except Stop:
            _answer(answers, event="stopped")
            return
        except Exception as error:
            traceback.print_exc()
            _answer(answers, event="failed", error=f"{type(error).__name__}: {error}")


def _serve(task: dict[str, Any], answers: TextIO, stopping: threading.Event) -> None:
    from lossbench.config import RunConfig
    from lossbench.runner import run

    def progress(row: dict[str, float]) -> None:
        _answer(answers, event="epoch", epoch=row["epoch"])
        if stopping.is_set():
            raise Stop

    config = RunConfig.from_dict(task["config"])
    record = run(config, task["output"], device=task["device"], data=task["data"], threads=1, progress=progress)
    result = record.result
    kept = {key: result[key] for key in ("status", "test_accuracy", "seconds")}
    _answer(
        answers,
        event="done",
        run_id=config.run_id,
        label=config.label,
        probability=config.probability,
        **kept,
    )


def _listen(tasks: queue.Queue[dict[str, Any]], stopping: threading.Event) -> None:
    for line in sys.stdin:
        if line.strip() == "stop":
            stopping.set()
        else:
            tasks.put(json.loads(line))
    os._exit(0)  # the study is gone: the last checkpoint stands, and nobody waits for more


def _answer(answers: TextIO, **values: Any) -> None:
    answers.write(json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
