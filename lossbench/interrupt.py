"""Ctrl-C once asks to stop when it suits, Ctrl-C twice stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


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
