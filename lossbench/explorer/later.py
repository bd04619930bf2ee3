"""Put slow work off until the sliders rest, and do it in pieces so that the next move need not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

PAUSE = 0.01  # seconds between two pieces, in which a waiting move gets its turn


class Later:
    """Does `work`, piece by piece, from `delay` seconds after the last call of `ask`; at once without an event loop.

    Args:
        work: called to start; its iterator gives control back after every piece.
        delay: how long nothing must have been asked for.
    """

    def __init__(self, work: Callable[[], Iterator[None]], delay: float) -> None:
        self.work = work
        self.delay = delay
        self.waiting: asyncio.TimerHandle | None = None

    def ask(self) -> None:
        """Ask for the work; what still waits or is under way is dropped and begins again."""
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            for _ in self.work():
                pass
            return
        self.waiting = loop.call_later(self.delay, self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._continue(loop, self.work())

    def _continue(self, loop: asyncio.AbstractEventLoop, pieces: Iterator[None]) -> None:
        self.waiting = None
        for _ in pieces:
            self.waiting = loop.call_later(PAUSE, self._continue, loop, pieces)
            return
