"""The progress bar of a study: runs done, time left, best so far."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, TextIO

from lossbench.config import RunConfig

LOG_SECONDS = 30.0  # between two lines of a log
_STATE = "{percentage:3.0f}% [{elapsed}<{remaining}]{postfix}"


class StudyBar:
    """Counts epochs, so that the time left is right from the first minute; safe to call from several threads.

    On a terminal and in a notebook it is a bar that moves; in a log, such as that of a batch job, a line now and then.
    """

    def __init__(self, configs: Sequence[RunConfig], *, disable: bool = False) -> None:
        from tqdm.auto import tqdm

        self.lock = threading.Lock()
        self.epochs = dict.fromkeys(configs, 0)
        self.runs_done = 0
        self.best: dict[str, Any] | None = None
        in_notebook = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
        self.in_log = not in_notebook and not sys.stderr.isatty()
        self.bar = tqdm(
            total=sum(config.epochs for config in configs),
            disable=disable,
            unit="epoch",
            mininterval=LOG_SECONDS if self.in_log else 0.5,
            dynamic_ncols=True,
            bar_format="{desc}, " + _STATE if self.in_log else "{desc} |{bar}| " + _STATE,
            file=_Lines(sys.stderr) if self.in_log else sys.stderr,
            delay=1e-9 if self.in_log else 0,  # no line before it says how many runs there are
        )
        self._show()
        self.bar.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()

    def epoch(self, config: RunConfig, epoch: int) -> None:
        """Run `config` has ended this epoch."""
        with self.lock:
            self.bar.update(max(0, epoch - self.epochs[config]))
            self.epochs[config] = max(epoch, self.epochs[config])

    def finish(self, config: RunConfig, answer: dict[str, Any] | None) -> None:
        """Run `config` has come to its end; `answer` is None when it failed."""
        self.epoch(config, config.epochs)
        with self.lock:
            self.runs_done += 1
            score = answer["test_accuracy"] if answer else None
            if answer and score is not None and (self.best is None or score > self.best["test_accuracy"]):
                self.best = answer
            self._show()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self.in_log and not self.bar.disable:
            self.bar.fp.write(text)
        else:
            self.bar.write(text, file=self.bar.fp if not self.bar.disable else None)

    def _show(self) -> None:
        self.bar.set_description_str(f"{self.runs_done}/{len(self.epochs)} runs", refresh=False)
        if self.best:
            best = f"best {self.best['test_accuracy']:.4f} {self.best['label']}, {self.best['probability']}"
            self.bar.set_postfix_str(best, refresh=False)
        if not self.in_log:
            self.bar.refresh()


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
